"""What can be pointed at in a text: names, numbers, dates, titles, quotations and short lowercase phrases.

A passage is read once: its tokens become a string with one class letter a token, and one regular expression over that
string finds the spans. Nothing here knows a question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from jade_env.envs.lexicon import KIND, LOWER, MONTH_ORDER, NUMBER_WORDS, SCALE_VALUES, STEM, WORD
from jade_env.retrieval.types import Document

MAX_TEXT = 4_000
"""Characters of a document's text (and of a query) that are read; what follows is never a candidate."""
MAX_TITLE = 400
MAX_ANSWER_WORDS = 40
MAX_MENTIONS = 400

NAME, SINGLE, NUMBER, YEAR, DATE, LOWERCASE, QUOTED = range(7)
"""Kinds of span: several capitalised words, one capitalised word, number, year, date, lowercase phrase, quotation."""

PATTERN = re.compile(
    r'"(?P<quoted>[UTDMNYW][^".(]{0,11})"'
    r"|(?P<date>N[sUl]?o?M,?Y|MN,?Y|MY|NM|MN)"
    r"|(?P<year>Y)"
    r"|(?P<number>[NW][ON]*+)"
    r"|(?P<name>[UM](?:(?:s|A|-|op|od|o|pd|pp|p|T)?[UM])*+(?:N|Y(?!-))?)"
    r"|(?:(?<=[dv])|(?<=dU)|(?<=dUU)|(?<=l&)|(?<=l,))(?P<lower>l{1,4})"
)
_GROUPS = {"quoted": QUOTED, "date": DATE, "year": YEAR, "number": NUMBER, "name": NAME, "lower": LOWERCASE}
_MONTH_NUMBERS = {name.lower(): float(number) for number, name in enumerate(MONTH_ORDER, 1)}
_DIGITS = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_WORDS = re.compile(r"\b\w+\b")
_PARENTHESIS = re.compile(r"\s*\([^()]*\)\s*$")


class Mention(NamedTuple):
    """One occurrence of a span: tokens [start, end) of its passage."""

    start: int
    end: int
    text: str
    key: str
    kind: int


def clean(text: str, limit: int = MAX_ANSWER_WORDS) -> str:
    """`text` on one line, without angle brackets, cut after `limit` words as the game's rules count them."""
    text = " ".join(text.replace("<", " ").replace(">", " ").split())
    if len(text) >= 2 * limit:
        for count, match in enumerate(_WORDS.finditer(text), 1):
            if count == limit:
                return text[: match.end()]
    return text


@dataclass(slots=True)
class Passage:
    """A document as it was read. `head` is the number of its title's tokens; token `head` is an empty
    separator; `stops` are the positions of sentence ends, the separator's included."""

    tokens: list[str]
    stems: list[str]
    kinds: str
    head: int
    title: str
    stops: list[int]
    _mentions: list[Mention] | None = None

    @property
    def mentions(self) -> list[Mention]:
        """Every span in reading order, the title first, each as often as it occurs."""
        if self._mentions is None:
            found = find(self.kinds, self.tokens, self.head)
            if self.title:
                found.insert(0, Mention(0, self.head, self.title, self.title.lower(), NAME if self.head > 1 else SINGLE))
            self._mentions = found
        return self._mentions


def find(kinds: str, tokens: list[str], start: int) -> list[Mention]:
    """Every span of a tokenised text from token `start` on, in reading order."""
    found: list[Mention] = []
    for match in PATTERN.finditer(kinds, start):
        group = match.lastgroup or ""
        first, end = match.span(group)
        text = "".join(tokens[first:end]).strip()
        code = _GROUPS[group]
        if code == NAME and end == first + 1:
            code = SINGLE
        found.append(Mention(first, end, text, text.lower(), code))
    return found[:MAX_MENTIONS]


def numeric(text: str) -> float | None:
    """The number, or the date as a year with its fraction, that `text` says; None if it says none."""
    value: float | None = None
    year: float | None = None
    month = day = 0.0
    scale = 1.0
    for low in map(LOWER.__getitem__, tokenise(text)):
        if low in SCALE_VALUES:
            scale *= SCALE_VALUES[low]
        elif low in _MONTH_NUMBERS:
            month = _MONTH_NUMBERS[low]
        elif low in NUMBER_WORDS:
            value = NUMBER_WORDS[low] if value is None else value
        elif low[:1].isdecimal():
            digits = _DIGITS.match(low.replace(",", ""))
            number = float(digits.group()) if digits else 0.0
            if KIND[low] == "Y" and year is None:
                year = number
            elif value is None:
                value = number
    if year is not None and (month or value is None):
        day = value if value is not None and value <= 31 else 0.0
        return year + month / 13.0 + day / 500.0
    return value * scale if value is not None else (scale if scale > 1.0 else None)


def tokenise(text: str) -> list[str]:
    """The tokens of `text`; joined they give the text back, white space at its start and end excepted."""
    return WORD.findall(text.strip())


@lru_cache(maxsize=2048)
def passage(document: Document) -> Passage:
    """Read a document: its title and the first MAX_TEXT characters of its text."""
    title = document.title[:MAX_TITLE]
    head = tokenise(title)
    tokens = head + [""] + tokenise(document.text[:MAX_TEXT])
    kinds = "".join(map(KIND.__getitem__, tokens))
    stops = [position for position, letter in enumerate(kinds) if letter == "."]
    stems = list(map(STEM.__getitem__, tokens))
    return Passage(tokens, stems, kinds, len(head), clean(_PARENTHESIS.sub("", title)), stops)
