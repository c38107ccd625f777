"""How a question reads: what sort of answer it wants, its names, its relation words, its coordination and comparison.

Generic English only; it never sees documents, answers or gold fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from jade_env.envs import lexicon
from jade_env.envs.lexicon import STEM, analyse

WANTED = ("person", "place", "time", "number", "yes_no", "choice", "thing")
"""What a question may want; `Reading.wanted` is an index into this."""
MAX_QUERY = 1_000
"""Characters of a question that are read."""
PERSON, PLACE, TIME, QUANTITY, YES_NO, CHOICE, THING = range(7)

_CAPITALISED = r"(?>[NY]{0,2}[UM](?:(?:s|A|-|;|[oip]|od|id|pp|pd|[TD]{1,2})?[UMNY]){0,14}+(?:\([^().z]{1,5}\))?)"
NAME_PATTERN = re.compile(rf'"[^".z]{{1,12}}"|{_CAPITALISED}|#[NWY]')
_ITEM = rf'(?>[Dd]?"[^".z]{{1,12}}"|[Dd]?{_CAPITALISED}|#[NWY])'
COORDINATION = re.compile(rf"{_ITEM}(?:,{_ITEM})*+,?[&/A]d?{_ITEM}")
ITEM = re.compile(_ITEM)
LAST_CHOICE = re.compile(r',([DdUTM"#NY][^,./z]{0,11}),?/([DdUTM"#NY][^./z]{0,13})\.?$')


@dataclass(slots=True)
class Reading:
    """A question, read once.

    Attributes:
        tokens, lows, kinds, stems: its tokens, aligned.
        wanted: the sort of answer wanted, an index into WANTED.
        head: the stem of the noun asked for ("which river" -> "riv"), "" if none.
        entity, relation: stems of its capitalised words and numbers, and of its other content words.
        names: token ranges of its capitalised phrases and quotations.
        items: token ranges of the sides of its coordination ("X, Y and Z", "X or Y"), empty if none.
        per_relation, per_entity: one over the number of `relation` and of `entity` stems.
        words: both together.
        twice: positions of the content words that occur more than once.
        polarity: 1 for a comparison by more/later/larger, -1 by less/earlier/first/older, 0 for none. Ages count by birth year.
    """

    text: str
    tokens: list[str]
    lows: list[str]
    kinds: str
    stems: list[str]
    wanted: int
    head: str
    entity: frozenset[str]
    relation: frozenset[str]
    names: tuple[tuple[int, int], ...]
    items: tuple[tuple[int, int], ...]
    polarity: float
    per_relation: float
    per_entity: float
    words: frozenset[str]
    twice: list[int]

    def phrase(self, start: int, end: int) -> str:
        """The text of tokens [start, end)."""
        return "".join(self.tokens[start:end]).strip()


@lru_cache(maxsize=4096)
def read(text: str) -> Reading:
    """Read a question (its first MAX_QUERY characters)."""
    tokens, kinds, stems = analyse(text[:MAX_QUERY].split())
    lows = [token.rstrip().lower() for token in tokens]
    names = tuple(match.span() for match in NAME_PATTERN.finditer(kinds))
    entity: set[str] = set()
    for start, end in names:
        entity.update(stems[start:end])
    entity.discard("")
    relation = set(stems)
    relation -= entity
    relation.discard("")
    items = _items(kinds) if "&" in kinds or "/" in kinds or "A" in kinds else ()
    wanted, head = _wanted(lows, kinds, bool(items) and ("/" in kinds or "between" in lows))
    return Reading(
        text,
        tokens,
        lows,
        kinds,
        stems,
        wanted,
        head,
        frozenset(entity),
        frozenset(relation),
        names,
        items,
        _polarity(lows),
        1.0 / (len(relation) or 1),
        1.0 / (len(entity) or 1),
        frozenset(relation | entity),
        _twice(stems),
    )


def _twice(stems: list[str]) -> list[int]:
    seen: set[str] = {""}
    repeated: set[str] = set()
    for stem in stems:
        if stem in seen:
            repeated.add(stem)
        seen.add(stem)
    repeated.discard("")
    return [place for place, stem in enumerate(stems) if stem in repeated] if repeated else []


def _items(kinds: str) -> tuple[tuple[int, int], ...]:
    last = LAST_CHOICE.search(kinds) if "/" in kinds else None
    if last is not None:
        return last.span(1), last.span(2)
    longest: tuple[tuple[int, int], ...] = ()
    for match in COORDINATION.finditer(kinds):
        found = tuple(item.span() for item in ITEM.finditer(kinds, *match.span()))
        if len(found) >= max(2, len(longest)):
            longest = found
    return longest


def _polarity(lows: list[str]) -> float:
    present = set(lows)
    if not present.isdisjoint(lexicon.LESS):
        return -1.0
    return 1.0 if not present.isdisjoint(lexicon.MORE) else 0.0


def _wanted(lows: list[str], kinds: str, choice: bool) -> tuple[int, str]:
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


def _question_word(lows: list[str]) -> int:
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


def _noun(lows: list[str], kinds: str, start: int) -> str:
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
