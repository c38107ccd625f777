"""An episode made ready to be drawn: the tree of its questions, what happened at each, and the closing lines.

Pure functions of an `Episode`. Whatever documents and agents wrote becomes one harmless line of text: control characters are
stripped. Knows no way of drawing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from jade_env.game.episode import Episode
from jade_env.game.trace import Node, Played
from jade_env.retrieval.types import Document

GOLD = "★"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

RowKind = Literal["turn", "malformed", "retrieval", "waiting"]


@dataclass(frozen=True, slots=True)
class Row:
    """One event of a round. `titles` are retrieved documents with whether each is gold."""

    kind: RowKind
    who: str
    text: str
    titles: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """One node of the trace, ready to be drawn: what happened before its children were opened, and after."""

    path: tuple[int, ...]
    question: str
    workflow: str
    before: tuple[Row, ...]
    children: tuple[Branch, ...]
    after: tuple[Row, ...]
    answer: str | None
    serial: bool

    @property
    def number(self) -> str:
        """`2.1` for the first sub-question of the second one; empty for the original question."""
        return ".".join(map(str, self.path))

    def walk(self) -> Iterator[Branch]:
        """This branch and all below it, in reading order."""
        yield self
        for child in self.children:
            yield from child.walk()


def plain(text: str, width: int | None = None) -> str:
    """Any text as one harmless line: control, format and unassigned characters dropped, cut to `width` characters."""
    kept = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char) not in _HIDDEN
    )
    line = " ".join(kept.split())
    return line if width is None or len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def branch(episode: Episode, node: Node | None = None) -> Branch:
    """What is to be drawn of a node (the root where none is given) and of everything below it."""
    node = node or episode.trace.root
    gold = frozenset(episode.question.supporting_ids)
    searches = iter(_retrieval_row(query, found, gold) for query, found in node.searches)
    rows: list[Row] = []
    for turn in episode.trace.played:
        if turn.path == node.path:
            rows.append(_turn_row(turn))
            if turn.output.kind == "search_or_answer" and turn.output.value[0] == "search":
                rows += [row for row in [next(searches, None)] if row]
    rows += [Row("waiting", turn.agent, "…") for turn in episode.turns if turn.node is node]
    if node.retrieved is not None and not node.searches:
        rows.insert(_place_of_retrieval(episode, node), _retrieval_row(node.query, node.retrieved, gold))
    rules = episode.rules
    summarizer = rules.agent(rules.summarizer) if rules.summarizer and node.children else None
    return Branch(
        path=node.path,
        question=plain(node.question),
        workflow=",".join(node.workflow or ()),
        before=tuple(row for row in rows if row.who != summarizer),
        children=tuple(branch(episode, child) for child in node.children),
        after=tuple(row for row in rows if row.who == summarizer),
        answer=None if node.answer is None else plain(node.answer),
        serial=bool(node.serial),
    )


def _retrieval_row(query: str, found: Sequence[Document], gold: frozenset[str]) -> Row:
    titles = tuple((plain(document.title, 80) or document.id, document.id in gold) for document in found)
    return Row("retrieval", "retrieval", plain(query), titles)


def _turn_row(turn: Played) -> Row:
    value = turn.output.value
    if not turn.output.valid:
        return Row("malformed", turn.agent, plain(turn.output.text))
    if turn.output.kind == "workflow":
        return Row("turn", turn.agent, ",".join(str(code) for code in value))
    if turn.output.kind == "document_ids":
        return Row("turn", turn.agent, "keeps " + (", ".join(map(str, value)) or "none"))
    if turn.output.kind in ("search_or_answer", "document"):
        first, text = map(str, value)
        if (turn.output.kind, first) == ("document", "-1"):
            return Row("turn", turn.agent, "replaces nothing")
        where = first if turn.output.kind == "search_or_answer" else f"document {first} becomes"
        return Row("turn", turn.agent, f"{where}: {plain(text)}")
    if isinstance(value, tuple):
        return Row("turn", turn.agent, "   ".join(f"#{i} {plain(str(part))}" for i, part in enumerate(value, 1)))
    return Row("turn", turn.agent, plain(value))


def _place_of_retrieval(episode: Episode, node: Node) -> int:
    """Turns of the node that were played before its documents arrived: all but those of the members behind R."""
    codes = node.workflow or ()
    rules = episode.rules
    behind = {rules.agent(rules.by_code[code]) for code in codes[codes.index("R") + 1 :]} if "R" in codes else set()
    behind.update(episode.adversaries)
    played = [turn.agent for turn in episode.trace.played if turn.path == node.path]
    return next((i for i, agent in enumerate(played) if agent in behind), len(played))


def verdict(episode: Episode) -> list[tuple[str, str]]:
    """The closing lines as (label, text): answer, gold answers, scores and what it cost; what is known so far."""
    ledger = episode.ledger
    lines = []
    if episode.truncated:
        lines.append(("cut short", plain(episode.truncated)))
    elif episode.finished:
        lines.append(("answer", plain(episode.answer) or "(empty)"))
    lines.append(("gold", " | ".join(plain(answer) for answer in episode.question.golden_answers)))
    if (result := episode.result) is not None:
        scores = result.scores
        lines.append(("score", f"F1 {scores.f1:.2f}   EM {scores.em:.0f}   cover-EM {scores.cover_em:.0f}"))
        own = f" - {result.own:.2f}" if result.own else ""
        lines.append(("reward", f"{result.value:.2f} = {result.outcome:.2f} - {result.cost:.2f}{own}"))
    counts = f"rounds {ledger.rounds}   retrievals {ledger.retrievals}   turns {ledger.turns}"
    latency = f"   latency {ledger.latency}" if result else ""
    lines.append(("ledger", f"{counts}{latency}   malformed {ledger.malformed}"))
    return lines
