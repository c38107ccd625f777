"""The typed form of `learner: remote_chat`: a model behind an OpenAI-compatible server, which plays and does not learn here.

Knows what may be written. It never holds a key: only the name of the environment variable that does.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from jade_env.agent import PromptStyle
from jade_env.config import Settings

OURS = ("model", "messages", "stream", "n", "seed", "stop", "temperature", "max_tokens", "max_completion_tokens")
"""Fields of a request that other settings decide."""

CONDUCT = ("name", "summary", "api_key_env", "timeout", "retries", "longest_pause", "concurrency", "max_response_mb")
"""Settings on which no answer depends."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class RemoteChatRecipe(Settings):
    """A chat model on a server: `POST {base_url}/chat/completions`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", default="remote_chat")
    summary: str = Field(min_length=1, max_length=200, default="a model behind an OpenAI-compatible server")
    """One line for listings."""
    learner: Literal["remote_chat"] = "remote_chat"
    base_url: str
    """Where the server is, up to what stands before `/chat/completions`, such as http://127.0.0.1:8000/v1."""
    model: str = Field(min_length=1)
    """The model's name on that server."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; where it is not set, none is sent. A key is read from nowhere else."""
    prompt: PromptStyle = "full"
    """Which of a card's prompts the model reads, whatever the scenario says of others."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    """Of the draws; `null` leaves it to the server."""
    max_tokens: Annotated[int, Field(gt=0)] | None = None
    """Longest output in tokens; each card's own limit where not given. Models that think before they answer need more."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls that limit."""
    stop: tuple[str, ...] = Field(max_length=4, default=())
    """The output ends before any of these strings."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every request, as the server understands them."""
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one request, from connecting to the last byte."""
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    """Further tries of a request that failed in a way that may pass: no connection, 408, 425, 429, 5xx, a broken answer."""
    longest_pause: Annotated[float, Field(gt=0)] = 30.0
    """Most seconds between two tries, whatever the server's Retry-After asks for."""
    concurrency: Annotated[int, Field(gt=0, le=1024)] = 16
    """Requests under way at once."""
    max_response_mb: Annotated[float, Field(gt=0)] = 4.0
    """Larger answers are refused."""

    @field_validator("base_url")
    @classmethod
    def _a_base_url(cls, given: str) -> str:
        parts = urlsplit(given.strip())
        if parts.username or parts.password:
            raise ValueError("it holds a password; put a key into the environment variable that api_key_env names")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{given[:80]!r} is not a base URL such as http://127.0.0.1:8000/v1")
        url = given.strip().rstrip("/")
        if url.endswith("/chat/completions"):
            raise ValueError("leave out /chat/completions, which is added")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _a_name_not_a_key(cls, given: str) -> str:
        if not _VARIABLE.fullmatch(given):  # what was given is not repeated: it may be a key
            raise ValueError("expected the name of an environment variable, such as OPENAI_API_KEY, never a key itself")
        return given

    @field_validator("extra_body")
    @classmethod
    def _not_what_others_decide(cls, given: dict[str, Any]) -> dict[str, Any]:
        if clash := [key for key in given if key in OURS]:
            raise ValueError(f"{clash[0]} is not for here: it has a setting of its own, or is decided by the game")
        return given

    def resolved(self) -> dict[str, Any]:
        """Every knob with its value; `load_recipe` reads it back."""
        return self.model_dump(mode="json")
