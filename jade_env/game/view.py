"""What a role may read on its turn, as data. It never holds gold answers, other roles' prompts or the state of the game."""

from __future__ import annotations

from typing import NamedTuple

from jade_env.retrieval.types import Document

Workflow = tuple[str, ...]
"""A chain of codes, e.g. ("QR", "R", "DS", "AG") or ("QDS",)."""


class View(NamedTuple):
    """The observation of one turn (the paper's o_{t,k}): the target query, this round's products, and visible history.

    Attributes:
        question: the original question of the episode.
        query: the target query of the node in play, as last rewritten.
        answers: (sub-question, answer) pairs the role may read, in order. For a rewriter, generator or planner: the solved
            earlier siblings in a serial decomposition, so `answers[k-1][1]` is what `#k` stands for. For the summarizer:
            every child of the node.
        documents: the documents of the node in play, in retrieval order (after selection, the kept ones).
        workflows: the legal workflows, for a planner; empty for others.
        depth: 0 for the original question, 1 for its sub-questions, ...
        retrieved: whether this round has retrieved (so an empty `documents` means that nothing was found or kept).
        draft: the answer that a verifier judges, or that was sent back to the generator.
        history: a solver's searches so far, each with what it found.
        pool: the passages that an adversary may put in a document's place.
        may_search: whether a solver has a search left.
    """

    question: str
    query: str
    answers: tuple[tuple[str, str], ...] = ()
    documents: tuple[Document, ...] = ()
    workflows: tuple[Workflow, ...] = ()
    depth: int = 0
    retrieved: bool = False
    draft: str = ""
    history: tuple[tuple[str, tuple[Document, ...]], ...] = ()
    pool: tuple[Document, ...] = ()
    may_search: bool = True
