"""How the embedded world's relations are asked about: one table, in words. Knows no passages and no drawn facts.

Every question is put together from these: a bridge question puts the noun phrase of one relation ("the founder of X") in
place of the name that another asks about ("Where was ... born?").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """A fact that every entity of a type has once.

    Attributes:
        name: the relation's name.
        subject: the type of entity that has it.
        target: the type of its value; an entity type makes it a link that bridges pass.
        passage: the kind of passage that tells it.
        asks: questions about one subject `{s}`; the first is used for steps.
        lists: questions about several, `{l}` being "X, Y and Z".
        nouns: noun phrases for the value; the first one also takes a noun phrase as its `{s}`. Links only.
        same: yes/no question whether `{x}` and `{y}` agree, "" where it is not asked.
        which: questions that compare, with whether the smaller value wins. Numbers and years only.
    """

    name: str
    subject: str
    target: str
    passage: str
    asks: tuple[str, ...]
    lists: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    same: str = ""
    which: tuple[tuple[str, bool], ...] = ()


RELATIONS: tuple[Relation, ...] = (
    Relation(
        "birthplace",
        "person",
        "city",
        "birth",
        asks=("Where was {s} born?", "In which city was {s} born?", "What is the birthplace of {s}?"),
        lists=("Where were {l} born?", "In which cities were {l} born?", "What are the birthplaces of {l}?"),
        nouns=("the birthplace of {s}", "the city where {s} was born"),
        same="Were {x} and {y} born in the same city?",
    ),
    Relation(
        "birth year",
        "person",
        "year",
        "birth",
        asks=("When was {s} born?", "In which year was {s} born?", "What is the birth year of {s}?"),
        lists=("When were {l} born?", "In which years were {l} born?", "What are the birth years of {l}?"),
        same="Were {x} and {y} born in the same year?",
        which=(("Who was born earlier, {x} or {y}?", True), ("Who was born later, {x} or {y}?", False)),
    ),
    Relation(
        "employer",
        "person",
        "company",
        "work",
        asks=(
            "Which company does {s} work for?",
            "Which company is the employer of {s}?",
            "For which company does {s} work?",
        ),
        lists=(
            "Which companies do {l} work for?",
            "For which companies do {l} work?",
            "What are the employers of {l}?",
        ),
        nouns=("the employer of {s}", "the company where {s} works"),
        same="Do {x} and {y} work for the same company?",
    ),
    Relation(
        "founder",
        "company",
        "person",
        "founding",
        asks=("Who founded {s}?", "Who is the founder of {s}?", "By whom was {s} founded?"),
        lists=("Who founded {l}?", "Who are the founders of {l}?", "By whom were {l} founded?"),
        nouns=("the founder of {s}", "the person who founded {s}"),
    ),
    Relation(
        "founding year",
        "company",
        "year",
        "founding",
        asks=("When was {s} founded?", "In which year was {s} founded?"),
        lists=("When were {l} founded?", "In which years were {l} founded?"),
        same="Were {x} and {y} founded in the same year?",
        which=(
            ("Which company was founded first, {x} or {y}?", True),
            ("Which company was founded later, {x} or {y}?", False),
        ),
    ),
    Relation(
        "seat",
        "company",
        "city",
        "seat",
        asks=(
            "Where is the seat of {s}?",
            "In which city does {s} have its seat?",
            "In which city is the seat of {s}?",
        ),
        lists=("Where are the seats of {l}?", "In which cities do {l} have their seats?"),
        nouns=("the seat of {s}", "the city where {s} has its seat"),
        same="Do {x} and {y} have their seats in the same city?",
    ),
    Relation(
        "author",
        "book",
        "person",
        "book",
        asks=("Who wrote {s}?", "Who is the author of {s}?", "By whom was {s} written?"),
        lists=("Who wrote {l}?", "Who are the authors of {l}?", "By whom were {l} written?"),
        nouns=("the author of {s}", "the person who wrote {s}"),
        same="Do {x} and {y} have the same author?",
    ),
    Relation(
        "publication",
        "book",
        "year",
        "book",
        asks=("When was {s} published?", "In which year was {s} published?"),
        lists=("When were {l} published?", "In which years were {l} published?"),
        which=(
            ("Which book was published first, {x} or {y}?", True),
            ("Which book was published later, {x} or {y}?", False),
        ),
    ),
    Relation(
        "director",
        "film",
        "person",
        "film",
        asks=("Who directed {s}?", "Who is the director of {s}?", "By whom was {s} directed?"),
        lists=("Who directed {l}?", "Who are the directors of {l}?", "By whom were {l} directed?"),
        nouns=("the director of {s}", "the person who directed {s}"),
        same="Do {x} and {y} have the same director?",
    ),
    Relation(
        "release",
        "film",
        "year",
        "film",
        asks=("When was {s} released?", "In which year was {s} released?"),
        lists=("When were {l} released?", "In which years were {l} released?"),
        which=(
            ("Which film was released first, {x} or {y}?", True),
            ("Which film was released later, {x} or {y}?", False),
        ),
    ),
    Relation(
        "country",
        "city",
        "country",
        "place",
        asks=("In which country does {s} lie?", "In which country is {s}?", "To which country does {s} belong?"),
        lists=("In which countries do {l} lie?", "In which countries are {l}?", "To which countries do {l} belong?"),
        nouns=("the country of {s}", "the country where {s} lies"),
        same="Do {x} and {y} lie in the same country?",
    ),
    Relation(
        "river",
        "city",
        "river",
        "place",
        asks=("On which river does {s} lie?", "On which river is {s}?"),
        lists=("On which rivers do {l} lie?", "On which rivers are {l}?"),
        same="Do {x} and {y} lie on the same river?",
    ),
    Relation(
        "population",
        "city",
        "population",
        "people",
        asks=("What is the population of {s}?", "How many people live in {s}?"),
        lists=("What are the populations of {l}?", "How many people live in {l}?"),
        which=(
            ("Which city has more people, {x} or {y}?", False),
            ("Which city has fewer people, {x} or {y}?", True),
        ),
    ),
    Relation(
        "capital",
        "country",
        "city",
        "capital",
        asks=("What is the capital of {s}?", "Which city is the capital of {s}?"),
        lists=("What are the capitals of {l}?", "Which cities are the capitals of {l}?"),
        nouns=("the capital of {s}",),
    ),
    Relation(
        "currency",
        "country",
        "currency",
        "money",
        asks=("What is the currency of {s}?", "Which currency does {s} have?"),
        lists=("What are the currencies of {l}?", "Which currencies do {l} have?"),
    ),
    Relation(
        "language",
        "country",
        "language",
        "speech",
        asks=("Which language is spoken in {s}?", "What is the language of {s}?"),
        lists=("Which languages are spoken in {l}?", "What are the languages of {l}?"),
    ),
)

_CIRCLES = {("capital", "country")}


def chains(hops: int) -> list[tuple[Relation, ...]]:
    """Return every way to pass `hops` relations, each leading to the next one's subject and none of them back."""
    found: list[tuple[Relation, ...]] = [(relation,) for relation in RELATIONS]
    for _ in range(hops - 1):
        found = [
            (*chain, relation)
            for chain in found
            for relation in RELATIONS
            if relation.subject == chain[-1].target
            and relation not in chain
            and (chain[-1].name, relation.name) not in _CIRCLES
        ]
    return found


DIRECT: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "{p} has a {a} {t} and {q} has a {b} {t}.",
        (("Who has the {a} {t}?", "p"), ("Who has the {b} {t}?", "q")),
    ),
    ("{p} sold a {t} to {q}.", (("Who bought the {t}?", "q"), ("Who sold the {t}?", "p"))),
    ("{p} sailed to {c} and {q} sailed to {d}.", (("Where did {p} sail?", "c"), ("Where did {q} sail?", "d"))),
    (
        "The bell of {c} is older than the bell of {d}.",
        (("Which city has the older bell?", "c"), ("Which city has the younger bell?", "d")),
    ),
    (
        "{p} carries {m} letters and {q} carries {n}.",
        (("How many letters does {p} carry?", "m"), ("How many letters does {q} carry?", "n")),
    ),
    (
        "{p} met {q} in {c} on the way to {d}.",
        (("Where did {p} meet {q}?", "c"), ("Whom did {p} meet?", "q")),
    ),
    ("{p} is taller than {q}.", (("Who is the taller of the two?", "p"), ("Who is the shorter of the two?", "q"))),
    (
        "A {t} costs {m} coins in {c} and {n} in {d}.",
        (("How many coins does a {t} cost in {c}?", "m"), ("How many coins does a {t} cost in {d}?", "n")),
    ),
    (
        "{p} took the {t} from {q} and gave it to {r}.",
        (("Who has the {t} now?", "r"), ("Who had the {t} at first?", "q")),
    ),
    (
        "{p} waits for {q} at the gate of {c}.",
        (("Whom does {p} wait for?", "q"), ("At the gate of which city does {p} wait?", "c")),
    ),
)
"""Small facts told by the question itself: the statement, and questions each with the slot that answers it."""
