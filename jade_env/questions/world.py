"""The embedded world: closed collections of passages with questions about them, made from a seed.

It is for learning how to look things up, not what there is: each split is a world of its own, whose facts are drawn anew.
Making one knows the facts, the wordings and the ways to ask; nobody else needs to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from jade_env.errors import ConfigError
from jade_env.questions import words
from jade_env.questions.ask import Asker
from jade_env.questions.datasets import complete
from jade_env.questions.draws import Draws
from jade_env.questions.facts import counts, draw_facts
from jade_env.questions.mixture import MIXTURE, check_mixture, check_weights
from jade_env.questions.passages import write_passages
from jade_env.questions.question import Question
from jade_env.questions.relations import DIRECT, RELATIONS
from jade_env.questions.wordings import NEWS, WORDINGS
from jade_env.retrieval.types import Document

_FEWEST_PASSAGES, _MOST_PASSAGES = 100, 1_000_000


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """What a world is made from; equal specs make equal worlds, on any machine.

    Attributes:
        seed: what all draws start from.
        passages: how many passages, 100 to 1,000,000.
        mixture: weight of each kind of question; kinds left out are not asked. Yes/no at most a tenth.
        phrasings: how many plain wordings of each fact are in use, 1 to 4.
        oblique: share of passages worded without a word of the questions that ask for their fact.
        noise: share of passages that hold no fact anyone asks for, 0 to 0.5.
        list_sizes: weights of lists of two, three and four items.
        lexicon: share of each list of words that names are made of; with fewer words a small model learns sooner.

    Raises:
        ConfigError: a value that is not allowed.
    """

    seed: int = 0
    passages: int = 2000
    mixture: Mapping[str, float] = field(default_factory=lambda: dict(MIXTURE))
    phrasings: int = 4
    oblique: float = 0.25
    noise: float = 0.18
    list_sizes: tuple[float, float, float] = (0.1, 0.2, 0.7)
    lexicon: float = 1.0

    def __post_init__(self) -> None:
        if not _FEWEST_PASSAGES <= self.passages <= _MOST_PASSAGES:
            raise ConfigError(
                f"world: passages: {self.passages} is not between {_FEWEST_PASSAGES} and {_MOST_PASSAGES}"
            )
        if not 1 <= self.phrasings <= len(WORDINGS[0].plain):
            raise ConfigError(f"world: phrasings: {self.phrasings} is not between 1 and {len(WORDINGS[0].plain)}")
        if not 0 <= self.oblique <= 1:
            raise ConfigError(f"world: oblique: {self.oblique} is not between 0 and 1")
        if not 0 <= self.noise <= 0.5:
            raise ConfigError(f"world: noise: {self.noise} is not between 0 and 0.5")
        if not 0 < self.lexicon <= 1:
            raise ConfigError(f"world: lexicon: {self.lexicon} is not above 0 and at most 1")
        if len(self.list_sizes) != 3:
            raise ConfigError(
                f"world: list_sizes: {self.list_sizes} is not three weights, for lists of 2, 3 and 4 items"
            )
        try:
            check_weights("list_sizes", dict(zip("234", self.list_sizes, strict=True)))
            check_mixture(self.mixture)
        except ConfigError as error:
            raise ConfigError(f"world: {error}") from None


@dataclass(frozen=True, slots=True)
class World:
    """Questions, and the passages they are about; a document's id is its position."""

    questions: list[Question]
    documents: list[Document]


def make_world(spec: WorldSpec, split: str, questions: int) -> World:
    """Make one split's world with so many questions about it.

    Splits are different worlds: their names and facts are drawn apart. The passages do not depend on `questions`.

    Args:
        spec: what to make it from.
        split: any name; the same one gives the same world.
        questions: how many, dealt out to the kinds by `spec.mixture` as exactly as can be, in a random order.

    Raises:
        ConfigError: a number of questions below one.
    """
    if questions < 1:
        raise ConfigError(f"world: questions: {questions} is not a positive number")
    facts = draw_facts(Draws(spec.seed, split, "facts"), counts(spec.passages, spec.noise), spec.lexicon)
    documents, positions = write_passages(
        facts, Draws(spec.seed, split, "passages"), spec.passages, spec.phrasings, spec.oblique
    )
    draws = Draws(spec.seed, split, "questions")
    asked = list(_ask(Asker(facts, positions, draws), spec, deal(spec.mixture, questions), draws))
    order = draws.permutation(len(asked)).tolist()
    ready = [complete(replace(asked[old], id=f"{split}_{new}")) for new, old in enumerate(order)]
    return World(ready, documents)


def deal(weights: Mapping[str, float], count: int) -> dict[str, int]:
    """Deal `count` out by weights, to whole numbers, the largest remainders first."""
    total = sum(weights.values())
    exact = {name: count * weight / total for name, weight in weights.items()}
    dealt = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (round(dealt[name] - exact[name], 9), name))
    for name in by_remainder[: count - sum(dealt.values())]:
        dealt[name] += 1
    return dealt


@cache
def vocabulary() -> tuple[str, ...]:
    """Return every word any world is written with, as written, in order: at most 1,500. Numbers are not among them."""
    sentences = [text for wording in WORDINGS for text in (*wording.plain, *wording.oblique, *wording.beside)]
    sentences += [text for pair in NEWS for text in pair]
    for relation in RELATIONS:
        sentences += [*relation.asks, *relation.lists, *relation.nouns, relation.same]
        sentences += [form for form, _ in relation.which]
    for statement, asks in DIRECT:
        sentences += [statement, *(ask for ask, _ in asks)]
    found = set(re.findall(r"[A-Za-z]+", re.sub(r"\{\w\}", " ", " ".join(sentences))))
    found.update(("Who", "What", "is", "and", "thousand", "yes", "no"))
    for held in vars(words).values():
        if isinstance(held, tuple):
            found.update(held)
    return tuple(sorted(found))


def _ask(asker: Asker, spec: WorldSpec, wanted: Mapping[str, int], draws: Draws) -> Iterator[Question]:
    """Yield so many questions of each kind, kind by kind."""
    for _ in range(wanted.get("direct", 0)):
        yield asker.direct()
    for hops, kind in enumerate(("single", "bridge2", "bridge3"), start=1):
        for _ in range(wanted.get(kind, 0)):
            yield asker.chain(kind, hops)
    for size, count in deal(dict(zip("234", spec.list_sizes, strict=True)), wanted.get("list", 0)).items():
        for _ in range(count):
            yield asker.listed(int(size))
    for _ in range(wanted.get("compare_which", 0)):
        yield asker.which()
    for number in range(wanted.get("compare_yesno", 0)):
        yield asker.same(answer=number % 2 == 0)
