"""Feature rows of workflows, rewritten queries, decompositions and document selections. It knows no gold and no template.

Rows are packed to bytes and put together from pieces that were packed once; there are too few of them for arrays to pay.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import combinations
from operator import itemgetter

from jade_env.envs import lexicon
from jade_env.envs.memory import remember
from jade_env.envs.reading import Reading, read
from jade_env.envs.spans import passage
from jade_env.envs.splits import CUTS, MAX_CANDIDATES, WORDINGS, Cut, cuts, wordings
from jade_env.game.outputs import MAX_SUBQUESTIONS
from jade_env.game.view import View, Workflow
from jade_env.retrieval.types import Document

MAX_SELECTED = 5
"""Documents that a selection chooses among."""
_CODES = ("QR", "R", "DS", "AG", "QDS", "QDP")
_PRESENT = ("present", "1 for every candidate")
_INDEX = ("index", "place in the list, from 0 to 1")
_UNUSED = (("overlap", "not used"), ("yes", "not used"), ("no", "not used"))
WORKFLOW = (
    _PRESENT,
    _INDEX,
    *_UNUSED,
    ("length", "codes in it, four give 1"),
    *((f"has_{code}", f"contains {code}") for code in _CODES),
    ("decomposes", "contains QDS or QDP"),
    ("raw", "retrieves without rewriting first"),
)
QUERY = (
    _PRESENT,
    _INDEX,
    *_UNUSED,
    *WORDINGS,
    ("length", "characters, two hundred give 1"),
    ("shorter", "one minus its characters over the target query's, at least -1"),
    ("resolves", "the target query has a # and this has none"),
)
SPLIT = (
    _PRESENT,
    _INDEX,
    *_UNUSED,
    *CUTS,
    ("parts", "sub-questions, seven give 1"),
    ("sides_match", "as many parts as the question's coordination has sides"),
    ("position", "where in the question the phrase cut out begins, from 0 to 1"),
    ("share", "tokens of the phrase over the question's"),
    ("article", "the phrase begins with an article"),
    ("nested", "the phrase has of"),
    ("possessive", "the phrase has a possessive"),
    ("relative", "the phrase has a relative pronoun"),
    ("ends", "the phrase ends the question"),
    ("broken_name", "a capital letter follows the phrase, as where a name was cut in two"),
    ("verb", "a form of be follows the phrase"),
)
_MEASURED = (
    ("both", "mean of the shares of the query's names and common words in it"),
    ("entity", "share of the query's names in it"),
    ("relation", "share of the query's common words in it"),
    ("title", "share of its title that is in the query"),
)
DOCUMENTS = (
    _PRESENT,
    _INDEX,
    *_UNUSED,
    ("size", "documents kept, five give 1"),
    ("empty", "keeps none"),
    ("all", "keeps every document"),
    *((f"keeps_{place}", f"keeps document {place}") for place in range(MAX_SELECTED)),
    *(
        (f"{name}_{place}", f"of document {place}, if it is kept: {meaning}")
        for place in range(MAX_SELECTED)
        for name, meaning in _MEASURED
    ),
)


def _floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"{len(values)}f", *values)


@remember(64)
def workflow_rows(workflows: tuple[Workflow, ...], width: int) -> bytes:
    """The rows of a scenario's workflows, in the order of WORKFLOW, each filled up with zeros to `width` columns."""
    rows = []
    for index, workflow in enumerate(workflows):
        has = [float(code in workflow) for code in _CODES]
        raw = float("R" in workflow and "QR" not in workflow)
        length = min(1.0, len(workflow) / 4)
        row = [1.0, min(1.0, index / 32), 0.0, 0.0, 0.0, length, *has, max(has[4:]), raw]
        rows.append(_floats([*row, *[0.0] * (width - len(row))]))
    return b"".join(rows)


def _openings(names: Sequence[tuple[str, str]]) -> list[list[bytes]]:
    """For each place in a list and each way to make a candidate, the columns up to the last one-hot; at -1, of none of them."""
    ways = range(len(names))
    return [
        [_floats([1.0, index / 8, 0.0, 0.0, 0.0, *(float(way == each) for each in ways)]) for way in (*ways, -1)]
        for index in range(MAX_CANDIDATES)
    ]


_QUERY_OPENINGS, _CUT_OPENINGS = _openings(WORDINGS), _openings(CUTS)


def query_rows(view: View, values: Sequence[str], width: int) -> bytes:
    """The rows of rewritten queries, in the order of QUERY, each filled up with zeros to `width` columns."""
    pack, known = _ending(width, QUERY, 3), wordings(view.query, view.answers)
    shortest, marked = 1.0 / (len(view.query) or 1), "#" in view.query
    packed: list[bytes] = []
    for opening, value in zip(_QUERY_OPENINGS, values, strict=False):
        length = len(value)
        shorter = 1.0 - length * shortest
        packed += (
            opening[known.get(value, -1)],
            pack(
                length / 200 if length < 200 else 1.0,
                shorter if shorter > -1.0 else -1.0,
                1.0 if marked and "#" not in value else 0.0,
            ),
        )
    return b"".join(packed)


@remember(8)
def _ending(width: int, columns: tuple[tuple[str, str], ...], count: int) -> Callable[..., bytes]:
    """What packs the last `count` of `columns` and fills the row up to `width` with zeros."""
    return struct.Struct(f"{count}f{4 * (width - len(columns))}x").pack


_PARTS = [min(1.0, count / MAX_SUBQUESTIONS) for count in range(MAX_SUBQUESTIONS + 1)]
_NO_PHRASE = [0.0] * 9


def split_rows(view: View, values: Sequence[tuple[str, ...]], serial: bool, width: int) -> bytes:
    """The rows of decompositions, in the order of SPLIT, each filled up with zeros to `width` columns."""
    pack, known, reading = _ending(width, SPLIT, 11), cuts(view.query, serial), read(view.query)
    sides = len(reading.items)
    packed: list[bytes] = []
    for opening, value in zip(_CUT_OPENINGS, values, strict=False):
        way, start, end = known.get(value, _UNKNOWN)
        count = len(value)
        packed += (
            opening[way],
            pack(
                _PARTS[count] if count < MAX_SUBQUESTIONS else 1.0,
                1.0 if count == sides else 0.0,
                *(_phrase(reading, start, end) if end else _NO_PHRASE),
            ),
        )
    return b"".join(packed)


_UNKNOWN: Cut = (-1, 0, 0)
_RELATIVE = lexicon.words("who whose whom that which where when")


def _phrase(reading: Reading, start: int, end: int) -> list[float]:
    """The columns from position on, for tokens [start, end)."""
    kinds = reading.kinds
    size = len(kinds)
    inside, after = kinds[start:end], kinds[end : end + 1]
    return [
        start / size,
        (end - start) / size,
        1.0 if kinds[start] in "dD" else 0.0,
        1.0 if "o" in inside else 0.0,
        1.0 if "s" in inside else 0.0,
        0.0 if _RELATIVE.isdisjoint(reading.lows[start:end]) else 1.0,
        1.0 if after in (".", "") else 0.0,
        1.0 if after == "U" else 0.0,
        1.0 if after == "v" else 0.0,
    ]


@remember(16)
def subsets(count: int) -> tuple[tuple[int, ...], ...]:
    """Every subset of the first `count` documents: by size, then in lexicographic order."""
    return tuple(subset for size in range(count + 1) for subset in combinations(range(count), size))


_NOTHING = bytes(4 * len(_MEASURED))
_MEASURES = struct.Struct(f"{len(_MEASURED)}f").pack


@remember(8)
def _selections(
    count: int, values: tuple[tuple[int, ...], ...], width: int
) -> tuple[list[bytes], Callable[[list[bytes]], tuple[bytes, ...]]]:
    """For subsets of `count` documents, what rows are made of, and what puts them together.

    Pieces are: no measures, the beginning of each subset's row, zeros to fill it up to `width` columns. The measures of the
    documents come after them.
    """
    pieces, order = [_NOTHING], []
    filling, first = len(values) + 1, len(values) + 2
    for index, subset in enumerate(values):
        start = [1.0, min(1.0, index / 32), 0.0, 0.0, 0.0]
        keeps = [float(place in subset) for place in range(MAX_SELECTED)]
        pieces.append(_floats([*start, min(1.0, len(subset) / 5), not subset, len(subset) == count, *keeps]))
        order += [
            index + 1,
            *(first + place if place in subset else 0 for place in range(MAX_SELECTED)),
            filling,
        ]
    pieces.append(bytes(4 * (width - len(DOCUMENTS))))
    return pieces, itemgetter(*order)


@remember(32)
def measures(query: str, documents: tuple[Document, ...]) -> list[tuple[float, float, float, float]]:
    """The four measures of each of the first MAX_SELECTED documents."""
    reading = read(query)
    relation, words = reading.relation, reading.words
    measured = []
    for document in documents[:MAX_SELECTED]:
        text = passage(document)
        found = words & text.words
        related = len(found & relation)
        in_entity = (len(found) - related) * reading.per_entity
        in_relation = related * reading.per_relation
        in_title = sum(map(words.__contains__, text.stems[: text.head])) / (text.head or 1)
        measured.append((0.5 * (in_entity + in_relation), in_entity, in_relation, in_title))
    return measured


def document_rows(view: View, values: Sequence[tuple[int, ...]], width: int) -> bytes:
    """The rows of document selections, in the order of DOCUMENTS, each filled up with zeros to `width` columns."""
    measured = measures(view.query, view.documents)
    pieces, together = _selections(len(measured), tuple(values), width)
    return b"".join(together([*pieces, *[_MEASURES(*each) for each in measured]]))
