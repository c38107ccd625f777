"""The nouns of question answering: a question, and a step of its gold decomposition. Knows no file format and no game."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One reasoning step of a gold decomposition; `#k` in `question` stands for the answer of step k (1-based)."""

    question: str
    answer: str
    supporting_id: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its gold answers, the main one first.

    `kind` is the dataset's own type (`bridge`, `2hop`, `single`, ...), "" where it has none. `supporting_ids` are corpus
    ids of the gold passages. `metadata` holds the file's metadata object and every extra field, as read.
    """

    id: str
    text: str
    golden_answers: tuple[str, ...]
    kind: str = ""
    supporting_ids: tuple[str, ...] = ()
    decomposition: tuple[Step, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_list(self) -> bool:
        """Whether the gold answer is a list of items, joined by ", " in `golden_answers[0]`."""
        return bool(self.metadata.get("list_items"))

    @property
    def list_items(self) -> tuple[str, ...]:
        """The items of a list answer, in the order asked for; empty for other questions."""
        return tuple(self.metadata.get("list_items") or ())

    @property
    def list_spellings(self) -> tuple[str | tuple[str, ...], ...]:
        """The items of a list answer, each with the other ways to write it where any are given."""
        if not (aliases := self.metadata.get("list_aliases")):
            return self.list_items
        return tuple((item, *more) for item, more in zip(self.list_items, aliases, strict=True))
