"""One causal language model as a `Policy`: a role is its prompt, and what the model writes is the action.

Knows prompts and generation; knows no reward and no learner. What becomes of the samples is the caller's business.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from jade_env.agent import PromptStyle
from jade_env.envs.turn import Action, Turn, Written
from jade_env.errors import ConfigError
from jade_env.game import prompts
from jade_env.game.prompts import Message
from jade_env.game.view import View
from jade_env.language_recipe import said_of
from jade_env.policy.backbone import Backbone
from jade_env.policy.generation import Generator
from jade_env.policy.grammar import grammar_of
from jade_env.policy.sampling import Request
from jade_env.retrieval.types import Document


@dataclass(frozen=True, slots=True)
class Manner:
    """How a language model is asked to play.

    A table by agent is read by the agent's name, its role, its team, and `default`, whichever it has first.

    Attributes:
        prompt: which of a card's prompts it reads.
        greedy: takes the most probable token; else draws from the stream of each turn.
        temperature: of the draws, one number or a table by agent; 1 where a table says nothing.
        constrained: agents whose outputs are held to their grammar.
        max_prompt: longest prompt in tokens, one number or a table by agent; what the context leaves where nothing is said.
        overlong: `error`, or `truncate`: documents, those of searches and an adversary's passages are dropped from the end
            until the prompt fits.
        slots: turns generated side by side.
    """

    prompt: PromptStyle = "full"
    greedy: bool = False
    temperature: float | Mapping[str, float] = 1.0
    constrained: tuple[str, ...] = ()
    max_prompt: int | Mapping[str, int] | None = None
    overlong: str = "error"
    slots: int = 192

    def __post_init__(self) -> None:
        styles = get_args(PromptStyle)
        if self.prompt not in styles or self.overlong not in ("error", "truncate"):
            raise ConfigError(
                f"prompt is {' or '.join(styles)}, overlong error or truncate: found {self.prompt}, {self.overlong}"
            )

    def temperature_of(self, turn: Turn) -> float:
        """What a turn's logits are divided by."""
        found = said_of(_names(turn), self.temperature)
        return 1.0 if found is None else found

    def longest_prompt(self, turn: Turn) -> int | None:
        """How many tokens of prompt a turn may have at most; None: what the context leaves."""
        return said_of(_names(turn), self.max_prompt)


def _names(turn: Turn) -> tuple[str, ...]:
    return turn.agent, turn.role, turn.team


class LanguageModelPolicy:
    """Plays turns of any agent with one backbone.

    Attributes:
        bare: whether it plays as the backbone was before its adapters learned.
        truncated: prompts that lost documents so far.
    """

    def __init__(self, backbone: Backbone, manner: Manner | None = None, *, bare: bool = False) -> None:
        self.backbone, self.manner, self.bare = backbone, manner or Manner(), bare
        self.generator = Generator(backbone, slots=self.manner.slots, greedy=self.manner.greedy, bare=bare)
        self.truncated = 0

    def ask(self, **changes: Any) -> None:
        """Ask from now on in another manner: its fields, but for `greedy` and `slots`.

        Raises:
            ConfigError: a value is not allowed.
        """
        self.manner = replace(self.manner, **changes)

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return what the model writes on each turn, as text.

        Raises:
            ConfigError: a prompt is longer than the model can read.
        """
        return [Written(sample.text, len(sample.output)) for sample in self.generator.run(self.requests(turns))]

    def requests(self, turns: Sequence[Turn]) -> list[Request]:
        """What to ask of a generator for each turn.

        Raises:
            ConfigError: a prompt is longer than the model can read.
        """
        style, backbone = self.manner.prompt, self.backbone
        encoded = backbone.encode_batch([turn.messages_in(style) for turn in turns])
        return [self._request(turn, ids) for turn, ids in zip(turns, encoded, strict=True)]

    def _request(self, turn: Turn, ids: list[int]) -> Request:
        limit = self.generator.limit
        room = limit - min(turn.card.max_tokens, limit // 2)
        room = min(room, self.manner.longest_prompt(turn) or room)
        documents = len(turn.view.documents)
        if len(ids) > room:
            ids, documents = self._shortened(turn, len(ids), room)
        held = {turn.agent, turn.role} & set(self.manner.constrained)
        return Request(
            key=(turn.seed, *map(str, turn.id)),
            prompt=tuple(ids),
            max_new=min(turn.card.max_tokens, limit - len(ids)),
            grammar=grammar_of(turn, self.backbone, documents) if held else None,
            adapter=self.backbone.adapter_of(turn.role),
            stop=turn.card.stop,
            temperature=self.manner.temperature_of(turn),
        )

    def _shortened(self, turn: Turn, length: int, room: int) -> tuple[list[int], int]:
        """The longest prompt that fits, with passages dropped from the end, the last one cut word by word; and its documents."""
        where = f"{turn.agent}, question {turn.game.question.id}"
        limit = self.generator.limit
        bounded = room < limit - min(turn.card.max_tokens, limit // 2)  # by the settings, and not by the model
        cure = "raise max_prompt" if bounded else f"the model takes {limit} tokens with its output, so take another one"
        if self.manner.overlong == "error":
            raise ConfigError(
                f"{where}: the prompt has {length} tokens and {room} fit: {cure}, lower retriever.top_k, "
                "or set overlong=truncate (to train; to judge: jade eval --truncate)"
            )
        view = _shorter(turn.view)
        while view is not None:
            ids = self.backbone.encode(self._messages(turn, view))
            if len(ids) <= room:
                self.truncated += 1
                return ids, len(view.documents)
            view = _shorter(view)
        raise ConfigError(f"{where}: the prompt has more than {room} tokens even without documents: {cure}")

    def _messages(self, turn: Turn, view: View) -> list[Message]:
        prompt = turn.card.prompts[self.manner.prompt]
        user = prompts.fill(prompt.user, view)
        return [{"role": "system", "content": prompt.system}, {"role": "user", "content": user}]


def _shorter(view: View) -> View | None:
    """The view with the last passage cut in half or dropped; None where there is none.

    An adversary's own passages go first, then documents; of a solver's searches, the one that found most, the earliest of these.
    """
    if view.pool:
        return view._replace(pool=_cut(view.pool))
    if view.documents:
        return view._replace(documents=_cut(view.documents))
    most = max(view.history, key=lambda search: len(search[1]), default=("", ()))
    if not most[1]:
        return None
    place = view.history.index(most)
    return view._replace(history=(*view.history[:place], (most[0], _cut(most[1])), *view.history[place + 1 :]))


def _cut(documents: tuple[Document, ...]) -> tuple[Document, ...]:
    """The documents without the second half of the last one's words, or without the last one."""
    *kept, last = documents
    words = last.text.split()
    return (*kept, replace(last, text=" ".join(words[: len(words) // 2]))) if len(words) > 1 else tuple(kept)


__all__ = ["LanguageModelPolicy", "Manner"]
