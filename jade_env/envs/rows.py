"""Feature rows of workflows, rewritten queries, decompositions and document selections. It knows no gold and no template."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jade_env.envs import lexicon
from jade_env.envs.reading import read
from jade_env.envs.spans import passage
from jade_env.game.view import View, Workflow
from jade_env.retrieval.types import Document

Floats = NDArray[np.float32]

_CODES = ("QR", "R", "DS", "AG", "QDS", "QDP")
_PRESENT = ("present", "1 for every candidate")
_INDEX = ("index", "place in the list, from 0 to 1")
_UNUSED = (("yes", "not used"), ("no", "not used"))
WORKFLOW = (
    _PRESENT,
    _INDEX,
    ("overlap", "not used"),
    *_UNUSED,
    ("length", "codes in it, four give 1"),
    *((f"has_{code}", f"contains {code}") for code in _CODES),
    ("decomposes", "contains QDS or QDP"),
    ("raw", "retrieves without rewriting first"),
)
QUERY = (
    _PRESENT,
    _INDEX,
    ("overlap", "share of the target query's words it keeps"),
    *_UNUSED,
    ("length", "words, forty give 1"),
    ("shorter", "one minus its words over the target query's, at least -1"),
    ("question", "begins with a question word or an auxiliary"),
    ("added", "share of its words that are not in the target query"),
    ("functional", "share of its words that are function words"),
    ("capitals", "share of its words that begin with a capital letter or a digit"),
    ("last_answer", "contains the last sub-answer"),
    ("any_answer", "contains a sub-answer"),
    ("open", "has an unresolved #"),
    ("resolves", "the target query has a # and this has none"),
)
SPLIT = (
    _PRESENT,
    _INDEX,
    ("overlap", "share of the question's words in any part"),
    *_UNUSED,
    ("parts", "sub-questions, seven give 1"),
    ("single", "one sub-question only"),
    ("reference", "a part uses #1"),
    ("chain", "a part uses #2"),
    ("apart", "several parts, none of which uses #"),
    ("asked", "share of parts that end in a question mark"),
    ("coordination", "share of parts with and, or, both or same"),
    ("comparison", "share of parts that still compare"),
    ("nameless", "share of parts without a capital letter after the first word, a digit or a #"),
    ("first_length", "words of the first part over the question's"),
    ("last_length", "words of the last part over the question's"),
    ("repetition", "words of all parts over the question's, minus one"),
    ("first_who", "the first part begins with who"),
    ("first_what", "the first part begins with what or which"),
    ("first_other", "the first part begins with another question word or a preposition"),
    ("last_bare", "the last part has fewer than three words beside its reference"),
    ("relative", "the first part has a relative clause"),
    ("nested", "the first part has of or a possessive"),
    ("reference_last", "the last part ends in its reference"),
    ("broken_name", "a capital letter follows the last part's reference, as where a name was cut in two"),
    ("sides_match", "as many parts as the question's coordination has sides"),
)
_STATISTICS = ("mean", "least", "most", "dropped")
_MEASURED = (
    ("both", "overlap with the query"),
    ("entity", "share of the query's names in a document"),
    ("relation", "share of the query's common words in a document"),
    ("title", "share of a document's title that is in the query"),
)
DOCUMENTS = (
    _PRESENT,
    _INDEX,
    ("overlap", "share of the query's words in any kept document"),
    *_UNUSED,
    ("size", "documents kept, five give 1"),
    ("empty", "keeps none"),
    ("all", "keeps every document"),
    *((f"keeps_{place}", f"keeps document {place}") for place in range(5)),
    *(
        (f"{statistic}_{name}", f"{statistic} {meaning} (dropped: most among those left out)")
        for statistic in _STATISTICS
        for name, meaning in _MEASURED
    ),
    ("keeps_best", "keeps the document with the most overlap"),
    ("margin", "least overlap kept minus most overlap dropped"),
)


@lru_cache(maxsize=64)
def workflow_rows(workflows: tuple[Workflow, ...]) -> list[list[float]]:
    """The rows of a scenario's workflows, in the order of WORKFLOW."""
    rows = []
    for index, workflow in enumerate(workflows):
        has = [float(code in workflow) for code in _CODES]
        raw = float("R" in workflow and "QR" not in workflow)
        length = min(1.0, len(workflow) / 4)
        rows.append([1.0, min(1.0, index / 32), 0.0, 0.0, 0.0, length, *has, max(has[4:]), raw])
    return rows


def _words(text: str) -> list[str]:
    return text.replace("?", " ").replace(",", " ").replace('"', " ").split()


def query_rows(view: View, values: Sequence[str]) -> list[list[float]]:
    """The rows of rewritten queries, in the order of QUERY."""
    query = view.query[:2_000]
    target = frozenset(_words(query.lower()))
    size = len(_words(query)) or 1
    answers = [answer for _, answer in view.answers if answer]
    open_query = "#" in query
    rows = []
    for index, value in enumerate(values):
        words = _words(value)
        lows = _words(value.lower())
        count = len(words) or 1
        kept = target.intersection(lows)
        still_open = "#" in value
        first = lows[0] if lows else ""
        rows.append(
            [
                1.0,
                min(1.0, index / 8),
                len(kept) / (len(target) or 1),
                0.0,
                0.0,
                min(1.0, len(words) / 40),
                max(-1.0, 1.0 - len(words) / size),
                float(first in lexicon.QUESTION_WORDS or first in lexicon.AUXILIARIES),
                sum([low not in target for low in lows]) / count,
                sum([low in lexicon.FUNCTION for low in lows]) / count,
                sum([word[0].isupper() or word[0].isdigit() for word in words]) / count,
                float(bool(view.answers) and bool(view.answers[-1][1]) and view.answers[-1][1] in value),
                float(any(answer in value for answer in answers)),
                float(still_open),
                float(open_query and not still_open),
            ]
        )
    return rows


_COORDINATING = lexicon.words("and or both same")
_COMPARING = lexicon.TIME_COMPARISONS | lexicon.MORE | lexicon.LESS
_RELATIVE = lexicon.words("who whose that which where when")
_NAMED = frozenset("0123456789#ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def split_rows(view: View, values: Sequence[tuple[str, ...]]) -> list[list[float]]:
    """The rows of decompositions, in the order of SPLIT."""
    reading = read(view.query)
    target = frozenset(_words(view.query[:2_000].lower()))
    size = len(_words(view.query[:2_000])) or 1
    sides = len(reading.items)
    rows = []
    for index, parts in enumerate(values):
        count = len(parts)
        lows = [_words(part.lower()) for part in parts]
        first, last = lows[0] or [""], lows[-1] or [""]
        joined = " ".join(parts)
        reference = "#1" in joined
        opening = first[0]
        total = sum(map(len, lows))
        bare = len(last) - sum([word[0] == "#" for word in last if word])
        rows.append(
            [
                1.0,
                min(1.0, index / 8),
                len(target.intersection(*[[word for low in lows for word in low]])) / (len(target) or 1),
                0.0,
                0.0,
                min(1.0, count / 7),
                float(count == 1),
                float(reference),
                float("#2" in joined),
                float(count > 1 and not reference),
                sum([part.endswith("?") for part in parts]) / count,
                sum([not _COORDINATING.isdisjoint(low) for low in lows]) / count,
                sum([not _COMPARING.isdisjoint(low) for low in lows]) / count,
                sum([_NAMED.isdisjoint(part[1:]) for part in parts]) / count,
                min(1.0, len(first) / size),
                min(1.0, len(last) / size),
                max(-1.0, min(1.0, total / size - 1.0)),
                float(opening == "who"),
                float(opening in ("what", "which")),
                float(opening in ("when", "where", "how") or opening in lexicon.PREPOSITIONS),
                float(bare < 3),
                float(not _RELATIVE.isdisjoint(first[1:])),
                float("of" in first or "'s" in parts[0]),
                float(last[-1][:1] == "#"),
                float(_broken_name(parts[-1])),
                float(count == sides),
            ]
        )
    return rows


def _broken_name(part: str) -> bool:
    """Whether the word after the part's last `#k` has a capital letter."""
    _, found, after = part.rpartition("#")
    return bool(found) and after[2:3].isupper()


@lru_cache(maxsize=8)
def _selection(count: int, values: tuple[tuple[int, ...], ...]) -> tuple[Floats, Floats]:
    """For subsets of `count` documents: their fixed columns (of DOCUMENTS, the others 0) and the indicator matrix."""
    fixed = np.zeros((len(values), len(DOCUMENTS)), dtype=np.float32)
    kept = np.zeros((len(values), max(1, count)), dtype=np.float32)
    for index, subset in enumerate(values):
        fixed[index, :2] = 1.0, min(1.0, index / 32)
        fixed[index, 5:8] = min(1.0, len(subset) / 5), not subset, len(subset) == count
        for place in subset:
            kept[index, place] = 1.0
            if place < 5:
                fixed[index, 8 + place] = 1.0
    return fixed, kept


@lru_cache(maxsize=32)
def measures(
    query: str, documents: tuple[Document, ...]
) -> tuple[list[tuple[float, float, float, float]], list[list[bool]]]:
    """For each of the first five documents: its four measures, and which words of the query it has."""
    reading = read(query)
    relation, entity, words = reading.relation, reading.entity, reading.words
    order = sorted(words)
    measured, has = [], []
    for document in documents[:5]:
        text = passage(document)
        found = words.intersection(text.stems)
        in_entity = len(found & entity) * reading.per_entity
        in_relation = len(found & relation) * reading.per_relation
        in_title = sum([stem in words for stem in text.stems[: text.head]]) / (text.head or 1)
        measured.append((0.5 * (in_entity + in_relation), in_entity, in_relation, in_title))
        has.append([word in found for word in order])
    return measured, has


def document_rows(view: View, values: Sequence[tuple[int, ...]]) -> Floats:
    """The rows of document selections, in the order of DOCUMENTS; shape (n, len(DOCUMENTS))."""
    measured, has = measures(view.query, view.documents)
    fixed, kept = _selection(len(measured), tuple(values))
    rows = fixed.copy()
    if measured:
        _measure(rows, kept, np.array(measured, dtype=np.float32))
        if has[0]:
            rows[:, 2] = (kept @ np.array(has, dtype=np.float32) > 0.0).mean(axis=1)
    return rows


def _measure(rows: Floats, kept_sd: Floats, values_dm: Floats) -> None:
    """Fill the statistics of the measures `values_dm` (documents x measures) over the subsets `kept_sd`."""
    start, width = 13, len(_MEASURED)
    size = kept_sd.sum(axis=1, keepdims=True)
    inside = kept_sd[:, :, None] * values_dm
    rows[:, start : start + width] = inside.sum(axis=1) / np.maximum(size, 1.0)
    least = (inside + (1.0 - kept_sd)[:, :, None]).min(axis=1)
    least[size[:, 0] == 0.0] = 0.0
    rows[:, start + width : start + 2 * width] = least
    rows[:, start + 2 * width : start + 3 * width] = inside.max(axis=1)
    dropped = (values_dm - inside).max(axis=1)
    rows[:, start + 3 * width : start + 4 * width] = dropped
    rows[:, start + 4 * width] = kept_sd[:, values_dm[:, 0].argmax()]
    rows[:, start + 4 * width + 1] = least[:, 0] - dropped[:, 0]
