"""The trace: the tree of questions of one episode and every output played in it. Holds facts only; the rules are in episode.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from jade_env.game.outputs import Output
from jade_env.game.view import Workflow
from jade_env.retrieval.types import Document

Path = tuple[int, ...]
"""A node's place in the tree: () the original question, (2,) its second sub-question, (2, 1) the first of that one."""


@dataclass(slots=True, eq=False)
class Node:
    """One question of the tree: the paper's <q_m, a_m>, with what its round has produced so far.

    Attributes:
        path: where it stands in the tree.
        question: as it was asked when the node opened.
        query: the target query, as last rewritten.
        workflow: the round's workflow; None until it is chosen.
        todo: members of the workflow that have not played yet.
        retrieved: the documents found, in rank order; None before a retrieval.
        documents: the documents in play: the retrieved ones, then the selected ones.
        answer: None until solved.
        draft: an answer that waits for a verdict, or that a verdict sent back.
        sent_back: whether a verdict has sent one back.
        search: what a lone solver has asked for last.
        searches: what it has searched for, and found.
        pool: passages that an adversary may put among the documents.
        swaps: documents that it has replaced.
        serial: whether its children depend on each other; None without children.
        room: how many rounds the questions below it may take.
        left: how many of them nobody has taken.
        clock: the longest chain of turns and retrievals that its present state depends on.
        steps: how many turns have been opened in it.
    """

    path: Path
    question: str
    query: str
    parent: Node | None = None
    workflow: Workflow | None = None
    todo: Workflow = ()
    retrieved: tuple[Document, ...] | None = None
    documents: tuple[Document, ...] = ()
    answer: str | None = None
    draft: str = ""
    sent_back: bool = False
    search: str = ""
    searches: list[tuple[str, tuple[Document, ...]]] = field(default_factory=list)
    pool: tuple[Document, ...] = ()
    swaps: int = 0
    serial: bool | None = None
    children: list[Node] = field(default_factory=list)
    room: int = 0
    left: int = 0
    clock: int = 0
    steps: int = 0

    @property
    def depth(self) -> int:
        """0 for the original question."""
        return len(self.path)


class Played(NamedTuple):
    """One turn as it was played: who, where, what, and the format penalty it cost at once (0 or negative)."""

    agent: str
    path: Path
    step: int
    output: Output
    penalty: float
    clock: int


@dataclass(slots=True)
class Trace:
    """All nodes, root first, in the order they opened, and all turns, in the order they were played."""

    root: Node
    nodes: list[Node]
    played: list[Played] = field(default_factory=list)

    def walk(self, node: Node | None = None) -> Iterator[Node]:
        """Nodes depth first, in reading order."""
        node = node or self.root
        yield node
        for child in node.children:
            yield from self.walk(child)

    def by_place(self) -> list[Played]:
        """The turns in an order that does not depend on who was asked first: by node path, then step."""
        return sorted(self.played, key=lambda turn: (turn.path, turn.step))
