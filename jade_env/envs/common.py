"""What the AEC and the parallel environment have in common: how they are made and copied, spaces, state, rendering."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jade_env.envs.match import Match
from jade_env.envs.table import branch
from jade_env.errors import JadeError
from jade_env.game.episode import Episode
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario, as_scenario


class Common:
    """The half of an environment that does not know who plays when. A mixin: it stands before PettingZoo's class.

    Attributes:
        scenario: the loaded scenario.
        possible_agents: everybody who can ever have a turn.
        observation_spaces, action_spaces: by agent. state_space: of `state()`.
    """

    def _make(
        self,
        scenario: str | Path | Scenario,
        mode: Mode | None,
        render_mode: str | None,
        overrides: Mapping[str, Any] | None,
        split: str,
        seed: int,
        data: str | Path | None,
        retriever: Retriever | None,
    ) -> None:
        loaded = as_scenario(scenario, mode, overrides)
        self._made_of = (loaded, render_mode, split, seed, data, retriever)
        self._match = Match(loaded, split, seed, data, render_mode, retriever)
        self.render_mode = render_mode
        self.scenario = loaded
        self.possible_agents = list(self._match.agents)
        self.agents: list[str] = []
        self.observation_spaces = self._match.observation_spaces
        self.action_spaces = self._match.action_spaces
        self.state_space = self._match.state_space

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the description, not the corpus: the copy starts before its first reset."""
        return _rebuild, (type(self), *self._made_of)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Branch the game: the copy stands where this one stands, and each goes on by itself over the same data."""
        return branch(self, self._match.table, memo, self._match.encoder)

    @property
    def episodes(self) -> list[Episode]:
        """The game in play, or the last one: an episode, or one a side in a duel. With its question, trace, ledger and result."""
        return list(self._match.episodes)

    def observation_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.observation_spaces[self._one(agent)]

    def action_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.action_spaces[self._one(agent)]

    def _one(self, agent: str) -> str:
        """An agent's name, if it is one.

        Raises:
            JadeError: it is none.
        """
        if agent not in self.action_spaces:
            raise JadeError(f"{agent!r} is no agent here: {', '.join(self.possible_agents)}")
        return agent

    def state(self) -> np.ndarray:
        """The central state: float32 of shape `state_space.shape`, in [-1, 1]."""
        return self._match.state()

    def render(self) -> Any:
        """The trace as text (`ansi`), printed (`human`) or drawn (`rgb_array`: uint8, height x width x 3)."""
        return self._match.render()

    def close(self) -> None:
        """Nothing to release: data is shared by the process."""


def _rebuild(
    kind: Any, scenario: Scenario, render_mode: str | None, split: str, seed: int, data: Any, retriever: Any
) -> Any:
    return kind(scenario, None, render_mode, split=split, seed=seed, data=data, retriever=retriever)
