"""Feature rows of workflows, rewritten queries, decompositions and document selections. It knows no gold and no template."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jade_env.envs import lexicon
from jade_env.envs.memory import Table, remember
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


_ASKING = lexicon.QUESTION_WORDS | lexicon.AUXILIARIES
_CAPITALISED: Table[bool] = Table(lambda word: word[0].isupper() or word[0].isdigit())


def query_rows(view: View, values: Sequence[str]) -> list[list[float]]:
    """The rows of rewritten queries, in the order of QUERY."""
    query = view.query[:2_000]
    target = frozenset(_words(query.lower()))
    size, distinct = len(_words(query)) or 1, len(target) or 1
    answers = [answer for _, answer in view.answers if answer]
    last = view.answers[-1][1] if view.answers else ""
    open_query = "#" in query
    rows = []
    for index, value in enumerate(values):
        words = _words(value)
        lows = [word.lower() for word in words]
        count = len(words) or 1
        still_open = "#" in value
        rows.append(
            [
                1.0,
                min(1.0, index / 8),
                len(target.intersection(lows)) / distinct,
                0.0,
                0.0,
                min(1.0, len(words) / 40),
                max(-1.0, 1.0 - len(words) / size),
                1.0 if lows and lows[0] in _ASKING else 0.0,
                (len(lows) - sum(map(target.__contains__, lows))) / count,
                sum(map(lexicon.FUNCTION.__contains__, lows)) / count,
                sum(map(_CAPITALISED.__getitem__, words)) / count,
                1.0 if last and last in value else 0.0,
                1.0 if answers and any(answer in value for answer in answers) else 0.0,
                1.0 if still_open else 0.0,
                1.0 if open_query and not still_open else 0.0,
            ]
        )
    return rows


_COORDINATING = lexicon.words("and or both same")
_COMPARING = lexicon.TIME_COMPARISONS | lexicon.MORE | lexicon.LESS
_RELATIVE = lexicon.words("who whose that which where when")
_OPENING_OTHERS = lexicon.PREPOSITIONS | {"when", "where", "how"}
_NAMED = re.compile(r"[0-9#A-Z]")


def split_rows(view: View, values: Sequence[tuple[str, ...]]) -> list[list[float]]:
    """The rows of decompositions, in the order of SPLIT."""
    query = view.query[:2_000]
    target = frozenset(_words(query.lower()))
    size, distinct = len(_words(query)) or 1, len(target) or 1
    sides = len(read(view.query).items)
    return [_split_row(index, parts, target, distinct, size, sides) for index, parts in enumerate(values)]


def _split_row(
    index: int, parts: tuple[str, ...], target: frozenset[str], distinct: int, size: int, sides: int
) -> list[float]:
    """The row of one decomposition of a question with `size` words, `distinct` different ones, and `sides`."""
    count = len(parts)
    lows = [_words(part.lower()) for part in parts]
    flat = [word for low in lows for word in low]
    first, last = lows[0] or [""], lows[-1] or [""]
    joined = " ".join(parts)
    reference = "#1" in joined
    opening = first[0]
    bare = len(last) - sum([word[0] == "#" for word in last if word]) if "#" in parts[-1] else len(last)
    return [
        1.0,
        min(1.0, index / 8),
        len(target.intersection(flat)) / distinct,
        0.0,
        0.0,
        min(1.0, count / 7),
        1.0 if count == 1 else 0.0,
        1.0 if reference else 0.0,
        1.0 if "#2" in joined else 0.0,
        1.0 if count > 1 and not reference else 0.0,
        sum([part[-1:] == "?" for part in parts]) / count,
        sum([not _COORDINATING.isdisjoint(low) for low in lows]) / count,
        sum([not _COMPARING.isdisjoint(low) for low in lows]) / count,
        sum([_NAMED.search(part, 1) is None for part in parts]) / count,
        min(1.0, len(first) / size),
        min(1.0, len(last) / size),
        max(-1.0, min(1.0, len(flat) / size - 1.0)),
        1.0 if opening == "who" else 0.0,
        1.0 if opening in ("what", "which") else 0.0,
        1.0 if opening in _OPENING_OTHERS else 0.0,
        1.0 if bare < 3 else 0.0,
        0.0 if _RELATIVE.isdisjoint(first[1:]) else 1.0,
        1.0 if "of" in first or "'s" in parts[0] else 0.0,
        1.0 if last[-1][:1] == "#" else 0.0,
        1.0 if _broken_name(parts[-1]) else 0.0,
        1.0 if count == sides else 0.0,
    ]


def _broken_name(part: str) -> bool:
    """Whether the word after the part's last `#k` has a capital letter."""
    _, found, after = part.rpartition("#")
    return bool(found) and after[2:3].isupper()


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """What feature rows of subsets of the same documents have in common.

    Attributes:
        fixed: the rows, with the columns that depend on the subset alone filled.
        kept: subsets x documents, 1 where a subset keeps a document.
        kept_sd1: the same, with a last axis for the measures.
        dropped_sd1: 1 where it does not; 0 throughout for the empty subset.
        sizes_s1: the documents in each subset, at least 1.
    """

    fixed: Floats
    kept: Floats
    kept_sd1: Floats
    dropped_sd1: Floats
    sizes_s1: Floats


@remember(8)
def _selection(count: int, values: tuple[tuple[int, ...], ...], width: int) -> Selection:
    """For subsets of `count` documents, in rows of `width` columns."""
    fixed = np.zeros((len(values), width), dtype=np.float32)
    kept = np.zeros((len(values), max(1, count)), dtype=np.float32)
    for index, subset in enumerate(values):
        fixed[index, :2] = 1.0, min(1.0, index / 32)
        fixed[index, 5:8] = min(1.0, len(subset) / 5), not subset, len(subset) == count
        for place in subset:
            kept[index, place] = 1.0
            if place < 5:
                fixed[index, 8 + place] = 1.0
    sizes_s1 = kept.sum(axis=1, keepdims=True)
    dropped = np.where(sizes_s1 > 0.0, 1.0 - kept, np.float32(0.0))
    return Selection(fixed, kept, kept[:, :, None], dropped[:, :, None], np.maximum(sizes_s1, 1.0))


@remember(32)
def measures(
    query: str, documents: tuple[Document, ...]
) -> tuple[list[tuple[float, float, float, float]], list[int], int]:
    """For each of the first five documents: its four measures, and which words of the query it has, one bit each.

    The third value is the number of words of the query.
    """
    reading = read(query)
    relation, words = reading.relation, reading.words
    bits = {word: 1 << place for place, word in enumerate(words)}
    measured, has = [], []
    for document in documents[:5]:
        text = passage(document)
        found = words & text.words
        related = len(found & relation)
        in_entity = (len(found) - related) * reading.per_entity
        in_relation = related * reading.per_relation
        in_title = sum(map(words.__contains__, text.stems[: text.head])) / (text.head or 1)
        measured.append((0.5 * (in_entity + in_relation), in_entity, in_relation, in_title))
        has.append(sum([bits[word] for word in found]))
    return measured, has, len(words)


def document_rows(view: View, values: Sequence[tuple[int, ...]], width: int) -> Floats:
    """The rows of document selections, in the order of DOCUMENTS, followed by zeros; shape (n, width)."""
    measured, has, words = measures(view.query, view.documents)
    selection = _selection(len(measured), tuple(values), width)
    rows = selection.fixed.copy()
    if measured:
        _measure(rows, selection, np.array(measured, dtype=np.float32))
    if measured and words:
        shares = []
        for subset in values:
            union = 0
            for place in subset:
                union |= has[place]
            shares.append(union.bit_count() / words)
        rows[:, 2] = shares
    return rows


def _measure(rows: Floats, selection: Selection, values_dm: Floats) -> None:
    """Fill the statistics of the measures `values_dm` (documents x measures) over the subsets; the measures lie in [0, 1]."""
    start, width = 13, len(_MEASURED)
    inside_sdm = selection.kept_sd1 * values_dm
    mean, least, most, dropped = [rows[:, start + width * k : start + width * (k + 1)] for k in range(4)]
    np.divide(np.add.reduce(inside_sdm, axis=1), selection.sizes_s1, out=mean)
    np.minimum.reduce(inside_sdm + selection.dropped_sd1, axis=1, out=least)
    np.maximum.reduce(inside_sdm, axis=1, out=most)
    np.maximum.reduce(values_dm - inside_sdm, axis=1, out=dropped)
    rows[:, start + 4 * width] = selection.kept[:, values_dm[:, 0].argmax()]
    np.subtract(least[:, 0], dropped[:, 0], out=rows[:, start + 4 * width + 1])
