"""The discrete action sets: for each kind of output, numbered candidates in reading order, made from what the role may read.

One generator for all scenarios. It sees a View and nothing else: no gold field, no template of the embedded world. What a
candidate is called here is its source: workflow, query, subquestions_serial, subquestions_parallel, document_ids, answer (the
generator's), summary (the summarizer's answer), verdict, search_or_answer and document (`judging`). `features` describes
candidates in numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jade_env.envs.answers import MAX_SPANS, survey
from jade_env.envs.features import CANDIDATE_FEATURES, COLUMNS, TURN_FEATURES, candidate_features, turn_features
from jade_env.envs.judging import MAX_SEARCHES, MAX_SWAPS, steps, swaps, verdicts
from jade_env.envs.memory import forget
from jade_env.envs.rows import MAX_SELECTED, subsets
from jade_env.envs.splits import MAX_CANDIDATES, parallel, rewrites, serial
from jade_env.envs.summaries import MAX_ANSWERS, MAX_SIDES, summaries
from jade_env.game.outputs import Value
from jade_env.game.view import View

__all__ = [
    "CANDIDATE_FEATURES",
    "COLUMNS",
    "GENERATORS",
    "LIMITS",
    "TURN_FEATURES",
    "candidate_features",
    "candidates",
    "clear_caches",
    "turn_features",
]

Candidate = Value
"""What can be chosen: a query, answer or verdict, a workflow, sub-questions or a step, 0-based indices of documents, or a swap."""


def workflows(view: View) -> Sequence[Candidate]:
    """The legal workflows as listed."""
    return view.workflows


def document_ids(view: View) -> Sequence[Candidate]:
    """Every subset of the first five documents, the empty one first."""
    return subsets(min(MAX_SELECTED, len(view.documents)))


def answers(view: View) -> Sequence[Candidate]:
    """At most 32 spans of the query and the documents, then yes and no."""
    return survey(view.query, view.documents).values


GENERATORS: Mapping[str, Callable[[View], Sequence[Candidate]]] = {
    "workflow": workflows,
    "query": rewrites,
    "subquestions_serial": serial,
    "subquestions_parallel": parallel,
    "document_ids": document_ids,
    "answer": answers,
    "summary": summaries,
    "verdict": verdicts,
    "search_or_answer": steps,
    "document": swaps,
}
"""The generator of each candidate source."""

LIMITS: dict[str, int] = {
    "query": MAX_CANDIDATES,
    "subquestions_serial": MAX_CANDIDATES,
    "subquestions_parallel": MAX_CANDIDATES,
    "document_ids": 2**MAX_SELECTED,
    "answer": MAX_SPANS + 2,
    "summary": MAX_SIDES + MAX_ANSWERS + 3,
    "verdict": 3,
    "search_or_answer": MAX_SEARCHES + MAX_SPANS + 2,
    "document": MAX_SWAPS,
}
"""The most candidates a source gives; `workflow` gives as many as the scenario lists."""


def candidates(source: str, view: View) -> list[Candidate]:
    """The candidates of `source` in reading order, at least one (but none for a planner without workflows).

    Workflows, sub-questions and a solver's steps are tuples of str, queries, answers and verdicts str, document selections tuples
    of 0-based indices, an adversary's swaps a document's index with what takes its place.
    The same view always gives the same list.

    Raises:
        KeyError: `source` is not a key of GENERATORS.
    """
    return list(GENERATORS[source](view))


def clear_caches() -> None:
    """Forget every question, document and word read so far: what comes next is as slow as in a new process."""
    forget()
