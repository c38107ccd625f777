"""The typed form of `agents/*.yaml`: one card a role. A role is data; what its output does is in `game/outputs.py`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jade_env.config import FileState, Settings, apply_overrides, file_state, is_path, load_tree, validate
from jade_env.errors import ConfigError

OutputKind = Literal[
    "workflow",
    "subquestions_serial",
    "subquestions_parallel",
    "query",
    "document_ids",
    "answer",
    "verdict",
    "search_or_answer",
    "document",
]
Readable = Literal["question", "query", "answers", "documents", "workflows", "draft", "rejected", "history", "pool"]
CandidateSource = Literal[
    "workflow",
    "subquestions_serial",
    "subquestions_parallel",
    "query",
    "document_ids",
    "answer",
    "summary",
    "verdict",
    "search_or_answer",
    "document",
]
PromptStyle = Literal["full", "brief"]
CANDIDATES: dict[str, tuple[str, ...]] = {"answer": ("answer", "summary")}
"""The candidate sources that suit a kind of output, where that is not the one of its own name alone."""
WRITTEN_BY = {
    "QR": "query",
    "DS": "document_ids",
    "AG": "answer",
    "AV": "verdict",
    "QDS": "subquestions_serial",
    "QDP": "subquestions_parallel",
    "SOLVE": "search_or_answer",
}
"""The kind of output that each code of a workflow stands for."""
PLACE = re.compile(r"\{([a-z]+)\}")


class Prompt(Settings):
    """What a role is told: a constant system message, and a user message with `{places}` for what it reads."""

    system: str = Field(min_length=1)
    """The role, the same at every turn."""
    user: str = Field(min_length=1)
    """What it reads, at `{places}`."""


class AgentCard(Settings):
    """One role: what it reads, what it writes, its prompts and its limits."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """The agent's name in every environment, table and trace."""
    code: str = Field(pattern=r"^([A-Z]{2,5})?$", default="")
    """The role's code in a workflow (`QR`, `QDS`, `DS`, `AG`); empty for the planner and the summarizer."""
    summary: str = Field(min_length=1, max_length=160)
    """One line for listings."""
    writes: OutputKind
    """The kind of output: its grammar, validity rule, fallback and effect."""
    reads: tuple[Readable, ...]
    """What of the turn's view the prompt may hold."""
    candidates: CandidateSource
    """Which generator numbers this role's actions in discrete mode."""
    max_tokens: int = Field(gt=0, le=8192, default=64)
    """Generation limit of one output, in tokens."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end an output of a language model, such as `</answer>`, beside its end-of-text token."""
    prompts: dict[PromptStyle, Prompt]
    """`full` for pretrained models, `brief` for backbones trained here; the same grammar in both."""

    @field_validator("prompts")
    @classmethod
    def _both_styles(cls, prompts: dict[PromptStyle, Prompt]) -> dict[PromptStyle, Prompt]:
        missing = {"full", "brief"} - set(prompts)
        if missing:
            raise ValueError(f"the {' and '.join(sorted(missing))} prompt is missing")
        return prompts

    @model_validator(mode="after")
    def _belongs_together(self) -> AgentCard:
        if self.candidates not in (suiting := CANDIDATES.get(self.writes, (self.writes,))):
            raise ValueError(
                f"candidates: {self.candidates} does not suit an agent that writes {self.writes}: {', '.join(suiting)}"
            )
        if self.code and self.code not in WRITTEN_BY:
            raise ValueError(f"code: {self.code!r} is not one of {', '.join(WRITTEN_BY)}")
        if self.code and (wanted := WRITTEN_BY[self.code]) != self.writes:
            raise ValueError(f"code: {self.code} is for an agent that writes {wanted}, not {self.writes}")
        return self

    @model_validator(mode="after")
    def _places_are_readable(self) -> AgentCard:
        for style, prompt in self.prompts.items():
            for place in PLACE.findall(prompt.user):
                if place not in self.reads:
                    raise ValueError(f"prompts.{style}.user: {{{place}}} is not among reads: {', '.join(self.reads)}")
        return self


def load_agent(name_or_path: str | Path) -> AgentCard:
    """Load an agent card by shipped name or by path.

    Raises:
        ConfigError: the card does not exist or is not valid.
    """
    return _load(str(name_or_path), file_state(name_or_path))


@lru_cache(maxsize=256)
def _load(given: str, _state: FileState) -> AgentCard:
    tree, label = load_tree("agents", given)
    card = validate(AgentCard, apply_overrides(tree, None, label), label)
    if not is_path(given) and card.name != given:
        raise ConfigError(f"{label}: name: {card.name!r} should be {given!r}, the file's name")
    return card
