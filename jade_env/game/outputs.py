"""What agents write. One class a kind: its grammar (parse, format), validity rule, fallback, and effect on the episode.

Parsing is total: any string gives an Output. The rules are those of the paper's released code (see `docs/game.md`); an
output that breaks them is `valid=False`, costs its author the format penalty, and takes effect through its fallback value.
Nothing here knows prompts, policies, environments or rewards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jade_env.errors import ConfigError
from jade_env.game.view import Workflow
from jade_env.game.workflow import PAPER_WORKFLOWS, codes

if TYPE_CHECKING:
    from jade_env.game.episode import Episode
    from jade_env.game.trace import Node

MAX_QUERY_WORDS = 100
MAX_ANSWER_WORDS = 40
MAX_SUBQUESTIONS = 7

Value = str | tuple[str, ...] | tuple[int, ...] | tuple[int, str]


class Output(NamedTuple):
    """One output of one agent.

    Attributes:
        kind: the output kind, a key of `KINDS`.
        valid: whether it follows the kind's grammar and limits.
        value: what it says (a workflow's codes, sub-questions, a query, document indices, an answer, a verdict, what a
            solver does, what an adversary puts in place of a document); for an invalid one the fallback, except that a
            workflow's is chosen by the episode.
        written: the text as the agent wrote it; empty where the agent chose a candidate by number.
        tokens: how many tokens the agent spent on it (0 where no text was generated).
    """

    kind: str
    valid: bool
    value: Value
    written: str = ""
    tokens: int = 0

    @property
    def text(self) -> str:
        """The text written, or the canonical text of the value."""
        return self.written or KINDS[self.kind].format(self.value)


class Kind(Protocol):
    """Grammar, validity rule, fallback and effect of one kind of output."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What it is written between: one of these, or each in turn."""
        ...

    def parse(self, text: str, **context: Any) -> tuple[bool, Any]:
        """Read any text; return whether it is valid, and its value or fallback."""
        ...

    def format(self, value: Any) -> str:
        """The canonical text of a value; `parse(format(value))` gives it back."""
        ...

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        """Let the output take effect on its node."""
        ...


def _between(tag: str, text: str) -> str | None:
    """The inside of a text that is wholly `<tag>...</tag>`, else None; tags in any case, as the released code reads them."""
    size = len(tag) + 2
    if len(text) <= 2 * size or text[0] != "<" or text[-1] != ">":
        return None
    if text[1:size].lower() != f"{tag}>" or text[-size - 1 : -1].lower() != f"</{tag}":
        return None
    return text[size : -size - 1]


class WorkflowKind:
    """`<workflow>R,DS,AG</workflow>`: valid if it is among the legal ones."""

    tags = ("workflow",)

    def parse(self, text: str, *, workflows: Sequence[Workflow] = PAPER_WORKFLOWS, **_: Any) -> tuple[bool, Workflow]:
        inner = _between("workflow", text.strip())
        if inner is None:
            return False, ()
        workflow = codes(inner)
        return workflow in workflows, workflow

    def format(self, value: Workflow) -> str:
        return f"<workflow>{','.join(value)}</workflow>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        workflow = output.value if output.valid else episode.fallback_workflow(node)
        episode.start_round(node, tuple(map(str, workflow)))


class SubquestionsKind:
    """`<q1>..</q1><q2>..</q2>`: numbered from 1; invalid if one repeats, equals the question, or there are over seven."""

    tags = tuple(f"q{i}" for i in range(1, MAX_SUBQUESTIONS + 1))

    _WHOLE = re.compile(r"<q\d+>.*</q\d+>", re.S | re.I)
    _TAG = re.compile(r"<(/?)q(\d+)>", re.I)

    def __init__(self, serial: bool) -> None:
        self.serial = serial

    def parse(
        self, text: str, *, question: str = "", limit: int = MAX_SUBQUESTIONS, **_: Any
    ) -> tuple[bool, tuple[str, ...]]:
        text = text.strip()
        numbered = self._pairs(text) if self._WHOLE.fullmatch(text) else []
        if not numbered or [number for number, _ in numbered] != [str(i + 1) for i in range(len(numbered))]:
            return False, (question,)
        found = tuple(inside.strip() for _, inside in numbered)
        return len(set(found)) == len(found) and question not in found and len(found) <= limit, found

    def _pairs(self, text: str) -> list[tuple[str, str]]:
        """Each `<qN>` with the text up to the next `</qN>`, left to right, in time linear in the text."""
        tags = list(self._TAG.finditer(text))
        closings: dict[str, list[re.Match[str]]] = {}
        for tag in reversed(tags):
            if tag[1]:
                closings.setdefault(tag[2], []).append(tag)
        pairs: list[tuple[str, str]] = []
        end = 0
        for tag in tags:
            if tag[1] or tag.start() < end:
                continue
            waiting = closings.get(tag[2], [])
            while waiting and waiting[-1].start() < tag.end():
                waiting.pop()
            if waiting:
                pairs.append((tag[2], text[tag.end() : waiting[-1].start()]))
                end = waiting[-1].end()
        return pairs

    def format(self, value: tuple[str, ...]) -> str:
        return "".join(f"<q{i}>{question}</q{i}>" for i, question in enumerate(value, 1))

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        questions = [str(q) for q in output.value if str(q).strip()]
        episode.decompose(node, questions or [node.query], serial=self.serial)


class QueryKind:
    """`<query>..</query>`: at most 100 words and not the query it replaces; the raw text if malformed."""

    tags = ("query",)

    def parse(self, text: str, *, question: str = "", **_: Any) -> tuple[bool, str]:
        text = text.strip()
        inner = _between("query", text)
        if inner is None:
            return False, text
        inner = inner.strip()
        return inner != question and len(inner.split()) <= MAX_QUERY_WORDS, inner

    def format(self, value: str) -> str:
        return f"<query>{value}</query>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        node.query = str(output.value)


class DocumentIdsKind:
    """`<id>Document0,Document2</id>`: a subset of the documents, empty allowed; all of them if unreadable.

    The value is sorted. Ids out of range or repeated make the output invalid, and the valid ones among them are kept.
    """

    tags = ("id",)

    _IDS = re.compile(r"Document\d{1,9}(?:,Document\d{1,9})*")

    def parse(self, text: str, *, documents: int = 0, **_: Any) -> tuple[bool, tuple[int, ...]]:
        inner = _between("id", text.strip())
        if inner is not None and not inner.strip():
            return True, ()
        if inner is None or not self._IDS.fullmatch(inner := inner.strip()):
            return False, tuple(range(documents))
        ids = [int(part[len("Document") :]) for part in inner.split(",")]
        kept = sorted(i for i in ids if i < documents)
        if len(kept) < len(ids):
            return False, tuple(kept)
        unique = tuple(dict.fromkeys(kept))
        return len(unique) == len(ids), unique

    def format(self, value: tuple[int, ...]) -> str:
        return f"<id>{','.join(f'Document{i}' for i in value)}</id>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        node.documents = tuple(node.documents[i] for i in dict.fromkeys(output.value) if isinstance(i, int))


class AnswerKind:
    """`<answer>..</answer>`: at most 40 words; the raw text if malformed."""

    tags = ("answer",)

    _WORD = re.compile(r"\b\w+\b")

    def parse(self, text: str, **_: Any) -> tuple[bool, str]:
        inner = _between("answer", stripped := text.strip())
        if inner is None or (len(inner) > 2 * MAX_ANSWER_WORDS and len(self._WORD.findall(inner)) > MAX_ANSWER_WORDS):
            return False, stripped or text
        return True, inner.strip()

    def format(self, value: str) -> str:
        return f"<answer>{value}</answer>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        episode.solve(node, str(output.value))


class VerdictKind:
    """`<verdict>accept</verdict>`, `retry` or `search` in its place: a draft may be sent back once; accept if malformed."""

    tags = ("verdict",)

    VALUES = ("accept", "retry", "search")

    def parse(self, text: str, **_: Any) -> tuple[bool, str]:
        inner = (_between("verdict", text.strip()) or "").strip().lower()
        return (True, inner) if inner in self.VALUES else (False, self.VALUES[0])

    def format(self, value: str) -> str:
        return f"<verdict>{value}</verdict>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        episode.judge(node, str(output.value))


class SearchOrAnswerKind:
    """`<search>..</search>` or `<answer>..</answer>`: what a lone solver does next; the raw text as an answer if malformed.

    The value is ("search", query) or ("answer", text). A search beyond the limit is malformed, and answers nothing.
    """

    tags = ("search", "answer")

    def parse(self, text: str, *, may_search: bool = True, **_: Any) -> tuple[bool, tuple[str, str]]:
        query = _between("search", stripped := text.strip())
        if query is not None:
            valid = may_search and bool(query.strip()) and len(query.split()) <= MAX_QUERY_WORDS
            return (True, ("search", query.strip())) if valid else (False, ("answer", ""))
        valid, answer = KINDS["answer"].parse(stripped)
        return valid, ("answer", answer)

    def format(self, value: tuple[str, str]) -> str:
        action, text = value
        return f"<{action}>{text}</{action}>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        action, text = (str(part) for part in output.value)
        if action == "search":
            episode.search(node, text)
        else:
            episode.solve(node, text)


class DocumentKind:
    """`<document>Document1 = Passage0</document>`: puts a passage of the pool, or a text of one's own, in a document's place.

    The value is (document, "Passage0") or (document, text); empty, (-1, ""), it replaces nothing. So it does where it is
    malformed, beyond the numbers at hand or over the word budget.
    """

    tags = ("document",)

    LEFT = (-1, "")

    _FORM = re.compile(r"Document(\d{1,9})\s*=\s*(.+)", re.S | re.I)
    _PASSAGE = re.compile(r"Passage(\d{1,9})", re.I)

    def parse(
        self, text: str, *, documents: int = 0, passages: int = 0, words: int = MAX_ANSWER_WORDS, **_: Any
    ) -> tuple[bool, tuple[int, str]]:
        inner = _between("document", text.strip())
        if inner is not None and not inner.strip():
            return True, self.LEFT
        found = self._FORM.fullmatch((inner or "").strip())
        if found is None or int(found[1]) >= documents:
            return False, self.LEFT
        put = found[2].strip()
        if (passage := self._PASSAGE.fullmatch(put)) is not None:
            number = int(passage[1])
            return (True, (int(found[1]), f"Passage{number}")) if number < passages else (False, self.LEFT)
        return (True, (int(found[1]), put)) if put and len(put.split()) <= words else (False, self.LEFT)

    def format(self, value: tuple[int, str]) -> str:
        return "<document></document>" if value[0] < 0 else f"<document>Document{value[0]} = {value[1]}</document>"

    def apply(self, episode: Episode, node: Node, output: Output) -> None:
        place, put = tuple(output.value)
        if output.valid and isinstance(place, int) and place >= 0:
            passage = self._PASSAGE.fullmatch(str(put))
            episode.replace(node, place, node.pool[int(passage[1])] if passage else str(put))


KINDS: Mapping[str, Kind] = {
    "workflow": WorkflowKind(),
    "subquestions_serial": SubquestionsKind(serial=True),
    "subquestions_parallel": SubquestionsKind(serial=False),
    "query": QueryKind(),
    "document_ids": DocumentIdsKind(),
    "answer": AnswerKind(),
    "verdict": VerdictKind(),
    "search_or_answer": SearchOrAnswerKind(),
    "document": DocumentKind(),
}


def parse(kind: str, text: str, tokens: int | None = None, **context: Any) -> Output:
    """Read what an agent wrote; total, so any string gives an Output.

    Args:
        kind: a key of `KINDS`.
        text: what was written.
        tokens: how many tokens it took; the number of whitespace-separated words where not given.
        **context: what validity depends on: `workflows` (legal ones) for a workflow, `question` for sub-questions and
            queries, `documents` (their number) for document ids and documents, which also have `passages` (of the pool) and
            `words` (allowed in a text of one's own), `may_search` for a solver.

    Raises:
        ConfigError: there is no such kind.
    """
    grammar = KINDS.get(kind)
    if grammar is None:
        raise ConfigError(f"there is no output kind {kind!r}: {', '.join(KINDS)}")
    valid, value = grammar.parse(text, **context)
    return Output(kind, valid, value, text, len(text.split()) if tokens is None else tokens)


def choose(kind: str, value: Value, *, counted: bool = False) -> Output:
    """The output of an agent that chose a candidate by number: valid by construction, no text.

    It has no tokens, but where they cost something: `counted`, they are the words that it would take to say it.
    """
    return Output(kind, True, value, "", len(KINDS[kind].format(value).split()) if counted else 0)
