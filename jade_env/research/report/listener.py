"""A policy that listens to another one: what each turn read, what was chosen, and how probable it was.

Knows which policies can say more than their action; knows no report.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from dataclasses import dataclass

from jade_env.envs.turn import Action, Turn, TurnId, Written
from jade_env.game.episode import Episode
from jade_env.learning.player import NetworkPolicy
from jade_env.policy import MixedPolicy, Policy
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.sampling import Sample
from jade_env.retrieval.types import Document


@dataclass(frozen=True, slots=True)
class Heard:
    """One turn, as it was when it was played.

    Attributes:
        turn: whose turn, in which episode.
        system, user: the prompt.
        reads: the documents in play.
        retrieved: what the node had retrieved; None before a retrieval.
        choice: the number of the candidate chosen, and how many there were; None for text.
        logprob: of the whole output, in nats; None where the policy does not say.
        tokens: how many the output has; 0 for a candidate.
        value: what a critic expected; None where there is none.
        sample: the tokens, where a language model sampled them.
    """

    turn: Turn
    system: str
    user: str
    reads: tuple[Document, ...]
    retrieved: tuple[Document, ...] | None
    choice: tuple[int, int] | None = None
    logprob: float | None = None
    tokens: int = 0
    value: float | None = None
    sample: Sample | None = None


class Listener:
    """Plays as its policy does, and keeps what was said.

    Attributes:
        heard: every turn so far, by its id.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.heard: dict[TurnId, Heard] = {}

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return what the policy plays."""
        shares: dict[int, tuple[Policy, list[Turn]]] = {}
        for turn in turns:
            player = self._policy
            while isinstance(player, MixedPolicy):
                player = player.member(turn.agent, turn.role, turn.team)
            shares.setdefault(id(player), (player, []))[1].append(turn)
        actions: dict[TurnId, Action] = {}
        for player, own in shares.values():
            actions |= zip([turn.id for turn in own], self._ask(player, own), strict=True)
        return [actions[turn.id] for turn in turns]

    def episodes(self) -> dict[int, Episode]:
        """Every episode with a turn that was heard, by its number."""
        return {number: heard.turn.game for (number, *_), heard in self.heard.items()}

    def _ask(self, player: Policy, turns: Sequence[Turn]) -> list[Action]:
        if isinstance(player, LanguageModelPolicy):
            requests = player.requests(turns)
            samples = player.generator.run(requests)
            for turn, sample in zip(turns, samples, strict=True):
                system, user = (message["content"] for message in turn.messages_in(player.manner.prompt))
                if (
                    player.manner.overlong == "truncate"
                ):  # what was read may be shorter than the prompt as it is written
                    system, user = "", str(player.backbone.tokenizer.decode(list(sample.prompt)))
                said = float(sample.logprobs.sum())
                self._keep(turn, system, user, None, said, len(sample.output), sample.value, sample)
            return [Written(sample.text, len(sample.output)) for sample in samples]
        if isinstance(player, NetworkPolicy):
            weighed = player.weigh(turns)
            for turn, found in zip(turns, weighed, strict=True):
                choice = (found.action, len(turn.candidates))
                self._keep(turn, *_prompt(turn), choice, found.logprob, 0, found.value, None)
            return [found.action for found in weighed]
        actions = player.act(turns)
        for turn, action in zip(turns, actions, strict=True):
            candidate = None if isinstance(action, str) else (int(action), len(turn.candidates))
            self._keep(turn, *_prompt(turn), candidate, None, 0, None, None)
        return actions

    def _keep(
        self,
        turn: Turn,
        system: str,
        user: str,
        choice: tuple[int, int] | None,
        logprob: float | None,
        tokens: int,
        value: float | None,
        sample: Sample | None,
    ) -> None:
        view, retrieved = turn.view, turn.node.retrieved
        self.heard[turn.id] = Heard(
            turn, system, user, view.documents, retrieved, choice, logprob, tokens, value, sample
        )


def _prompt(turn: Turn) -> tuple[str, str]:
    system, user = (message["content"] for message in turn.messages)
    return system, user
