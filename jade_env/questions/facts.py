"""The facts of an embedded world: which entities there are, what they are called, and how they are related.

Knows no sentences: an entity is a number within its type, a fact an array of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from jade_env.errors import ConfigError
from jade_env.questions import words
from jade_env.questions.draws import Draws, Integers

_SHARES = {"person": 0.26, "company": 0.065, "book": 0.07, "film": 0.05, "city": 0.05, "country": 0.00625}
_PASSAGES = {"person": 2, "company": 2, "book": 1, "film": 1, "city": 2, "country": 3}
_TOLD = sum(_SHARES[name] * _PASSAGES[name] for name in _SHARES)
_FEWEST_COUNTRIES = 4
_FIRST_BIRTH, _LAST_BIRTH = 1840, 1930

_Pools = tuple[Sequence[str], ...]
_SCHEMES: Mapping[str, tuple[_Pools, ...]] = {
    "person": (
        (words.FIRST_NAMES, words.SURNAMES),
        (words.FIRST_NAMES, words.FIRST_NAMES, words.SURNAMES),
    ),
    "city": (
        (words.PLACES,),
        (words.PLACE_PREFIXES, words.PLACES),
        (words.PLACE_PREFIXES, words.PLACES, words.PLACE_SUFFIXES),
    ),
    "country": (
        (words.COUNTRIES,),
        (words.PLACE_PREFIXES, words.COUNTRIES),
        (words.PLACE_PREFIXES, words.COUNTRIES, words.COUNTRY_SUFFIXES),
    ),
    "company": (
        (words.SURNAMES, words.COMPANY_KINDS),
        (words.SURNAMES, words.SURNAMES, words.COMPANY_KINDS),
    ),
    "title": (
        (words.TITLE_ADJECTIVES, words.TITLE_NOUNS),
        (words.TITLE_ADJECTIVES, words.TITLE_NOUNS, words.TITLE_NOUNS),
    ),
}
_VALUES: Mapping[str, Sequence[str]] = {
    "river": words.RIVERS,
    "currency": words.CURRENCIES,
    "language": words.LANGUAGES,
}


@dataclass(frozen=True, slots=True)
class Facts:
    """Names by type, and for each relation the value of every subject: an index into the names, or the number itself."""

    names: Mapping[str, Sequence[str]]
    values: Mapping[str, Integers]
    kin: Integers
    """For each person another one, of the same surname where there is one."""

    def count(self, kind: str) -> int:
        """Return how many entities of a type there are."""
        return len(self.names[kind])

    def text(self, kind: str, value: int) -> str:
        """Return how a value of a type is written: a name, a year, or a number of people such as `84,000`."""
        if kind == "year":
            return str(value)
        return f"{value},000" if kind == "population" else self.names[kind][value]


_FEWEST_WORDS = 12


def counts(passages: int, noise: float) -> dict[str, int]:
    """Return how many entities of each type a world of so many passages has, with a share `noise` of news among them.

    Small worlds have more cities and countries than their share, so that no city is in every tenth passage.
    """
    told = passages * (1 - noise)
    found = {name: max(2, int(share * told / _TOLD)) for name, share in _SHARES.items()}
    found["country"] = max(_FEWEST_COUNTRIES, found["country"])
    found["city"] = max(isqrt(passages), found["city"])
    others = sum(found[name] * _PASSAGES[name] for name in found if name != "person")
    found["person"] = min(found["person"], (int(told) - others) // _PASSAGES["person"])
    return found


def spread(count: int, limit: int) -> int:
    """Return how many words of a list to combine into `count` names so that names share words in small worlds too."""
    return min(limit, max(isqrt(count) * 3 // 2 + 2, count // 3))


def draw_names(draws: Draws, schemes: Sequence[_Pools], count: int, lexicon: float = 1.0) -> list[str]:
    """Return `count` different names, of the fewest words that give enough; no name has the same word twice.

    With a `lexicon` below 1 only so large a share of each list of words is used, its first ones, and at least a dozen.
    """
    schemes = [tuple(pool[: max(_FEWEST_WORDS, round(lexicon * len(pool)))] for pool in pools) for pools in schemes]
    pools = next((pools for pools in schemes if 2 * prod(map(len, pools)) >= 3 * count), schemes[-1])
    sizes = [len(pool) for pool in pools]
    if len(pools) == 2:
        narrow = [spread(count, size) for size in sizes]
        sizes = narrow if prod(narrow) >= 2 * count else sizes
    parts = [
        np.array(pool, dtype=object)[draws.permutation(len(pool))[:size]]
        for pool, size in zip(pools, sizes, strict=True)
    ]
    codes = draws.distinct(prod(sizes), min(prod(sizes), count + count // 4 + 8))
    names: list[str] = []
    columns = []
    for part in reversed(parts):
        columns.append(part[codes % len(part)].tolist())
        codes = codes // len(part)
    for name in zip(*reversed(columns), strict=True):
        if len(name) == len(set(name)):
            names.append(" ".join(name))
            if len(names) == count:
                return names
    raise ConfigError(
        f"the world's words give {len(names)} names of a kind and {count} are needed: raise data.lexicon, or lower data.passages"
    )


def draw_facts(draws: Draws, sizes: Mapping[str, int], lexicon: float = 1.0) -> Facts:
    """Draw a world's entities and facts; `lexicon` is the share of the words that names are made of."""
    names: dict[str, Sequence[str]] = {
        kind: draw_names(draws, _SCHEMES[kind], sizes[kind], lexicon)
        for kind in ("person", "city", "country", "company")
    }
    titles = draw_names(draws, _SCHEMES["title"], sizes["book"] + sizes["film"], lexicon)
    names["book"], names["film"] = titles[: sizes["book"]], titles[sizes["book"] :]
    for kind, known in _VALUES.items():
        names[kind] = known
    people, cities, countries = sizes["person"], sizes["city"], sizes["country"]
    companies, books, films = sizes["company"], sizes["book"], sizes["film"]
    born = _FIRST_BIRTH + draws.below(_LAST_BIRTH - _FIRST_BIRTH, people)
    founders = draws.below(people, companies)
    authors = draws.permutation(people)[draws.below(max(2, books * 3 // 5), books)]
    directors = draws.permutation(people)[draws.below(max(2, films * 3 // 5), films)]
    values = {
        "birthplace": draws.below(cities, people),
        "birth year": born,
        "employer": draws.below(companies, people),
        "founder": founders,
        "founding year": born[founders] + 18 + draws.below(32, companies),
        "seat": draws.below(cities, companies),
        "author": authors,
        "publication": born[authors] + 18 + draws.below(32, books),
        "director": directors,
        "release": born[directors] + 18 + draws.below(32, films),
        "country": np.concatenate([np.arange(countries), draws.below(countries, cities)])[:cities],
        "river": draws.below(len(words.RIVERS), cities),
        "population": 11 + draws.below(979, cities),
        "capital": np.arange(countries),
        "currency": _spread_values(draws, len(words.CURRENCIES), countries),
        "language": _spread_values(draws, len(words.LANGUAGES), countries),
    }
    return Facts(names, values, _kin(names["person"]))


def _spread_values(draws: Draws, values: int, count: int) -> Integers:
    """Deal values out to `count` subjects, each as often as any other."""
    return np.concatenate([draws.permutation(values) for _ in range(count // values + 1)])[:count]


def _kin(people: Sequence[str]) -> Integers:
    """Give each person the next one in order of surname, the last one the first."""
    order = sorted(range(len(people)), key=lambda person: (people[person].rsplit(" ", 1)[1], person))
    kin = np.zeros(len(people), dtype=np.int64)
    kin[order] = order[1:] + order[:1]
    return kin
