"""Prompts: a card's template filled with what the role may read. Document text is hostile: it is fenced, and tags in it defused."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from jade_env.agent import PLACE
from jade_env.game.view import View, Workflow
from jade_env.retrieval.types import Document

_TAGS = re.compile(
    r"<(?=\s*/?\s*(?:workflow|q\d+|query|id|answer|documents?|search|verdict)\b|\||/?s>|(?:start|end)_of_turn>)", re.I
)
"""Our own tags, and the beginnings of what many chat templates mark turns with, as a server may read them in a message."""
Message = dict[str, str]


def fill(template: str, view: View) -> str:
    """Replace each `{place}` of a template by what the view holds, in one pass, so that braces in the values stay as they are."""
    opening, places = _places(template)
    return opening + "".join([read(view) + text for read, text in places])


@lru_cache(maxsize=256)
def _places(template: str) -> tuple[str, tuple[tuple[Callable[[View], str], str], ...]]:
    """A template cut at its places: the text before the first, then for each what fills it and the text behind it."""
    opening, *rest = PLACE.split(template)
    return opening, tuple([(_READ[name], text) for name, text in zip(rest[::2], rest[1::2], strict=True)])


def defuse(text: str) -> str:
    """Make tags of our grammar inside foreign text harmless: their `<` becomes `‹`."""
    return _TAGS.sub("‹", text) if "<" in text else text


def _documents(view: View) -> str:
    if not view.documents:
        return "<documents></documents>"
    lines = [_document(i, document) for i, document in enumerate(view.documents)]
    return "<documents>\n" + "\n".join(lines) + "\n</documents>"


def _document(i: int, document: Document, name: str = "Document") -> str:
    shown = f"({document.title}): {document.text}"
    # one line, so that no text can pose as another document; asked one by one, which is fast
    if "\n" in shown or "\r" in shown or "\v" in shown or "\f" in shown or not shown.isascii():
        shown = " ".join(shown.splitlines())
    return f"{name}{i} {_TAGS.sub('‹', shown) if '<' in shown else shown}"


def _history(view: View) -> str:
    """Each search with what it found; documents are numbered throughout."""
    parts, number = [], 0
    for query, documents in view.history:
        lines = [_document(i, document) for i, document in enumerate(documents, number)]
        number += len(documents)
        parts.append(f"<search>{query}</search>\n<documents>\n" + "\n".join([*lines, "</documents>"]))
    return "\n".join(parts) + ("" if view.may_search else "\nno search is left")


def _pool(view: View) -> str:
    return "\n".join(_document(i, document, "Passage") for i, document in enumerate(view.pool))


def _rejected(view: View) -> str:
    return f"\nsent back : {view.draft}" if view.draft else ""


def _answers(view: View) -> str:
    if not view.answers:
        return "none"
    return "; ".join(f"#{i} {question} = {answer}" for i, (question, answer) in enumerate(view.answers, 1))


@lru_cache(maxsize=64)
def _workflows(workflows: tuple[Workflow, ...]) -> str:
    return " | ".join(",".join(workflow) for workflow in workflows)


_READ: dict[str, Callable[[View], str]] = {
    "question": lambda view: view.question,
    "query": lambda view: view.query,
    "answers": _answers,
    "documents": _documents,
    "workflows": lambda view: _workflows(view.workflows),
    "draft": lambda view: view.draft,
    "rejected": _rejected,
    "history": _history,
    "pool": _pool,
}
