"""Writes the embedded world's passages: facts and wordings in, documents out. Knows no questions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jade_env.questions import words
from jade_env.questions.draws import Draws, Integers
from jade_env.questions.facts import Facts
from jade_env.questions.relations import RELATIONS
from jade_env.questions.wordings import NEWS, WORDINGS, Wording
from jade_env.retrieval.types import Document

_LATEST = 2010
_Row = dict[str, str]


def write_passages(
    facts: Facts, draws: Draws, passages: int, phrasings: int, oblique: float
) -> tuple[list[Document], Mapping[str, Integers]]:
    """Write a world's passages in a random order, each fact's once, and news up to the number wanted.

    Returns:
        The documents, each with its position as its id; and for each kind of passage the position of every subject's.
    """
    place = draws.permutation(passages)
    documents: list[Document | None] = [None] * passages
    positions: dict[str, Integers] = {}
    start = 0
    for wording in WORDINGS:
        count = facts.count(wording.subject)
        positions[wording.name] = place[start : start + count]
        _fill(documents, positions[wording.name], _told(wording, facts, draws, phrasings, oblique))
        start += count
    _fill(documents, place[start:], _news(facts, draws, passages - start))
    return [document for document in documents if document is not None], positions


def _fill(documents: list[Document | None], positions: Integers, texts: Iterator[tuple[str, str]]) -> None:
    for position, (title, text) in zip(positions.tolist(), texts, strict=True):
        documents[position] = Document(str(position), title, text)


def _told(wording: Wording, facts: Facts, draws: Draws, phrasings: int, oblique: float) -> Iterator[tuple[str, str]]:
    """Yield title and text of one kind of passage for every subject."""
    count = facts.count(wording.subject)
    thousandths = round(1000 * oblique)
    plain = wording.plain[:phrasings]
    chosen = np.where(
        draws.below(1000, count) < thousandths,
        len(plain) + draws.below(len(wording.oblique), count),
        draws.below(len(plain), count),
    )
    wordings = plain + wording.oblique
    beside = draws.below(len(wording.beside), count).tolist()
    rows = _slots(wording, facts, draws, count)
    for fact, second, row in zip(chosen.tolist(), beside, rows, strict=True):
        yield row["s"], f"{wordings[fact]} {wording.beside[second]}".format_map(row)


def _news(facts: Facts, draws: Draws, count: int) -> Iterator[tuple[str, str]]:
    chosen = draws.below(len(NEWS), count).tolist()
    columns = _asides(facts, draws, count, None, None)
    for kind, row in zip(chosen, _rows(columns, count), strict=True):
        title, text = NEWS[kind]
        yield title.format_map(row), text.format_map(row)


def _slots(wording: Wording, facts: Facts, draws: Draws, count: int) -> Iterator[_Row]:
    """Yield what fills the slots of one kind of passage, subject by subject."""
    told = {relation.target: relation for relation in RELATIONS if relation.passage == wording.name}
    main = next(relation for target, relation in told.items() if target not in ("year", "river"))
    values = facts.values[main.name]
    subjects = np.arange(count)
    cities = values if main.target == "city" else subjects if wording.subject == "city" else None
    people = values if main.target == "person" else subjects if wording.subject == "person" else None
    columns = _asides(facts, draws, count, cities, people)
    columns["s"] = facts.names[wording.subject]
    columns["o"] = [facts.text(main.target, value) for value in values.tolist()]
    if wording.subject == "person":
        columns["k"] = _names(facts, "person", facts.kin)
    years = facts.values[told["year"].name] if "year" in told else 1860 + draws.below(90, count)
    columns["y"] = [str(year) for year in years.tolist()]
    columns["z"] = [str(year) for year in np.minimum(years + 1 + draws.below(40, count), _LATEST).tolist()]
    if "river" in told:
        columns["r"] = _names(facts, "river", facts.values["river"])
    if main.target == "company":
        columns["q"] = _names(facts, "company", _other(draws, values, facts.count("company")))
    elif wording.subject == "company":
        columns["q"] = _names(facts, "company", _other(draws, subjects, facts.count("company")))
    if main.target == "population":
        smaller = np.maximum(values * (3 + draws.below(6, count)) // 10, 1)
        columns["x"] = [facts.text("population", value) for value in smaller.tolist()]
    elif main.target in ("currency", "language"):
        columns["x"] = _names(facts, main.target, _other(draws, values, len(facts.names[main.target])))
    return _rows(columns, count)


def _asides(
    facts: Facts, draws: Draws, count: int, cities: Integers | None, people: Integers | None
) -> dict[str, Sequence[str]]:
    """Return columns of what a passage mentions beside its fact: never the city or person that the fact is about."""
    first = draws.below(facts.count("city"), count) if cities is None else _other(draws, cities, facts.count("city"))
    person = (
        draws.below(facts.count("person"), count) if people is None else _other(draws, people, facts.count("person"))
    )
    second = first if cities is None else cities
    other = _third(draws, person if people is None else people, person, facts.count("person"))
    return {
        "c": _names(facts, "city", first),
        "d": _names(facts, "city", _third(draws, second, first, facts.count("city"))),
        "p": _names(facts, "person", person),
        "e": _names(facts, "person", other),
        "q": _names(facts, "company", draws.below(facts.count("company"), count)),
        "z": [str(year) for year in (1860 + draws.below(_LATEST - 1860, count)).tolist()],
        "g": [words.GOODS[number] for number in draws.below(len(words.GOODS), count).tolist()],
        "j": [words.PROFESSIONS[number] for number in draws.below(len(words.PROFESSIONS), count).tolist()],
    }


def _other(draws: Draws, values: Integers, high: int) -> Integers:
    """Return for each value another one below `high`."""
    return (values + 1 + draws.below(high - 1, len(values))) % high


def _third(draws: Draws, one: Integers, two: Integers, high: int) -> Integers:
    """Return values below `high` that differ from both others where `high` allows."""
    found = _other(draws, one, high)
    found = np.where(found == two, (found + 1) % high, found)
    return np.where(found == one, (found + 1) % high, found)


def _names(facts: Facts, kind: str, numbers: Integers) -> list[str]:
    names = facts.names[kind]
    return [names[number] for number in numbers.tolist()]


def _rows(columns: Mapping[str, Sequence[str]], count: int) -> Iterator[_Row]:
    keys = tuple(columns)
    rows = zip(*columns.values(), strict=True) if count else iter(())
    return (dict(zip(keys, row, strict=True)) for row in rows)
