"""A model behind an OpenAI-compatible server as a `Policy`: a role is its prompt, and what the server sends is the action.

    policy = make_policy("remote_chat:mine.yaml", "small_world")
    print(policy.ledger)                                       # requests and tokens by agent, after it has played

Knows prompts and settings; how a server is asked is in `chat_client.py`. The key never comes here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jade_env import streams
from jade_env.chat_recipe import RemoteChatRecipe
from jade_env.envs.turn import Action, Turn, Written
from jade_env.policy.chat_client import ChatClient, ChatRequest
from jade_env.policy.token_ledger import TokenLedger
from jade_env.policy.wording import sendable


class RemoteChatPolicy:
    """Plays turns of any agent by asking a server for each.

    A turn's request holds its prompt, its card's token limit and a seed of its own, so it is the same whatever else is in the
    batch; how far the same request brings the same text is the server's affair.

    Args:
        settings: server, model and limits.
        seed: with each turn's id, the seed of its request.

    Raises:
        ConfigError: the key in the environment cannot be sent.
        MissingExtra: httpx or tenacity is not installed.
    """

    def __init__(self, settings: RemoteChatRecipe, seed: int = 0) -> None:
        self._settings, self._seed = settings, seed
        self._client = ChatClient(settings)

    @property
    def ledger(self) -> TokenLedger:
        """Requests and tokens so far, by agent."""
        return self._client.ledger

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return what the model writes on each turn, as text.

        Raises:
            PolicyError: the server failed for good; the sentence names the endpoint and what came from it.
        """
        replies = self._client.complete([ChatRequest(turn.agent, self._body(turn)) for turn in turns])
        texts = [_within(reply.text, self._limit(turn)) for turn, reply in zip(turns, replies, strict=True)]
        return [
            Written(text, reply.completion_tokens) if reply.completion_tokens else text
            for text, reply in zip(texts, replies, strict=True)
        ]

    def _limit(self, turn: Turn) -> int:
        return self._settings.max_tokens or turn.card.max_tokens

    def close(self) -> None:
        """Close the connections; the policy cannot play after."""
        self._client.close()

    def __repr__(self) -> str:
        return f"RemoteChatPolicy({self.ledger.title})"

    def _body(self, turn: Turn) -> dict[str, Any]:
        settings = self._settings
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [
                {name: sendable(text) for name, text in message.items()}
                for message in turn.messages_in(settings.prompt)
            ],
            settings.limit_field: self._limit(turn),
            "seed": streams.bits("remote_chat", self._seed, turn.seed, turn.id) >> 33,  # 31 bits: all servers take them
        }
        if settings.temperature is not None:
            body["temperature"] = settings.temperature
        if settings.stop:
            body["stop"] = list(settings.stop)
        return body | settings.extra_body


def _within(text: str, tokens: int) -> str:
    """What a server may have written in so many tokens: whoever ignores the limit does not fill the prompts of others."""
    text = text[: tokens * _LETTERS_A_TOKEN]
    words = text.split(maxsplit=tokens)
    return text if len(words) <= tokens else text[: len(text) - len(words[-1])].rstrip()


_LETTERS_A_TOKEN = 32
