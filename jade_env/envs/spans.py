"""What can be pointed at in a text: names, numbers, dates, titles, quotations and short lowercase phrases.

A passage is read once: its tokens become a string with one class letter a token, and one regular expression over that
string finds the spans. Nothing here knows a question.
"""

from __future__ import annotations

import re
from functools import lru_cache

from jade_env.envs.lexicon import MONTH_ORDER, NUMBER_WORDS, SCALE_VALUES, SEPARATOR, analyse
from jade_env.retrieval.types import Document

MAX_TEXT = 4_000
"""Characters of a document's text (and of a query) that are read; what follows is never a candidate."""
MAX_TITLE = 400
MAX_ANSWER_WORDS = 40
MAX_MENTIONS = 400

NAME, SINGLE, NUMBER, YEAR, DATE, LOWERCASE, QUOTED = range(7)
"""Kinds of span: several capitalised words, one capitalised word, number, year, date, lowercase phrase, quotation."""

PATTERN = re.compile(
    r'"(?P<quoted>[UTDMNYW][^".(z]{0,11})"'
    r"|(?P<date>N[sUl]?o?M,?Y|MN,?Y|MY|NM|MN)"
    r"|(?P<year>Y)"
    r"|(?P<number>[NW][ON]{0,6}+)"
    r"|(?P<name>[UM](?:(?:s|A|-|op|od|o|pd|pp|p|T)?[UM]){0,14}+(?:N|Y(?!-))?)"
    r"|(?P<lower>l(?:(?<=dl)|(?<=dUl)|(?<=l&l))l{0,3}+(?![oi]))"
)
_GROUPS = {"quoted": QUOTED, "date": DATE, "year": YEAR, "number": NUMBER, "name": NAME, "lower": LOWERCASE}
_SINGLE_GROUPS = {**_GROUPS, "name": SINGLE}
_VARIED = frozenset((NAME, DATE, NUMBER))
_WORDS = re.compile(r"\b\w+\b")
_PARENTHESIS = re.compile(r"\s*\([^()]*\)\s*$")
_MONTH_NUMBERS = {name.lower(): float(number) for number, name in enumerate(MONTH_ORDER, 1)}
_DIGITS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")

Mention = tuple[int, int, str, str, int]
"""One occurrence of a span: start and end token, text, lowercase text, kind."""


def clean(text: str, limit: int = MAX_ANSWER_WORDS) -> str:
    """`text` on one line, without angle brackets, cut after `limit` words as the game's rules count them."""
    text = " ".join(text.replace("<", " ").replace(">", " ").split())
    if len(text) >= 2 * limit:
        for count, match in enumerate(_WORDS.finditer(text), 1):
            if count == limit:
                return text[: match.end()]
    return text


class Passage:
    """A document as it was read, in tokens.

    Attributes:
        tokens, stems, kinds: aligned; the title's first, then one empty separator, then the text's.
        head: the number of the title's tokens, which is the separator's position.
        title: the title without a closing parenthesis.
        text: the characters of the text that were read.
        stops: positions of sentence ends: the separator's, the others', and one past the last token.
    """

    __slots__ = ("_first", "_mentions", "head", "kinds", "stems", "stops", "text", "title", "tokens")

    def __init__(self, document: Document) -> None:
        title = document.title[:MAX_TITLE]
        self.text = document.text[:MAX_TEXT]
        named = title.split()
        self.tokens, self.kinds, self.stems = analyse([*named, SEPARATOR, *self.text.split()])
        kinds = self.kinds
        self.head = len(analyse(named)[1])
        self.title = clean(_PARENTHESIS.sub("", title) if "(" in title else title)
        self.stops = [place for place, letter in enumerate(kinds) if letter == "."]
        self.stops.append(len(kinds))
        self._mentions: list[Mention] | None = None
        self._first: frozenset[str] | None = None

    @property
    def mentions(self) -> list[Mention]:
        """Every span in reading order, the title first, each as often as it occurs."""
        if self._mentions is None:
            found: list[Mention] = []
            if self.title:
                found.append((0, self.head, self.title, self.title.lower(), NAME if self.head > 1 else SINGLE))
            self._mentions = find(self.kinds, self.tokens, self.head, found)
        return self._mentions

    @property
    def first(self) -> frozenset[str]:
        """The stems of the first sentence of the text (at least five tokens)."""
        if self._first is None:
            end = self.kinds.find(".", self.head + 6)
            self._first = frozenset(self.stems[self.head + 1 : end if end > 0 else None])
        return self._first


passage = lru_cache(maxsize=2048)(Passage)
"""`Passage(document)`, remembered for documents met again."""


def find(kinds: str, tokens: list[str], begin: int, found: list[Mention]) -> list[Mention]:
    """Add every span of a tokenised text from token `begin` on to `found`, at most MAX_MENTIONS, and return it."""
    for match in PATTERN.finditer(kinds, begin):
        group = match.lastgroup or ""
        start, end = match.span(group)
        if end == start + 1:
            text = tokens[start].rstrip()
            kind = _SINGLE_GROUPS[group]
        else:
            text = "".join(tokens[start:end]).rstrip()
            kind = _GROUPS[group]
        if len(text) > 79:
            text = clean(text)
        found.append((start, end, text, text.lower(), kind))
        if kind in _VARIED:
            found += _variant(kinds, tokens, start, end, kind)
    del found[MAX_MENTIONS:]
    return found


def _variant(kinds: str, tokens: list[str], start: int, end: int, kind: int) -> list[Mention]:
    """Another cut of a name, date or number, if there is one: the owner in "X's Y", the year, the number with its unit."""
    if kind == NAME:
        end = kinds.find("s", start, end)
        kind = NAME if end > start + 1 else SINGLE
    elif kind == DATE:
        start = kinds.find("Y", start, end)
        end = start + 1 if start >= 0 else -1
        kind = YEAR
    else:
        end = end + 1 if kinds[end : end + 1] == "l" else -1
    if end < 0:
        return []
    text = clean("".join(tokens[start:end]))
    return [(start, end, text, text.lower(), kind)]


def numeric(text: str) -> float | None:
    """The number, or the date as a year with its fraction, that `text` says; None if it says none."""
    value: float | None = None
    year: float | None = None
    month = 0.0
    scale = 1.0
    tokens, kinds, _ = analyse(text.split())
    for token, letter in zip(tokens, kinds, strict=True):
        low = token.strip().lower()
        if low in SCALE_VALUES:
            scale *= SCALE_VALUES[low]
        elif low in _MONTH_NUMBERS:
            month = _MONTH_NUMBERS[low]
        elif low in NUMBER_WORDS:
            value = NUMBER_WORDS[low] if value is None else value
        elif letter == "Y" and year is None:
            year = float(low)
        elif value is None:
            digits = _DIGITS.match(low.replace(",", ""))
            value = float(digits.group()) if digits else None
    if year is not None and (month or value is None):
        return year + month / 13.0 + (value if value is not None and value <= 31.0 else 0.0) / 500.0
    return value * scale if value is not None else (scale if scale > 1.0 else None)
