"""A fixed score for answer spans, from words alone: how well a span's sentence covers the query, and whether its shape fits.

Hand-written and frozen: it learns nothing, sees no gold, and is not to be tuned with or against a learner.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log

from jade_env.policy.wording import content_words, words
from jade_env.retrieval import Document

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_YEAR = re.compile(r"\b1\d{3}\b|\b20\d{2}\b")
_MONTH = re.compile(r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December)\b")
_ASKS = re.compile(r"\b(?:who|whom|whose|when|where|how|what|which)\b")
_AUXILIARIES = frozenset(["is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could"])
_TIMES = frozenset(["year", "years", "date", "dates", "decade", "century", "day", "month"])
_PLACES = frozenset(["city", "cities", "country", "countries", "state", "town", "village", "birthplace", "birthplaces"])
_NUMBERS = frozenset(["number", "population", "many", "much", "long", "old", "tall", "high", "far", "populations"])
_LESS = frozenset(["first", "earlier", "earliest", "older", "oldest", "fewer", "less", "smaller", "before", "shorter"])
_MORE = frozenset(
    ["later", "latest", "last", "younger", "newer", "more", "larger", "bigger", "higher", "longer", "after"]
)
_STEM = 5
_COVER, _NEAR, _NEAR_TITLE, _RANK, _ORDER, _INSIDE = 3.0, 1.0, 1.0, 0.2, 0.3, 1.0
"""Weights: the sentence's cover of the query, nearness to its words and to the title's, and, subtracted, the document's rank,
the sentence's order in it, and the share of the span that the query says itself."""
_FAR = 12

YES_NO, PERSON, PLACE, TIME, NUMBER, THING = "yes_no", "person", "place", "time", "number", "thing"
_FIT = {  # what is wanted: by shape of the span
    PERSON: {"names": 1.0, "name": 0.4, "date": -1.0, "number": -1.0, "lower": -0.6},
    PLACE: {"names": 0.4, "name": 0.8, "date": -1.0, "number": -1.0, "lower": -0.5},
    TIME: {"names": -1.0, "name": -1.0, "date": 1.2, "number": -0.2, "lower": -1.0},
    NUMBER: {"names": -1.0, "name": -1.0, "date": -0.3, "number": 1.2, "lower": -0.6},
    THING: {"names": 0.5, "name": 0.3, "date": -0.6, "number": -0.5, "lower": -0.2},
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A document cut into sentences of word stems, with its title's."""

    title: frozenset[str]
    sentences: tuple[tuple[str, ...], ...]
    texts: tuple[str, ...]


@lru_cache(maxsize=4096)
def _read(document: Document) -> Reading:
    texts = tuple(_SENTENCE.split(document.text))
    return Reading(frozenset(_stems(document.title)), tuple(tuple(_stems(text)) for text in texts), texts)


def _stems(text: str) -> list[str]:
    return [word[:_STEM] for word in words(text)]


def wanted(query: str) -> str:
    """The sort of answer that a question wants, from its question word and the words after it."""
    lows = words(query)
    if lows and lows[0] in _AUXILIARIES:
        return YES_NO
    found = _ASKS.search(query.lower())
    asks = found.group() if found else ""
    if asks in ("who", "whom", "whose"):
        return PERSON
    if asks in ("when", "where"):
        return TIME if asks == "when" else PLACE
    near = set(_asked_noun(lows[lows.index(asks) + 1 :])) if asks else set()
    if near & _TIMES and asks != "how":
        return TIME
    if near & _NUMBERS:
        return NUMBER
    return PLACE if near & _PLACES else THING


def _asked_noun(following: Sequence[str]) -> Sequence[str]:
    """The words after "what" or "which" up to the first "of", at most five."""
    near = list(following[:5])
    return near[: near.index("of")] if "of" in near else near[:3]


def polarity(query: str) -> int:
    """1 for a comparison that asks for more or later, -1 for less or earlier, 0 for no comparison."""
    lows = set(words(query))
    return -1 if lows & _LESS else int(bool(lows & _MORE))


def shape(span: str) -> str:
    """What a span looks like: date, number, several capitalised words, one, or lower case."""
    if _YEAR.fullmatch(span) or _MONTH.search(span):
        return "date"
    if span[:1].isdigit():
        return "number"
    if span[:1].isupper() or span[:1] in "\"'":
        return "names" if " " in span else "name"
    return "lower"


def number(text: str) -> float | None:
    """The year, or else the first number, that a text says; None without one."""
    found = _YEAR.search(text) or _NUMBER.search(text)
    return float(found.group().replace(",", "")) if found else None


def best_span(query: str, documents: Sequence[Document], spans: Sequence[str]) -> int:
    """The place of the best answer among `spans`, the first of equals.

    What stands before the question's own sentence is read like a document, the first of all.
    """
    *told, asked = _SENTENCE.split(query.strip())
    readings = [_read(document) for document in (*_story(told), *documents)]
    want = wanted(asked)
    open_spans = [place for place, span in enumerate(spans) if span not in ("yes", "no")]
    if want == YES_NO and {"yes", "no"} <= set(spans):
        return list(spans).index("yes" if _agree(asked, readings, [spans[place] for place in open_spans]) else "no")
    if not open_spans:
        return 0
    options = _options(asked, [spans[place] for place in open_spans])
    if options:
        return list(spans).index(_compared(asked, readings, options))
    scores = _Scores(asked, readings)
    fits = _FIT[want]
    return max(open_spans, key=lambda place: scores.of(spans[place]) + fits[shape(spans[place])])


def _story(told: Sequence[str]) -> list[Document]:
    return [Document("", "", " ".join(told))] if told else []


class _Scores:
    """Scores spans against one query and its documents."""

    def __init__(self, query: str, readings: Sequence[Reading]) -> None:
        self._readings = readings
        self._query = frozenset(word[:_STEM] for word in content_words(query))
        self._said = frozenset(_stems(query))
        sentences = [sentence for reading in readings for sentence in reading.sentences]
        holding = Counter(stem for sentence in sentences for stem in self._query.intersection(sentence))
        self._weights = {stem: log(1 + (1 + len(sentences)) / (1 + holding[stem])) for stem in self._query}
        self._total = sum(self._weights.values()) or 1.0
        self._covers = [
            [self._cover(reading, frozenset(sentence)) for sentence in reading.sentences] for reading in readings
        ]

    def _cover(self, reading: Reading, sentence: frozenset[str]) -> float:
        """The share of the query's weight that a sentence holds; what its document's title holds counts nearly in full."""
        held = sum(
            weight * (1.0 if stem in sentence else 0.8 if stem in reading.title else 0.0)
            for stem, weight in self._weights.items()
        )
        return held / self._total

    def of(self, span: str) -> float:
        """The score of a span's best occurrence."""
        stems = _stems(span)
        if not stems:
            return -9.0
        inside = sum(stem in self._said for stem in stems) / len(stems)
        best = -1.0 if self._readings else 0.0
        for rank, reading in enumerate(self._readings):
            for order, sentence in enumerate(reading.sentences):
                base = _COVER * self._covers[rank][order] - _RANK * rank - _ORDER * order
                for start in _places(sentence, stems):
                    best = max(best, base + self._near(reading, sentence, start, start + len(stems)))
        return best - _INSIDE * inside

    def _near(self, reading: Reading, sentence: Sequence[str], start: int, end: int) -> float:
        """How near the words of the query stand: one that is of the document's title, and one that is not."""
        near = near_title = _FAR
        for place, stem in enumerate(sentence):
            if stem not in self._query:
                continue
            distance = max(start - place, place - end + 1, 0)
            if stem in reading.title:
                near_title = min(near_title, distance)
            elif distance:
                near = min(near, distance)
        return _NEAR * (1.0 - near / _FAR) + _NEAR_TITLE * (1.0 - near_title / _FAR)


def _places(sentence: Sequence[str], stems: Sequence[str]) -> list[int]:
    first, length = stems[0], len(stems)
    return [i for i, stem in enumerate(sentence) if stem == first and list(sentence[i : i + length]) == list(stems)]


def _named(query: str, readings: Sequence[Reading]) -> list[Reading]:
    """The documents whose whole title the query names."""
    said = frozenset(_stems(query))
    return [reading for reading in readings if reading.title and reading.title <= said]


def _agree(query: str, readings: Sequence[Reading], spans: Sequence[str]) -> bool:
    """Whether two documents that a yes/no question names share a span that the question does not."""
    said, named = frozenset(_stems(query)), _named(query, readings)
    for span in spans:
        stems = _stems(span)
        if not stems or said.issuperset(stems):
            continue
        holding = sum(any(_places(sentence, stems) for sentence in reading.sentences) for reading in named)
        if holding > 1:
            return True
    return False


def _options(query: str, spans: Sequence[str]) -> list[str]:
    """The spans on both sides of an "or" in the query: the longest that end and begin there; none without both."""
    for found in re.finditer(r",? or ", query):
        left = [span for span in spans if query[: found.start()].endswith(span)]
        right = [span for span in spans if query[found.end() :].startswith(span)]
        if left and right:
            return [max(left, key=len), max(right, key=len)]
    return []


def _compared(query: str, readings: Sequence[Reading], options: Sequence[str]) -> str:
    """The option whose document says the larger or smaller number, as the query asks; the first where that is not known."""
    values = [_value(query, readings, option) for option in options]
    known = [value for value in values if value is not None]
    if len(known) < len(options):
        return options[0]
    return options[values.index(max(known) if polarity(query) >= 0 else min(known))]


def _value(query: str, readings: Sequence[Reading], option: str) -> float | None:
    """The number in the sentence of the option's document that covers most of the query."""
    stems = frozenset(_stems(option))
    best: tuple[float, float | None] = (0.0, None)
    scores = _Scores(query, readings)
    for reading in readings:
        share = len(stems & reading.title) / (len(stems | reading.title) or 1)
        for order, text in enumerate(reading.texts):
            value = number(text)
            merit = share - 0.05 * order + 0.2 * scores._cover(reading, frozenset(reading.sentences[order]))
            if value is not None and share >= 0.5 and merit > best[0]:
                best = (merit, value)
    return best[1]
