"""Numbers for a learner: one row a candidate, one row a turn, float32 in [-1, 1].

All sources share the same F columns; the first five mean the same everywhere, the others mean what COLUMNS says for the
source, and the role one-hot beside them tells the learner which. Unused columns are 0. Nothing here knows gold or templates.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jade_env.envs import answers, lexicon, rows, summaries
from jade_env.envs.answers import survey
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
    "polarity": "1 for a comparison by more or later, -1 by less or earlier",
    "of": "of in it, three give 1",
    "relative": "how many of who, whose, that, which and where are after its first word, five give 1",
    "possessive": "possessives in it, two give 1",
    "reference": "it has a #",
    "digits": "numbers and years in it, three give 1",
    "statement": "sentences before the last one, two give 1",
    "repeated": "share of its content words that occur twice",
    "auxiliary": "it begins with an auxiliary verb",
    "condition": "it begins with if, given, suppose or since",
    "head": "it names the noun asked for",
    "common_words": "common content words in it, eight give 1",
    "quotes": "it has a quotation",
    "lowercase": "it has no capital letter after the first word",
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
    if source == "answer":
        return _answer_rows(view, values)
    width = len(COLUMNS[source])
    result = np.zeros((len(values), _F), dtype=np.float32)
    if not values:
        return result
    if source == "workflow":
        result[:, :width] = rows.workflow_rows(tuple(values))
    elif source == "document_ids":
        result[:, :width] = rows.document_rows(view, values)
    elif source == "query":
        result[:, :width] = rows.query_rows(view, values)
    elif source == "summary":
        result[:, :width] = summaries.rows(view, list(values))
    else:
        result[:, :width] = rows.split_rows(view, values)
    return result


def _answer_rows(view: View, values: Sequence[Any]) -> Floats:
    """The rows of answers; one that `survey` did not find is a row of zeros."""
    result = survey(view.query, view.documents)
    described = np.frombuffer(bytearray(answers.rows(result)), dtype=np.float32).reshape(len(result.values), _F)
    if values == result.values:
        return described
    known = dict(zip(result.values, described, strict=True))
    blank = np.zeros(_F, dtype=np.float32)
    return np.array([known.get(value, blank) for value in values], dtype=np.float32).reshape(-1, _F)


_WANTED = [[float(place == wanted) for place in range(len(WANTED))] for wanted in range(len(WANTED))]


@lru_cache(maxsize=4096)
def _query_part(query: str) -> list[float]:
    """The features that depend on the query only."""
    reading = read(query)
    kinds, lows, stems = reading.kinds, reading.lows, reading.stems
    first = lows[0] if lows else ""
    content = [stem for stem in stems if stem]
    digits = kinds.count("Y") + kinds.count("N")
    return [
        *_WANTED[reading.wanted],
        min(1.0, len(lows) / 40),
        min(1.0, len(reading.names) / 6),
        min(1.0, len(reading.items) / 5),
        min(1.0, kinds.count(",") / 5),
        float("/" in kinds),
        reading.polarity,
        min(1.0, kinds.count("o") / 3),
        len(_RELATIVE.intersection(lows[1:])) / 5,
        min(1.0, kinds.count("s") / 2),
        float("#" in kinds),
        min(1.0, digits / 3),
        min(1.0, kinds[:-1].count(".") / 2),
        1.0 - len(set(content)) / len(content) if content else 0.0,
        float(first in lexicon.AUXILIARIES),
        float(first in _CONDITIONS),
        float(bool(reading.head)),
        min(1.0, len(reading.relation) / 8),
        float('"' in kinds),
        float("U" not in kinds[1:]),
    ]


def turn_features(source: str, view: View) -> Floats:
    """Describe the turn: what the query asks and how, and what the role may read.

    Returns:
        Array of shape (T,), float32 in [-1, 1]; T = len(TURN_FEATURES).
    """
    shares = _document_shares(source, view) if view.documents else []
    packed = _PACK(
        min(1.0, view.depth / 3),
        view.retrieved,
        *_query_part(view.query),
        min(1.0, len(view.documents) / 5),
        max(shares, default=0.0),
        sum(shares) / len(shares) if shares else 0.0,
        *(_answers_part(view) if view.answers else _NO_ANSWERS),
        view.query == view.question,
    )
    return np.frombuffer(bytearray(packed), dtype=np.float32)


_PACK = struct.Struct(f"={len(TURN_FEATURES)}f").pack
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
        return [measured[0] for measured in rows.measures(view.query, view.documents)[0]]
    return []
