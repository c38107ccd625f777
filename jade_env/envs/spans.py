"""What can be pointed at in a text: names, numbers, dates, titles, quotations and short lowercase phrases.

A passage is read once: its tokens become a string with one class letter a token, and one regular expression over that
string finds the spans. Nothing here knows a question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jade_env.envs.lexicon import MONTH_ORDER, NUMBER_WORDS, SCALE_VALUES, SEPARATOR, analyse
from jade_env.envs.memory import remember
from jade_env.game.outputs import MAX_ANSWER_WORDS
from jade_env.retrieval.types import Document

MAX_TEXT = 4_000
"""Characters of a document's text (and of a query) that are read; what follows is never a candidate."""
MAX_TITLE = 400
MAX_MENTIONS = 400

NAME, SINGLE, NUMBER, YEAR, DATE, LOWERCASE, QUOTED = range(7)
"""Kinds of span: several capitalised words, one capitalised word, number, year, date, lowercase phrase, quotation."""

PATTERN = re.compile(
    r'"(?P<quoted>[UTDMNYW][^".(z]{0,11})"'
    r"|(?P<date>N[sUl]?o?M,?Y|MN,?Y|MY|NM|MN)"
    r"|(?P<year>Y)"
    r"|(?P<number>[NW][ON]{0,6}+)"
    r"|(?P<name>[UM](?:(?:s|A|-|op|od|o|pd|pp|p|T)?[UM]){0,14}(?:N|Y(?!-))?)"
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
Cut = tuple[int, int, int, bool]
"""Where a span is: start and end token, kind, and whether it is another cut of the span before it."""


def clean(text: str) -> str:
    """`text` on one line, without angle brackets, cut after MAX_ANSWER_WORDS words as the game's rules count them."""
    if "<" in text or ">" in text:
        text = text.replace("<", " ").replace(">", " ")
    text = " ".join(text.split())
    if len(text) >= 2 * MAX_ANSWER_WORDS:
        for count, match in enumerate(_WORDS.finditer(text), 1):
            if count == MAX_ANSWER_WORDS:
                return text[: match.end()]
    return text


class Passage:
    """A document as it was read, in tokens.

    Attributes:
        tokens, stems, kinds: aligned; the title's first, then one empty separator, then the text's.
        head: the number of the title's tokens, which is the separator's position.
        title: the title without a closing parenthesis.
        text: the characters of the text that were read.
        words: its stems.
    """

    __slots__ = ("_first", "head", "kinds", "stems", "text", "title", "tokens", "words")

    def __init__(self, document: Document) -> None:
        title = document.title[:MAX_TITLE]
        self.text = document.text[:MAX_TEXT]
        named, kinds, stems, _ = analyse(title.split())
        self.head = len(named)
        tokens, letters, told, _ = analyse([SEPARATOR, *self.text.split()])
        self.tokens, self.kinds, self.stems = named + tokens, kinds + letters, stems + told
        self.words = frozenset(self.stems)
        self.title = clean(_PARENTHESIS.sub("", title) if "(" in title else title)
        self._first: frozenset[str] | None = None

    def sentences(self) -> list[tuple[int, int, list[Mention]]]:
        """The sentences with spans, the title first: start and end token, and the spans in reading order."""
        kinds, head = self.kinds, self.head
        found: list[tuple[int, int, list[Mention]]] = []
        if self.title:
            kind = NAME if head > 1 else SINGLE
            found.append((0, kinds.index("."), [(0, head, self.title, self.title.lower(), kind)]))
        start, room = head + 1, MAX_MENTIONS - len(found)
        for letters in kinds[start:].split("."):
            cuts = cut(letters)[:room]
            if cuts:
                found.append((start, start + len(letters), mentions(cuts, self.tokens, start)))
                room -= len(cuts)
            start += len(letters) + 1
        return found

    def mentions(self) -> list[Mention]:
        """Every span in reading order, each as often as it occurs."""
        return [mention for _, _, found in self.sentences() for mention in found]

    @property
    def first(self) -> frozenset[str]:
        """The stems of the first sentence of the text (at least five tokens)."""
        if self._first is None:
            end = self.kinds.find(".", self.head + 6)
            self._first = frozenset(self.stems[self.head + 1 : end if end > 0 else None])
        return self._first


passage = remember(2048)(Passage)
"""`Passage(document)`, remembered for documents met again."""


@remember(8192)
def cut(kinds: str) -> list[Cut]:
    """Where the spans are, by the class letters alone: many sentences share theirs. No span goes beyond a sentence."""
    found: list[Cut] = []
    for match in PATTERN.finditer(kinds):
        group = match.lastgroup or ""
        start, end = match.span(group)
        kind = _SINGLE_GROUPS[group] if end == start + 1 else _GROUPS[group]
        found.append((start, end, kind, False))
        if kind in _VARIED:
            found += _variant(kinds, start, end, kind)
    return found


def _variant(kinds: str, start: int, end: int, kind: int) -> list[Cut]:
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
    return [(start, end, kind, True)] if end >= 0 else []


def mentions(cuts: list[Cut], tokens: Sequence[str], offset: int) -> list[Mention]:
    """The spans of `cuts`, counted from token `offset` on, with their texts."""
    found: list[Mention] = []
    for start, end, kind, variant in cuts:
        start, end = start + offset, end + offset
        text = (tokens[start] if end == start + 1 else "".join(tokens[start:end])).rstrip()
        if variant or len(text) > 79:
            text = clean(text)
        found.append((start, end, text, text.lower(), kind))
    return found


def numeric(text: str) -> float | None:
    """The number, or the date as a year with its fraction, that `text` says; None if it says none."""
    value: float | None = None
    year: float | None = None
    month = 0.0
    scale = 1.0
    _, kinds, _, lows = analyse(text.split())
    for low, letter in zip(lows, kinds, strict=True):
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
