"""How a question reads: what sort of answer it wants, its names, its relation words, its coordination and comparison.

Generic English only; it never sees documents, answers or gold fields.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from jade_env.envs import lexicon
from jade_env.envs.lexicon import STEM, Strings, analyse
from jade_env.envs.memory import remember

WANTED = ("person", "place", "time", "number", "yes_no", "choice", "thing")
"""What a question may want; `Reading.wanted` is an index into this."""
MAX_QUERY = 1_000
"""Characters of a question that are read."""
PERSON, PLACE, TIME, QUANTITY, YES_NO, CHOICE, THING = range(7)

_CAPITALISED = r"(?>[NY]{0,2}[UM](?:(?:s|A|-|;|[oip]|od|id|pp|pd|[TD]{1,2})?[UMNY]){0,14}(?:\([^().z]{1,5}\))?)"
NAME_PATTERN = re.compile(rf'"[^".z]{{1,12}}"|{_CAPITALISED}|#[NWY]')
_ITEM = rf'(?>[Dd]?"[^".z]{{1,12}}"|[Dd]?{_CAPITALISED}|#[NWY])'
COORDINATION = re.compile(rf"{_ITEM}(?:,{_ITEM})*,?[&/A]d?{_ITEM}")
ITEM = re.compile(_ITEM)
Ranges = tuple[tuple[int, int], ...]
LAST_CHOICE = re.compile(r',([DdUTM"#NY][^,./z]{0,11}),?/([DdUTM"#NY][^./z]{0,13})\.?$')


class Reading(NamedTuple):
    """A question, read once.

    Attributes:
        tokens, lows, kinds, stems: its tokens, aligned.
        wanted: the sort of answer wanted, an index into WANTED.
        head: the stem of the noun asked for ("which river" -> "riv"), "" if none.
        relation: the stems of its content words that are neither in a capitalised phrase nor numbers.
        names: token ranges of its capitalised phrases and quotations.
        items: token ranges of the sides of its coordination ("X, Y and Z", "X or Y"), empty if none.
        words: the stems of all its content words.
        per_relation, per_entity: one over the number of `relation` stems, and of the others.
        repeated: the share of its content words that occurred before.
        twice: positions of the content words that occur more than once.
        polarity: 1 for a comparison by more/later/larger, -1 by less/earlier/first/older, 0 for none. Ages count by birth year.
    """

    text: str
    tokens: Strings
    lows: Strings
    kinds: str
    stems: Strings
    wanted: int
    head: str
    relation: frozenset[str]
    names: Ranges
    items: Ranges
    polarity: float
    per_relation: float
    per_entity: float
    words: frozenset[str]
    repeated: float
    twice: tuple[int, ...]

    def phrase(self, start: int, end: int) -> str:
        """The text of tokens [start, end)."""
        return "".join(self.tokens[start:end]).strip()


@remember(512)
def read(text: str) -> Reading:
    """Read a question (its first MAX_QUERY characters)."""
    tokens, kinds, stems, lows = analyse(text[:MAX_QUERY].split())
    names, named, items = _shape(kinds)
    choice = bool(items) and ("/" in kinds or "between" in lows)
    wanted, head = _wanted(lows, kinds, choice)
    content = len(stems) - stems.count("")
    words = frozenset(stems) - _BLANK
    relation = words.difference([stems[place] for place in named])
    common, distinct = len(relation), len(words)
    return Reading(
        text,
        tokens,
        lows,
        kinds,
        stems,
        wanted,
        head,
        relation,
        names,
        items,
        _polarity(lows),
        1.0 / (common or 1),
        1.0 / (distinct - common or 1),
        words,
        1.0 - distinct / content if content else 0.0,
        _twice(stems) if distinct < content else (),
    )


_BLANK = frozenset(("",))


@remember(4096)
def _shape(kinds: str) -> tuple[Ranges, list[int], Ranges]:
    """What follows from the class letters alone: names, the tokens in them, and items. Many questions share their shape."""
    names = tuple([match.span() for match in NAME_PATTERN.finditer(kinds)])
    named = [place for start, end in names for place in range(start, end)]
    return names, named, _items(kinds) if "&" in kinds or "/" in kinds or "A" in kinds else ()


def _twice(stems: Strings) -> tuple[int, ...]:
    seen: set[str] = {""}
    repeated: set[str] = set()
    for stem in stems:
        if stem in seen:
            repeated.add(stem)
        seen.add(stem)
    repeated.discard("")
    return tuple([place for place, stem in enumerate(stems) if stem in repeated])


def _items(kinds: str) -> Ranges:
    last = LAST_CHOICE.search(kinds) if "/" in kinds else None
    if last is not None:
        return last.span(1), last.span(2)
    longest: Ranges = ()
    for match in COORDINATION.finditer(kinds):
        found = tuple(item.span() for item in ITEM.finditer(kinds, *match.span()))
        if len(found) >= max(2, len(longest)):
            longest = found
    return longest


def _polarity(lows: Strings) -> float:
    if not lexicon.LESS.isdisjoint(lows):
        return -1.0
    return 1.0 if not lexicon.MORE.isdisjoint(lows) else 0.0


def _wanted(lows: Strings, kinds: str, choice: bool) -> tuple[int, str]:
    """The sort of answer, and the stem of the noun asked for."""
    position = _question_word(lows)
    if choice:
        return CHOICE, ""
    if position < 0:
        return (YES_NO if lows and lows[0] in lexicon.AUXILIARIES else THING), ""
    word = lows[position]
    if word in ("who", "whom", "whose"):
        return PERSON, ""
    if word == "when":
        return TIME, ""
    if word == "where":
        return PLACE, ""
    if word == "how":
        return (QUANTITY if position + 1 < len(lows) and lows[position + 1] in lexicon.HOW_MUCH else THING), ""
    return _by_noun(_noun(lows, kinds, position + 1))


def _question_word(lows: Strings) -> int:
    """The position of the word that asks; a question word late in the question beats a relative pronoun before it."""
    if lows and lows[0] in lexicon.AUXILIARIES:
        return -1
    first = last = -1
    for position, low in enumerate(lows):
        if low in lexicon.QUESTION_WORDS:
            if position == 0 or (position == 1 and lows[0] in lexicon.PREPOSITIONS) or lows[position - 1] in (",", "."):
                return position
            if first < 0:
                first = position
            if low in ("what", "when", "how") or (low == "which" and lows[position - 1] != ","):
                last = position
    return last if last >= 0 else first


def _noun(lows: Strings, kinds: str, start: int) -> str:
    """The head noun after "which"/"what": the last word of the first run of content words ("what is the N of" included)."""
    noun = ""
    for position in range(start, min(start + 9, len(lows))):
        letter = kinds[position]
        if letter in "lUM":
            if noun and lows[position].endswith("ed"):
                break
            noun = lows[position] if lows[position] not in ("name", "type", "kind", "sort") else ""
        elif noun and letter not in "s":
            break
    return noun


def _by_noun(noun: str) -> tuple[int, str]:
    if not noun:
        return THING, ""
    singular = noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun
    if noun in lexicon.PLACES or singular in lexicon.PLACES:
        return PLACE, STEM[noun]
    if is_person(noun):
        return PERSON, STEM[noun]
    if noun in lexicon.TIMES or singular in lexicon.TIMES:
        return TIME, STEM[noun]
    if noun in lexicon.QUANTITIES:
        return QUANTITY, STEM[noun]
    return THING, STEM[noun]


def is_person(noun: str) -> bool:
    """Whether a common noun names a person, by a short list or by its ending (-er, -or, -ist, -ian, -ess)."""
    singular = noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun
    if singular in lexicon.PERSONS or noun in lexicon.PERSONS:
        return True
    return singular.endswith(("er", "or", "ist", "ian")) and len(singular) > 4 and singular not in lexicon.NOT_PERSONS
