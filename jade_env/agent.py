"""The typed form of `agents/*.yaml`: one card a role. A role is data; what its output does is in `game/outputs.py`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jade_env.config import Settings, apply_overrides, load_tree, validate
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
PLACE = re.compile(r"\{([a-z]+)\}")


class Prompt(Settings):
    """What a role is told: a constant system message, and a user message with `{places}` for what it reads."""

    system: str = Field(min_length=1)
    user: str = Field(min_length=1)


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
    def _places_are_readable(self) -> AgentCard:
        for style, prompt in self.prompts.items():
            for place in PLACE.findall(prompt.user):
                if place not in self.reads:
                    raise ValueError(f"prompts.{style}.user: {{{place}}} is not among reads: {', '.join(self.reads)}")
        return self


@lru_cache(maxsize=256)
def load_agent(name_or_path: str | Path) -> AgentCard:
    """Load an agent card by shipped name or by path.

    Raises:
        ConfigError: the card does not exist or is not valid.
    """
    tree, label = load_tree("agents", name_or_path)
    card = validate(AgentCard, apply_overrides(tree, None, label), label)
    if "/" not in str(name_or_path) and card.name != str(name_or_path):
        raise ConfigError(f"{label}: name: {card.name!r} should be {str(name_or_path)!r}, the file's name")
    return card
