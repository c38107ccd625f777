"""Numbers for a learner: one row a candidate, one row a turn, float32 in [-1, 1].

All sources share the same F columns; the first five mean the same everywhere (but that an answer which was sent back is -1
present), the others mean what COLUMNS says for the source, and the role one-hot beside them tells the learner which. Unused
columns are 0. Nothing here knows gold or templates.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jade_env.envs import answers, judging, lexicon, rows, summaries
from jade_env.envs.answers import survey
from jade_env.envs.memory import remember
from jade_env.envs.reading import WANTED, read
from jade_env.game.view import View

Floats = NDArray[np.float32]

COLUMNS: dict[str, tuple[tuple[str, str], ...]] = {
    "workflow": rows.WORKFLOW,
    "query": rows.QUERY,
    "subquestions_serial": rows.SPLIT,
    "subquestions_parallel": rows.SPLIT,
    "document_ids": rows.DOCUMENTS,
    "answer": answers.COLUMNS,
    "summary": summaries.COLUMNS,
    **judging.COLUMNS,
}
"""For each source, (name, meaning) of the columns it uses, in order; the remaining columns are 0."""

_F = max(len(columns) for columns in COLUMNS.values())
CANDIDATE_FEATURES: dict[str, str] = {
    f"c{column:02d}": "; ".join(
        f"{source}: {' = '.join(columns[column])}" for source, columns in COLUMNS.items() if column < len(columns)
    )
    for column in range(_F)
}
"""The F columns of a candidate row: name, and what it means for each source."""

TURN_FEATURES: dict[str, str] = {
    "depth": "depth of the node, three or more give 1",
    "retrieved": "this round has retrieved",
    **{f"wants_{name}": f"the query wants: {name}" for name in WANTED},
    "length": "tokens of the query, forty give 1",
    "names": "names in the query, six give 1",
    "sides": "sides of its coordination, five give 1",
    "commas": "commas in it, five give 1",
    "or": "it has or",
    "of": "of in it, three give 1",
    "possessive": "possessives in it, two give 1",
    "reference": "it has a #",
    "digits": "numbers and years in it, three give 1",
    "statement": "sentences before the last one, two give 1",
    "quotes": "it has a quotation",
    "lowercase": "it has no capital letter after the first word",
    "polarity": "1 for a comparison by more or later, -1 by less or earlier",
    "relative": "how many of who, whose, that, which and where are after its first word, five give 1",
    "repeated": "share of its content words that occur twice",
    "auxiliary": "it begins with an auxiliary verb",
    "condition": "it begins with if, given, suppose or since",
    "head": "it names the noun asked for",
    "common_words": "common content words in it, eight give 1",
    "documents": "documents, five give 1",
    "best_document": "greatest share of the query's words in a document (answer and document_ids only)",
    "mean_document": "mean share of the query's words in a document (answer and document_ids only)",
    "answers": "sub-answers visible, seven give 1",
    "empty_answers": "share of them that are empty",
    "used_answers": "share of them that occur in the query",
    "equal_answers": "all of two or more of them are equal",
    "yes_no_answers": "share of them that are yes or no",
    "original": "the query is the original question",
}
"""The T columns of a turn: name and meaning."""

_RELATIVE = lexicon.words("who whose that which where")
_CONDITIONS = lexicon.words("if given suppose since assuming")


def candidate_features(source: str, view: View, values: Sequence[Any]) -> Floats:
    """Describe `values`, the candidates of `source` for `view`.

    Returns:
        Array of shape (len(values), F), float32 in [-1, 1]; F = len(CANDIDATE_FEATURES).

    Raises:
        KeyError: `source` is none of COLUMNS.
    """
    packed = candidate_rows(source, view, values)
    return np.frombuffer(bytearray(packed), dtype=np.float32).reshape(len(values), _F)


def candidate_rows(source: str, view: View, values: Sequence[Any]) -> bytes:
    """`candidate_features` as native 32-bit floats, row by row: what observations are put together from."""
    if source == "answer":
        return _answer_rows(view, values)
    if source == "workflow":
        return rows.workflow_rows(tuple(values), _F)
    if source == "document_ids":
        return rows.document_rows(view, values, _F)
    if source == "query":
        return rows.query_rows(view, values, _F)
    if source == "summary":
        return summaries.rows(view, values, _F)
    if source in judging.COLUMNS:
        return judging.rows(source, view, values, _F)
    return rows.split_rows(view, values, source == "subquestions_serial", _F)


def _answer_rows(view: View, values: Sequence[Any]) -> bytes:
    """The rows of answers; one that `survey` did not find is a row of zeros."""
    result = survey(view.query, view.documents)
    packed, size = answers.rows(result), 4 * _F
    if (
        view.draft and view.draft in result.values
    ):  # it comes first in a row: whether the candidate is there, or was sent back
        place = size * result.values.index(view.draft)
        packed = packed[:place] + _SENT_BACK + packed[place + len(_SENT_BACK) :]
    if values == result.values:
        return packed
    known = {value: packed[size * place : size * (place + 1)] for place, value in enumerate(result.values)}
    return b"".join([known.get(value, bytes(size)) for value in values])


_SENT_BACK = struct.pack("f", -1.0)
_PACK_PLACE, _PACK_LETTERS, _PACK_WORDS, _PACK_REST = [struct.Struct(f"{n}f").pack for n in (2, 12, 7, 9)]
_WANTED = [
    struct.pack(f"{len(WANTED)}f", *(place == wanted for place in range(len(WANTED)))) for wanted in range(len(WANTED))
]
_WORDS = [min(1.0, count / 8) for count in range(9)]


@remember(512)
def _query_part(query: str) -> bytes:
    """The features that depend on the query only."""
    reading = read(query)
    lows = reading.lows
    first = lows[0] if lows else ""
    return b"".join(
        (
            _WANTED[reading.wanted],
            _letters_part(reading.kinds, len(reading.names), len(reading.items)),
            _PACK_WORDS(
                reading.polarity,
                len(_RELATIVE.intersection(lows[1:])) / 5,
                reading.repeated,
                first in lexicon.AUXILIARIES,
                first in _CONDITIONS,
                reading.head != "",
                _WORDS[min(8, len(reading.relation))],
            ),
        )
    )


@remember(4096)
def _letters_part(kinds: str, names: int, items: int) -> bytes:
    """Those of them that follow from the class letters alone, from length to lowercase; many queries share theirs."""
    return _PACK_LETTERS(
        min(1.0, len(kinds) / 40),
        min(1.0, names / 6),
        min(1.0, items / 5),
        min(1.0, kinds.count(",") / 5),
        "/" in kinds,
        min(1.0, kinds.count("o") / 3),
        min(1.0, kinds.count("s") / 2),
        "#" in kinds,
        min(1.0, (kinds.count("Y") + kinds.count("N")) / 3),
        min(1.0, kinds[:-1].count(".") / 2),
        '"' in kinds,
        "U" not in kinds[1:],
    )


def turn_features(source: str, view: View) -> Floats:
    """Describe the turn: what the query asks and how, and what the role may read.

    Returns:
        Array of shape (T,), float32 in [-1, 1]; T = len(TURN_FEATURES).
    """
    return np.frombuffer(bytearray(turn_row(source, view)), dtype=np.float32)


def turn_row(source: str, view: View) -> bytes:
    """`turn_features` as native 32-bit floats."""
    query, documents, answers = view.query, view.documents, view.answers
    original = query == view.question
    if not documents and not answers:
        rest = _BARE[original]
    else:
        shares = _document_shares(source, view) if documents else None
        rest = _PACK_REST(
            min(1.0, len(documents) / 5),
            max(shares) if shares else 0.0,
            sum(shares) / len(shares) if shares else 0.0,
            *(_answers_part(view) if answers else _NO_ANSWERS),
            original,
        )
    return _PLACES[view.retrieved][min(3, view.depth)] + _query_part(query) + rest


_PLACES = [[_PACK_PLACE(depth / 3, retrieved) for depth in range(4)] for retrieved in (0.0, 1.0)]
_BARE = [_PACK_REST(*[0.0] * 8, original) for original in (0.0, 1.0)]
"""The features from documents on where there are neither documents nor sub-answers, by whether the query is the original."""
_NO_ANSWERS = (0.0, 0.0, 0.0, 0.0, 0.0)


def _answers_part(view: View) -> tuple[float, float, float, float, float]:
    """The features of the sub-answers."""
    texts = [answer for _, answer in view.answers]
    count = len(texts)
    return (
        min(1.0, count / 7),
        texts.count("") / count,
        sum([text != "" and text in view.query for text in texts]) / count,
        float(count > 1 and len(set(texts)) == 1),
        sum([text.lower() in ("yes", "no") for text in texts]) / count,
    )


def _document_shares(source: str, view: View) -> list[float]:
    """The mean of the shares of the query's names and of its common words in each document, where documents are read."""
    if source == "answer":
        return [0.5 * (entity + relation) for entity, relation, _ in survey(view.query, view.documents).documents]
    if source == "document_ids":
        return [measured[0] for measured in rows.measures(view.query, view.documents)]
    return []
