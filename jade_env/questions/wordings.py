"""How the embedded world's passages are worded: one table of sentences. Knows no questions and no drawn facts.

A passage is one sentence that tells the fact and one that tells something beside it. Slots: `{s}` what the passage is about,
`{o}` the fact, `{y}` its year; all others are distractors of the same types: `{p}` and `{e}` persons, `{k}` a person of the
same surname, `{c}` and `{d}` cities, `{q}` a company, `{z}` a year, `{x}` another value of the fact's type,
`{g}` goods, `{j}` a profession. Plain wordings share a word with the questions that ask for the fact, oblique ones none.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences of one kind of passage, all about entities of type `subject`."""

    name: str
    subject: str
    plain: tuple[str, ...]
    oblique: tuple[str, ...]
    beside: tuple[str, ...]


_OF_PERSON = (
    "A sister of {s} was born in {d} in {z}.",
    "{e} sent a long letter about {s} from {d}.",
    "In {z} a street in {d} took the name of {k}.",
    "Half the population came to the wedding of {e} in {z}.",
    "{k} and {e} founded a choir in {d} in {z}.",
    "{e} won a seat in the council of {d} in {z}.",
    "Some people in {d} still sing a song about {s}.",
    "{e}, a {j}, lived in {d} until {z}.",
    "A portrait of {s} by {e} hangs in the hall of {q} in {d}.",
    "{e} wrote to {s} from a country house near {d}.",
)
_OF_COMPANY = (
    "In {z} {e} tried to buy {s} for {q}.",
    "The {g} of {s} won a prize in {d} in {z}.",
    "{e} was a {j} at {s} until {z}.",
    "A fire closed a shop of {s} in the city of {d} in {z}.",
    "Its fiercest rival is {q}, led by {e}.",
    "In {z} {q} owed {s} a large sum in foreign currency.",
    "A cousin of {e} founded a rival company in {d} in {z}.",
    "Many people in the capital bought its {g}, and so did {e} in {d}.",
)
_OF_CITY = (
    "{e} built a bridge in {s} in {z}.",
    "The fair of {s} draws dealers from {c} and {d}.",
    "{e} was mayor of {s} until {z}.",
    "A railway from {s} to {d} and the capital was opened in {z}.",
    "{q} sells {g} in the market of {s}.",
    "People from {d} come to {s} for the {g}.",
    "A statue of {e}, who lived in {s}, stands before the town hall.",
    "Songs about {s} are sung in {d}, the work of {e}.",
)
_OF_COUNTRY = (
    "A king of {s} sold land near {d} in {z}.",
    "{e} drew the first map of {s} in {z}.",
    "{q} buys {g} in {s} and sells it in {d}.",
    "The flag of {s} was sewn in the city of {d}.",
    "Travellers praise the people around {c} and the {g} of {d}.",
)
_OF_WORK = (
    "{e} praised the language of {s} in {z}.",
    "The story of {s} is set in {c} and {d}.",
    "{q} paid for {s}, and {e} lost the bill.",
    "The story begins by a river near {d} in {z}.",
    "{e} called {s} a failure, and {q} agreed.",
    "{e} gave a copy of {s} to a school in {d} in {z}.",
    "{s} won a prize in {d}, and {e} was the judge.",
    "{e}, born in {z}, made a song about {s} in {d}.",
)

WORDINGS: tuple[Wording, ...] = (
    Wording(
        "birth",
        "person",
        plain=(
            "{s}, a cousin of {k}, was born in {o} in {y}.",
            "Born in {o} in {y}, {s} later moved to {c} with {p}.",
            "{o} is the birthplace of {s}, born there in {y} and gone to {c} by {z}.",
            "{s} was born in {y} in {o} and went to school in {c}.",
        ),
        oblique=(
            "{s} came into the world in {o} in {y} and grew up in {c}.",
            "{s} first saw daylight in {y} in {o}, while {k} was away in {c}.",
        ),
        beside=_OF_PERSON,
    ),
    Wording(
        "work",
        "person",
        plain=(
            "{s} is a {j} and works for {o}, after some time at {q}.",
            "The employer of {s} is {o}, but {p} is a {j} at {q}.",
            "Since {y} the company {o} has been the employer of {s}, once a {j} at {q}.",
            "{s} went to work for the company {o} in {y}, against the advice of {p} from {q}.",
        ),
        oblique=(
            "{s} joined {o} as a {j} in {y} and never returned to {q}.",
            "{o} has {s} on its staff as a {j}, and {p} at {q} often writes.",
        ),
        beside=_OF_PERSON,
    ),
    Wording(
        "founding",
        "company",
        plain=(
            "{s} was founded by {o} in {y} with money from {p}.",
            "The founder of {s} is {o}, and it was founded in {y} in spite of {p}.",
            "In {y} {o} founded the company {s} and sold {g} in {c}.",
            "Founded in {y}, the company {s} owes its name to {p} and its {g} to its founder, {o}.",
        ),
        oblique=(
            "{o} set up {s} in {y} after a talk with {p}.",
            "{s} goes back to {y} and to {o}, then the owner of a small shop for {g} in {c}.",
        ),
        beside=_OF_COMPANY,
    ),
    Wording(
        "seat",
        "company",
        plain=(
            "The seat of {s} is in {o}, and its {g} are sold in {c}.",
            "{s} has its seat in {o}, though it began in {c}.",
            "From its seat in the city of {o}, {s} sends {g} to {c}.",
            "{s}, a maker of {g}, moved its seat from {c} to {o} in {y}.",
        ),
        oblique=(
            "The main office of {s} stands in {o}, a day from its store in {c}.",
            "{s} is run from {o} and keeps a store for {g} in {c}.",
        ),
        beside=_OF_COMPANY,
    ),
    Wording(
        "place",
        "city",
        plain=(
            "{s} is a city in the country of {o}, and the river {r} divides it.",
            "{s} stands on the river {r} in the country of {o}, a day from {c}.",
            "In the country of {o} stands {s}, a city on the river {r} with a road to {c}.",
            "The city of {s} is one of the oldest in the country of {o} and stands on the river {r}.",
        ),
        oblique=(
            "{s} has been part of {o} since {z}, and its boats go down the {r} to {c}.",
            "{o} counts {s} among its towns, and the {r} runs past it to {c}.",
        ),
        beside=_OF_CITY,
    ),
    Wording(
        "people",
        "city",
        plain=(
            "The city of {s} has a population of {o}, against {x} in {z}.",
            "About {o} people form the population of {s}, and in {z} only {x} did.",
            "The population of {s} is {o} people, and in {z} it was {x}.",
            "About {o} people call {s} their home, and its {g} are known in {c}.",
        ),
        oblique=(
            "{s} is home to {o} souls and drew {x} guests in {z}.",
            "The last count found {o} heads in {s}, against {x} in {z}.",
        ),
        beside=_OF_CITY,
    ),
    Wording(
        "capital",
        "country",
        plain=(
            "The capital of {s} is {o}, far from {c}.",
            "{o} is the capital of {s}, and {c} is its main port.",
            "{s} has had its capital in {o} since {z}, after {c} lost that rank.",
            "The city of {o} is the capital, but most trade of {s} goes through {c}.",
        ),
        oblique=(
            "{s} is ruled from {o}, though its kings lived in {c} until {z}.",
            "The parliament of {s} meets in {o} and no longer in {c}.",
        ),
        beside=_OF_COUNTRY,
    ),
    Wording(
        "money",
        "country",
        plain=(
            "The currency of {s} is the {o}, and it replaced the {x} in {z}.",
            "{s} uses the {o} as its currency, and shops near the border take the {x}.",
            "In {s} the currency called the {o} has been used since {z}, the {x} before.",
            "The {o} is the currency of {s}, and banks in {c} also change the {x}.",
        ),
        oblique=(
            "People in {s} pay with the {o}, as few still hold the {x}.",
            "Bank notes of {s} are printed in the {o}, and coins of the {x} are rare.",
        ),
        beside=_OF_COUNTRY,
    ),
    Wording(
        "speech",
        "country",
        plain=(
            "Most people in {s} call {o} their language, but {x} is heard in {c}.",
            "{o} is the language of {s}, and {x} is taught in schools.",
            "The language of the people in {s} is {o}, while dealers from {c} prefer {x}.",
            "In {s} the language of the courts is {o}, and it took the place of {x} in {z}.",
        ),
        oblique=(
            "Children in {s} grow up with {o} and learn {x} later.",
            "News in {s} is printed in {o}, hardly ever in {x}.",
        ),
        beside=_OF_COUNTRY,
    ),
    Wording(
        "book",
        "book",
        plain=(
            "{s} is a book by the author {o}, published in {y}.",
            "The author of {s} is {o}, and the book was published in {y} by {q}.",
            "{o} wrote the book {s}, published in {y} after a visit to {c}.",
            "{s}, written by {o} and published in {y}, tells the life of {p}.",
        ),
        oblique=(
            "{s} came from the pen of {o} in {y}, after long talks with {p}.",
            "In {y} readers met {s}, the novel that {o} had finished in {c}.",
        ),
        beside=_OF_WORK,
    ),
    Wording(
        "film",
        "film",
        plain=(
            "{s} is a film directed by {o} and released in {y}.",
            "The director of {s} is {o}, and the film was released in {y} with {p} in the main part.",
            "{o} directed the film {s}, released in {y} and shot in {c}.",
            "The film {s} was released in {y} by the director {o} after a tale by {p}.",
        ),
        oblique=(
            "{o} brought {s} to the screen in {y}, with music by {p}.",
            "In {y} crowds in {c} saw {s}, the latest picture of {o}, and heard music by {p}.",
        ),
        beside=_OF_WORK,
    ),
)

NEWS: tuple[tuple[str, str], ...] = (
    ("Meeting in {c}", "{p} and {e} met in {c} in {z} to talk about {g} for {q}. Later that week they left for {d}."),
    ("Letter to {p}", "A letter to {p} from {z} speaks of {g}, of a {j} in {c} and of people in {d}."),
    ("Fair in {c}", "At the fair in {c} in {z} the best {g} came from {q}. The judges were {p} and {e}."),
    ("Wedding in {d}", "{p} danced at a wedding in {d} in {z}. The {g} came from {c}, a gift of {e} and {q}."),
    ("{p}", "{p} lost a case against {q} in {z}. The court sat in {c}, and {e} from {d} was heard as a {j}."),
    ("{p}", "In {z} {p} crossed the country from {c} to {d} with a cart of {g}. {e} at {q} paid for the journey."),
    ("{p}", "{p} and {e} were wed in {c} in {z}. Their first child was born in {d}, and {q} sent {g}."),
    (
        "{q}",
        "A strike at {q} began in {z} after {p}, the employer, broke a promise. The people of {c} sent {g} from their city.",
    ),
    (
        "{q}",
        "In {z} {q}, far from its seat, lost a load of {g} in a river near {c}. {p} and {e} sailed out from {d} to look for it.",
    ),
    ("{c}", "{c} was struck by a flood of its river in {z}. {p} opened a kitchen, and {q} sent {g} from {d}."),
    ("{c}", "In {z} {p} lived in {c} for a winter and wrote letters to {e} in {d} about the price of {g}."),
)
"""Title and text of passages that hold no fact anyone asks for; half of them bear the title of passages that do."""
