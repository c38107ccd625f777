"""Candidates and features of the roles beyond the paper's: a verifier's verdicts, a solver's next step, an adversary's swaps.

Like all candidates they are made from what the role may read, in reading order; they know no gold and no template.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jade_env.envs import answers, splits
from jade_env.envs.answers import MAX_DOCUMENTS, survey
from jade_env.envs.lexicon import analyse
from jade_env.envs.memory import remember
from jade_env.envs.reading import MAX_QUERY, read
from jade_env.envs.rows import MAX_SELECTED, measures
from jade_env.envs.spans import passage
from jade_env.game.outputs import MAX_QUERY_WORDS, DocumentKind, VerdictKind
from jade_env.game.view import View
from jade_env.retrieval.types import Document

MAX_SEARCHES = 16
MAX_TOLD = 4
"""Titles and spans that a second search may be about."""
MAX_SWAPS = 1 + MAX_SELECTED * 5
_COMMON = (
    ("present", "1 for every candidate"),
    ("index", "place in the list, from 0 to 1"),
    ("overlap", "not used"),
    ("yes", "not used"),
    ("no", "not used"),
)
_MEASURED = ("both", "entity", "relation", "title")
VERDICT = (
    *_COMMON,
    ("accept", "accepts the draft"),
    ("search", "has documents searched again"),
    ("empty", "the draft is empty"),
    ("found", "share of the draft's words that are in a document"),
    ("asked", "share of the draft's words that are in the query"),
    ("known", "the draft is among the spans that the environment found"),
    ("length", "words of the draft, twelve give 1"),
    ("documents", "documents at hand, five give 1"),
    ("salience", "of the draft: a hand-weighted sum, as of the generator's"),
    ("fit", "of the draft: how well its kind suits what is asked"),
    ("sentence", "of the draft: share of the question's words in its sentence"),
    *((f"best_{name}", f"{name} of the document that has most of it, as of the selector's") for name in _MEASURED),
)
SEARCH_OR_ANSWER = (
    *_COMMON,
    ("search", "searches"),
    ("new", "of a search: it has not been made yet"),
    ("found", "of a search: words in the documents, as a share"),
    ("asked", "words in the question, as a share"),
    ("made", "searches made so far, four give 1"),
    ("salience", "of an answer: a hand-weighted sum, as of the generator's"),
    ("fit", "of an answer: how well its kind suits what is asked"),
    ("sentence", "of an answer: share of the question's words in its sentence"),
    ("early", "of an answer: place among the spans, 1 for the first"),
    ("length", "words, twelve give 1"),
)
DOCUMENT = (
    *_COMMON,
    *((f"old_{name}", f"{name} of the document replaced, as of the selector's") for name in _MEASURED),
    *((f"new_{name}", f"{name} of the passage put in its place") for name in _MEASURED),
    *((f"place_{i}", f"it replaces document {i}") for i in range(MAX_SELECTED)),
)
COLUMNS = {"verdict": VERDICT, "search_or_answer": SEARCH_OR_ANSWER, "document": DOCUMENT}


def verdicts(view: View) -> Sequence[str]:
    """Accept, retry, search."""
    return VerdictKind.VALUES


def swaps(view: View) -> list[tuple[int, str]]:
    """Nothing, then every document at hand with every passage of the pool."""
    places = range(min(MAX_SELECTED, len(view.documents)))
    return [DocumentKind.LEFT, *((place, f"Passage{number}") for place in places for number in range(len(view.pool)))]


def steps(view: View) -> list[tuple[str, str]]:
    """Searches while there are some left, then answers: the generator's spans."""
    searches = [("search", query) for query in _searches(view)] if view.may_search else []
    return [*searches, *(("answer", value) for value in survey(view.query, _in_sight(view)).values)]


def _in_sight(view: View) -> tuple[Document, ...]:
    """The documents that a solver's answers are taken from: the latest, as many as are read at once."""
    return view.documents[-MAX_DOCUMENTS:]


def _searches(view: View) -> list[str]:
    """The question, its parts, its rewrites; where a part waits for an answer, with what was found in its place."""
    made = {query for query, _ in view.history}
    parts = [part for split in (*splits.parallel(view), *splits.serial(view)) for part in split]
    known = _told(view)
    asked = [view.query, *(part for part in parts if "#" not in part)]
    asked += [part.replace("#1", name) for part in dict.fromkeys(parts) if "#1" in part for name in known]
    asked = [" ".join(query.split()[:MAX_QUERY_WORDS]) for query in asked]
    return [query for query in dict.fromkeys(asked) if query and query not in made][:MAX_SEARCHES]


def _told(view: View) -> list[str]:
    """The spans of the last search that suit best."""
    if not view.history:
        return []
    last, documents = view.history[-1]
    found = [value for value in survey(last, documents).values if value not in ("yes", "no")]
    rows = answer_measures(last, documents)
    return sorted(found, key=lambda value: -rows.get(value, (0.0,))[0])[:MAX_TOLD]


@remember(64)
def answer_measures(query: str, documents: tuple[Document, ...]) -> dict[str, tuple[float, float, float]]:
    """Salience, fit and sentence of each span, as the generator's rows have them."""
    result = survey(query, documents)
    table = np.frombuffer(answers.rows(result), np.float32).reshape(len(result.values), -1)
    return dict(zip(result.values, map(tuple, table[:, _OWN].tolist()), strict=True))


_OWN = [[name for name, _ in answers.COLUMNS].index(name) for name in ("salience", "fit", "sentence_weight")]


def rows(source: str, view: View, values: Sequence[Any], width: int) -> bytes:
    """The rows of candidates, in the order of the source's COLUMNS, each filled up with zeros to `width` columns."""
    describe: dict[str, Callable[[View, Sequence[Any]], list[list[float]]]] = {
        "verdict": _verdict_rows,
        "search_or_answer": _step_rows,
        "document": _swap_rows,
    }
    columns = len(COLUMNS[source])
    pack = struct.Struct(f"ff12x{columns - len(_COMMON)}f{4 * (width - columns)}x").pack
    return b"".join([pack(1.0, min(1.0, index / 32), *row) for index, row in enumerate(describe[source](view, values))])


def _verdict_rows(view: View, values: Sequence[str]) -> list[list[float]]:
    draft, documents = view.draft, measures(view.query, view.documents) or [(0.0, 0.0, 0.0, 0.0)]
    about = [
        float(not draft),
        max((_share(draft, _words(document)) for document in view.documents), default=0.0),
        _share(draft, read(view.query).words),
        float(draft in survey(view.query, view.documents).values),
        min(1.0, len(draft.split()) / 12),
        min(1.0, len(view.documents) / 5),
        *answer_measures(view.query, view.documents).get(draft, (0.0, 0.0, 0.0)),
        *(max(column) for column in zip(*documents, strict=True)),
    ]
    return [[float(value == "accept"), float(value == "search"), *about] for value in values]


def _step_rows(view: View, values: Sequence[tuple[str, str]]) -> list[list[float]]:
    made = {query for query, _ in view.history}
    measured = answer_measures(view.query, _in_sight(view))
    sought, told = read(view.query).words, frozenset[str]().union(*map(_words, view.documents))
    answered, made_so_far = 0, min(1.0, len(made) / 4)
    table = []
    for action, text in values:
        length, asked = min(1.0, len(text.split()) / 12), _share(text, sought)
        if action == "search":
            row = [1.0, float(text not in made), _share(text, told), asked, made_so_far, 0.0, 0.0, 0.0, 0.0, length]
        else:
            answered += 1
            own = measured.get(text, (0.0, 0.0, 0.0))
            row = [0.0, 0.0, 0.0, asked, made_so_far, *own, 1.0 / answered, length]
        table.append(row)
    return table


def _swap_rows(view: View, values: Sequence[tuple[int, str]]) -> list[list[float]]:
    old, new = measures(view.query, view.documents), measures(view.query, view.pool)
    table = []
    for place, name in values:
        if place < 0:
            table.append([0.0] * (2 * len(_MEASURED) + MAX_SELECTED))
            continue
        number = int(name.removeprefix("Passage"))
        put = new[number] if number < len(new) else (0.0,) * len(_MEASURED)
        table.append([*old[place], *put, *(float(place == i) for i in range(MAX_SELECTED))])
    return table


def _words(document: Document) -> frozenset[str]:
    """The stems of a document's text."""
    text = passage(document)
    return frozenset(text.stems[text.head :])


@remember(512)
def _stems(text: str) -> frozenset[str]:
    """The stems of what somebody wrote."""
    return frozenset(filter(None, analyse(text[:MAX_QUERY].split())[2]))


def _share(text: str, words: frozenset[str]) -> float:
    """Share of a text's words that are among others."""
    own = _stems(text)
    return len(own & words) / len(own) if own else 0.0
