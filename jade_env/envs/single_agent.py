"""The game as a Gymnasium environment for one role; partners play the rest. Knows no policy: partners are a function of turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from jade_env.config import nearest
from jade_env.envs import spaces
from jade_env.envs.match import RENDER_MODES, Match
from jade_env.envs.table import branch
from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.retrieval import Retriever
from jade_env.scenario import Scenario

Partners = Callable[[Sequence[Turn]], Sequence[Action]]
MAX_EPISODES_WITHOUT_A_TURN = 1000
MAX_CUT_SHORT = 3
"""Episodes in a row that a failing retriever may end before the role had its turn."""


class SingleAgentEnv(gymnasium.Env[Any, Any]):
    """One role of a team.

    Observations: in discrete mode the flat vector (float32, in [-1, 1]), its mask from `action_masks()` and in
    `info["action_mask"]`; in text mode the prompt. Rewards: the role's own format penalties at once, R_global at the end.
    Episodes in which the role would have no turn are played out by the partners and passed over.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 2}  # noqa: RUF012

    def __init__(
        self,
        agent: str,
        scenario: Scenario,
        partners: Partners,
        *,
        split: str = "train",
        seed: int = 0,
        data: str | Path | None = None,
        render_mode: str | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        self._made_of = (
            (agent, scenario, partners),
            {
                "split": split,
                "seed": seed,
                "data": data,
                "render_mode": render_mode,
                "retriever": retriever,
            },
        )
        self._match = Match(scenario, split, seed, data, render_mode, retriever)
        if agent not in self._match.agents:
            allowed = self._match.agents
            raise ConfigError(
                f"{scenario.name} has no agent {agent!r} but {', '.join(allowed)}{nearest(agent, allowed)}"
            )
        self.agent, self.scenario, self._partners, self.render_mode = agent, scenario, partners, render_mode
        self._text = self._match.modes[agent] == "text"
        encoder = self._match.encoder
        if self._text:
            self.observation_space: Any = spaces.AnyText()
        else:
            self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (encoder.size,), np.float32)
        self.action_space = self._match.action_spaces[agent]
        self._turn: Turn | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the description, not the corpus: the copy starts before its first reset. Partners have to allow it."""
        return _rebuild, (type(self), *self._made_of)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Branch the game: the copy stands where this one stands, and each goes on by itself, with the same partners."""
        return branch(self, self._match.table, memo, self._match.encoder, self._partners)

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Open the next episode and play it up to the role's first turn.

        Raises:
            ConfigError: with these partners the role had no turn in a thousand episodes, or in the question asked for.
            RetrievalError: the retriever failed in several episodes, one after the other, before the role had a turn.
        """
        super().reset(seed=seed)
        wanted = bool(options and options.get("question_id") is not None)
        cut_short = 0
        for _ in range(1 if wanted else MAX_EPISODES_WITHOUT_A_TURN):
            self._match.reset(seed, options)
            seed = None
            self._play_partners()
            if self._turn is not None:
                return self._observation(), self._info()
            cut_short = 0 if self._match.terminated else cut_short + 1
            if cut_short and (wanted or cut_short == MAX_CUT_SHORT):
                reason = next(episode.truncated for episode in self._match.episodes if episode.truncated)
                raise RetrievalError(f"no episode comes to a turn of {self.agent}: {reason}")
        raise ConfigError(f"{self.agent} never has a turn with these partners; choose partners that give it one")

    @property
    def episodes(self) -> list[Episode]:
        """The game in play, or the last one: an episode, or one a side in a duel. With its question, trace, ledger and result."""
        return list(self._match.episodes)

    def _play_partners(self) -> None:
        """Play everybody else's turns, in AEC order, until the role has one or the episode has ended."""
        match, self._turn = self._match, None
        while not match.finished:
            turn = match.oldest_turn()
            assert turn is not None
            if turn.agent == self.agent:
                self._turn = turn
                return
            match.play(turn, self._partners([turn])[0])
            match.settle()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play the role's turn and everything up to its next one.

        Raises:
            ConfigError: before the first reset, or after the episode has ended.
        """
        if self._turn is None:
            raise ConfigError("no episode is in play: call reset()")
        match = self._match
        reward = match.play(self._turn, action)
        match.settle()
        self._play_partners()
        reward += match.payoffs.get(self.agent, 0.0)
        truncated = match.finished and not match.terminated
        return self._observation(), reward, match.terminated, truncated, self._info()

    def action_masks(self) -> np.ndarray:
        """The legal actions as booleans, as MaskablePPO reads them; in text mode a single one, for any text."""
        if self._text:
            return np.ones(1, dtype=bool)
        return np.asarray(self._match.observe(self.agent, self._turn)["action_mask"], dtype=bool)

    def _observation(self) -> Any:
        seen = self._match.observe(self.agent, self._turn)
        return seen if self._text else seen["observation"]

    def _info(self) -> dict[str, Any]:
        info = self._match.infos()[self.agent]
        if not self._text:
            info["action_mask"] = self._match.observe(self.agent, self._turn)["action_mask"]
        return info

    def render(self) -> Any:
        """The trace, in the environment's render mode."""
        return self._match.render()


def _rebuild(kind: type[SingleAgentEnv], given: tuple[Any, ...], named: dict[str, Any]) -> SingleAgentEnv:
    return kind(*given, **named)
