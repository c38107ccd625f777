"""The generator's answers: spans of the query and of the documents, in reading order, and what is known of each.

Everything is lexical: of which kind a span is, in which sentence, how near it stands to the query's words. The salience only
decides which spans are dropped when there are more than MAX_SPANS. It knows no gold field and no template.

Plain loops over a few dozen spans are faster here than arrays; rows are packed to bytes and become an array once.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache

from jade_env.envs.comparison import compare, links, side_documents
from jade_env.envs.lexicon import Table
from jade_env.envs.reading import CHOICE, YES_NO, Reading, read
from jade_env.envs.spans import MAX_TEXT, MAX_TITLE, NAME, Mention, Passage, find, passage
from jade_env.retrieval.types import Document

MAX_SPANS = 32
MAX_DOCUMENTS = 10
_TOKENS = MAX_TEXT + MAX_TITLE + 2
"""More than the tokens of any passage, and a position after all of them."""

_FITS = (
    (1.9, 0.8, -0.8, -0.5, -0.4, -0.9, -0.3),
    (0.3, 1.6, -0.5, -0.6, -0.5, -0.7, -0.1),
    (-1.2, -1.1, 0.2, 1.8, 1.9, -1.3, -0.5),
    (-0.8, -0.7, 2.2, -0.3, -0.2, -0.5, -0.3),
    (-0.2, -0.2, -0.3, -0.3, -0.3, 0.2, 0.0),
    (0.5, 0.0, -0.5, -0.5, -0.5, -0.7, 0.1),
    (0.7, 0.1, 0.0, -1.0, -0.7, -0.5, 1.0),
)
"""How well a kind of span (column) suits what is wanted (row): log-odds fitted on the training files of four public sets."""

_SCALED_FITS = [[fit / 2.2 for fit in fits] for fits in _FITS]
_NEAR = [0.0, *(1.0 / (1.0 + 0.35 * distance) for distance in range(14)), *[0.0] * (_TOKENS - 14)]
"""Closeness by distance in tokens, 0 for none."""
_LEFT = [1.5 * near for near in _NEAR]
_RIGHT = [0.9 * near for near in _NEAR]
_START = [0.012 * start for start in range(_TOKENS)]
_LENGTH = [0.13 * min(length, 12) for length in range(_TOKENS)]
_INDEX = [index / (MAX_SPANS + 2) for index in range(MAX_SPANS + 2)]
_PLACE = [1.0 - place / 16 for place in range(MAX_SPANS)]
_FOURTHS = [min(1.0, count / 4) for count in range(MAX_DOCUMENTS + 1)]

COLUMNS = (
    ("present", "1 for every candidate"),
    ("index", "place in reading order, from 0 to 1"),
    ("overlap", "share of the span's tokens that are words of the query"),
    ("yes", "1 for yes"),
    ("no", "1 for no"),
    ("fit", "how well the kind of span suits the kind of answer the query wants"),
    ("salience", "a hand-weighted sum of fit, rank, sentence and closeness, minus the best candidate's"),
    ("place", "1 for the most salient candidate, falling to -1 for the 32nd"),
    ("in_query", "the best mention is in the query"),
    ("in_title", "the best mention is in a title"),
    ("is_title", "it is the title of a document read"),
    ("documents", "documents that mention it, four give 1; yes, no: spans the compared sides share, signed"),
    (
        "sentence_relation",
        "share of the query's common words in its sentence; yes, no: in the worse side's document, signed",
    ),
    ("sentence_entity", "share of the query's names in its sentence or that document's title"),
    ("near_left", "closeness of the nearest common word of the query on its left, in the sentence"),
    ("near_right", "the same on its right"),
    ("rank", "1 for the first document, 0 for the sixth and later"),
    ("document_entity", "share of the query's names in its document"),
    ("document_relation", "share of the query's common words in its document"),
    ("title_overlap", "share of its document's title that is in the query"),
    ("linked", "its document's title occurs in other documents, two give 1"),
    ("bridge", "titles of other documents in its document, two give 1"),
    ("head_inside", "contains the noun asked for"),
    ("head_before", "the noun asked for is among the three tokens before it"),
    ("head_after", "the noun asked for is among the three tokens after it"),
    ("defined", "it is a title and that document's first sentence has the noun asked for (-1: has not)"),
    ("compared", "a side of a choice: 1 if its number is the one asked for (largest, earliest), -1 if not"),
    ("side", "a side of a choice"),
    ("length", "tokens, eight or more give 1"),
    ("early", "1 at the start of its passage, falling to -1 at token 60"),
    ("name", "several capitalised words"),
    ("capitalised", "one capitalised word"),
    ("number", "a number that is neither a year nor a date"),
    ("year", "a year"),
    ("date", "a date with a month"),
    ("other_kind", "a lowercase phrase or a quotation"),
    ("after_in", "preceded by in, at or near"),
    ("after_by", "preceded by by"),
    ("after_of", "preceded by of"),
    ("after_is", "preceded by as, is or was"),
)
_STATIC = 12
"""How many of the last columns do not depend on the query; they are looked up."""
_PACK = struct.Struct(f"={len(COLUMNS) - _STATIC}f").pack
_NO_STATIC = bytes(4 * _STATIC)


def _floats(*values: float) -> bytes:
    return struct.pack(f"={len(values)}f", *values)


_SHAPES = [
    [_floats(min(1.0, length / 8), *(float(min(kind, 5) == column) for column in range(6))) for length in range(9)]
    for kind in range(7)
]
_EARLY = [_floats(1.0 - 2.0 * min(1.0, start / 60)) for start in range(61)]
_BEFORE_GROUPS = (
    frozenset(("in", "at", "near")),
    frozenset(("by",)),
    frozenset(("of",)),
    frozenset(("as", "is", "was")),
)
_BEFORE: Table[bytes] = Table(
    lambda token: _floats(*(float(token.strip().lower() in group) for group in _BEFORE_GROUPS))
)

Found = tuple[float, int, int, int, str, int, int, int, float, float]
"""A span's best mention: salience, document (-1: the query), start and end token, text, kind, distances to the nearest common
word of the query on its left and right (0: none), and the shares of the query's common words and names in its sentence."""


@dataclass(slots=True)
class Survey:
    """The answers of one view: `values` in reading order, then yes and no.

    Attributes:
        found: the spans by lowercase text, in the order of `values`.
        masks: bit k is set where document k mentions the span.
        asked: the spans of the query.
        documents: for each document the shares of the query's names and of its common words in it, and the share of its
            title that is in the query.
    """

    reading: Reading
    passages: list[Passage]
    values: list[str] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    documents: list[tuple[float, float, float]] = field(default_factory=list)


@lru_cache(maxsize=32)
def survey(query: str, documents: tuple[Document, ...]) -> Survey:
    """Read query and documents, find every span, and keep the MAX_SPANS most salient in reading order."""
    result = Survey(read(query), [passage(document) for document in documents[:MAX_DOCUMENTS]])
    found = result.found
    _scan_query(result)
    result.asked = frozenset(found)
    for rank, text in enumerate(result.passages):
        _scan(result, text, rank)
    if len(found) > MAX_SPANS:
        for _, key in sorted([(entry[0], key) for key, entry in found.items()])[: len(found) - MAX_SPANS]:
            del found[key]
    result.values = [entry[4] for entry in found.values()]
    result.values += ("yes", "no")
    return result


def _scan_query(result: Survey) -> None:
    """Add the spans of the query: nearness counts its words that occur twice, as in a statement followed by a question."""
    reading, twice = result.reading, result.reading.twice
    sides: list[Mention] = []
    for start, end in reading.items:
        text = reading.phrase(start, end).strip('"')
        sides.append((start, end, text, text.lower(), NAME))
    bonus = 10.0 if sides and reading.wanted == CHOICE else 0.0
    count = len(sides)
    fits = _FITS[reading.wanted]
    for order, (start, end, text, key, kind) in enumerate(find(reading.kinds, reading.tokens, 0, sides)):
        if key in result.found:
            continue
        before, after = bisect_left(twice, start), bisect_left(twice, end)
        left = start - twice[before - 1] if before else 0
        right = twice[after] - end + 1 if after < len(twice) else 0
        salience = 1.0 + fits[kind] + _LEFT[left] + _RIGHT[right] + (bonus if order < count else 0.0)
        result.masks[key] = 0
        result.found[key] = salience, -1, start, end, text, kind, left, right, 0.0, 0.0


def _scan(result: Survey, text: Passage, rank: int) -> None:
    """Add the spans of one document, each with its best mention."""
    reading, stems, stops, asked = result.reading, text.stems, text.stops, result.asked
    relation, words, found, masks, bit = reading.relation, reading.words, result.found, result.masks, 1 << rank
    per_relation, per_entity = reading.per_relation, reading.per_entity
    hits = [place for place, stem in enumerate(stems) if stem in words]
    near = [place for place in hits if stems[place] in relation]
    titled = bisect_left(hits, text.head)
    title = {stems[place] for place in hits[:titled]} - relation
    everywhere = {stems[place] for place in hits}
    relations = len(everywhere & relation)
    entities = (len(everywhere) - relations) * per_entity
    result.documents.append((entities, relations * per_relation, min(1.0, titled / (text.head or 1))))
    near.append(_TOKENS)
    fits = _FITS[reading.wanted]
    base = 0.7 * entities - 0.5 * rank
    here = in_relation = in_entity = 0.0
    begin = stop = 0
    for start, end, span, key, kind in text.mentions:
        if start >= stop:
            sentence = bisect_left(stops, start)
            begin = stops[sentence - 1] + 1 if sentence else 0
            stop = stops[sentence]
            part = {stems[place] for place in hits[bisect_left(hits, begin) : bisect_left(hits, stop)]}
            common = len(part & relation)
            in_relation = common * per_relation
            in_entity = (len(part | title) - common) * per_entity
            here = base + 3.0 * in_relation + 0.5 * in_entity
        before = bisect_left(near, start)
        left = start - near[before - 1] if before and near[before - 1] >= begin else 0
        after = near[before]
        if after < end:
            after = near[bisect_left(near, end, before)]
        right = after - end + 1 if after < stop else 0
        salience = here + fits[kind] + _LEFT[left] + _RIGHT[right] + _LENGTH[end - start] - _START[start]
        if key in asked:
            salience -= 1.0
        old = found.get(key)
        if old is None:
            masks[key] = bit
        else:
            masks[key] |= bit
            if old[0] >= salience:
                continue
        found[key] = salience, rank, start, end, span, kind, left, right, in_relation, in_entity


def rows(result: Survey) -> bytes:
    """The packed feature rows of `result.values`, in the order of COLUMNS, as native 32-bit floats."""
    reading, passages, masks, found = result.reading, result.passages, result.masks, result.found
    head, words = reading.head, reading.words
    top, places, about = _ranks(result)
    titles = {text.title.lower(): text for text in passages}
    compared = compare(reading, passages) if reading.wanted == CHOICE else {}
    fits = _SCALED_FITS[reading.wanted]
    packed: list[bytes] = []
    for index, (key, entry) in enumerate(found.items()):
        salience, rank, start, end, _, kind, left, right, in_relation, in_entity = entry
        text: Passage | Reading = passages[rank] if rank >= 0 else reading
        stems, kinds, length = text.stems, text.kinds, end - start
        if length == 1:
            overlap = 1.0 if stems[start] in words else 0.0
        else:
            overlap = len(words.intersection(stems[start:end])) / length
        title = titles.get(key)
        inside = before = after = False
        if head and head in stems:
            inside = head in stems[start:end]
            before = head in stems[start - 3 if start > 3 else 0 : start]
            after = head in stems[end : end + 3]
        place = start - 1
        if place > 0 and kinds[place] in "dD":
            place -= 1
        packed += (
            _PACK(
                1.0,
                _INDEX[index],
                overlap,
                0.0,
                0.0,
                fits[kind],
                (salience - top) / 6.0 if salience > top - 6.0 else -1.0,
                places[salience],
                rank < 0,
                rank >= 0 and end <= passages[rank].head,
                title is not None,
                _FOURTHS[masks[key].bit_count()],
                in_relation,
                in_entity,
                _NEAR[left],
                _NEAR[right],
                *about[rank],
                inside,
                before,
                after,
                0.0 if title is None or not head else 1.0 if head in title.first else -1.0,
                compared.get(key, 0.0),
                key in compared,
            ),
            _SHAPES[kind][length if length < 8 else 8],
            _EARLY[start if start < 60 else 60],
            _BEFORE[text.tokens[place]] if place >= 0 else _BEFORE[""],
        )
    return b"".join([*packed, *_yes_and_no(result)])


def _ranks(result: Survey) -> tuple[float, dict[float, float], list[tuple[float, ...]]]:
    """The greatest salience, the `place` of each, and the columns rank to bridge of each document (last: of the query)."""
    order = sorted([entry[0] for entry in result.found.values()], reverse=True)
    places = dict(zip(order[::-1], _PLACE[: len(order)][::-1], strict=True))
    about: list[tuple[float, ...]] = [
        (max(0.0, 1.0 - 0.2 * rank), *measured, *linked)
        for rank, (measured, linked) in enumerate(zip(result.documents, links(result.passages), strict=True))
    ]
    about.append((0.0,) * 6)
    return order[0] if order else 0.0, places, about


def _yes_and_no(result: Survey) -> list[bytes]:
    """The rows of yes and no: whether both sides' documents have the query's words, and share a span it does not name."""
    count = len(result.found)
    worst = shared = 0.0
    asked = result.reading.wanted == YES_NO
    if asked and len(result.passages) > 1:
        ranks = side_documents(result.reading, result.passages)
        worst = min((result.documents[rank][1] for rank in ranks), default=0.0)
        both = sum(1 << rank for rank in ranks)
        if len(ranks) > 1:
            common = sum([key not in result.asked and result.masks[key] & both == both for key in result.found])
            shared = min(1.0, common / 3)
    packed = []
    for sign, place in ((1.0, count), (-1.0, count + 1)):
        values = [0.0] * (len(COLUMNS) - _STATIC)
        values[0], values[1], values[5] = 1.0, _INDEX[place], 1.0 if asked else -1.0
        values[3 if sign > 0.0 else 4] = 1.0
        values[11], values[12] = sign * shared, sign * worst
        packed.append(_PACK(*values) + _NO_STATIC)
    return packed
