"""The game as a PettingZoo parallel environment: one tick plays the oldest open turn of every role that has one.

See `jade_env.envs` for the manual page: agents, spaces, rewards, rules, arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pettingzoo import ParallelEnv as PettingZooParallelEnv

from jade_env.envs.aec import METADATA
from jade_env.envs.common import Common
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario


class ParallelEnv(Common, PettingZooParallelEnv[str, Any, Any]):  # type: ignore[misc]
    """The parallel environment. Made by `jade_env.parallel_env`."""

    metadata: ClassVar[dict[str, Any]] = {**METADATA, "is_parallelizable": True}

    def __init__(
        self,
        scenario: str | Path | Scenario = "cooperative",
        mode: Mode | None = None,
        render_mode: str | None = None,
        *,
        overrides: Mapping[str, Any] | None = None,
        split: str = "train",
        seed: int = 0,
        data: str | Path | None = None,
        retriever: Retriever | None = None,
    ) -> None:
        self._make(scenario, mode, render_mode, overrides, split, seed, data, retriever)
        self._known = frozenset(self.possible_agents)

    def turns(self) -> dict[str, Turn]:
        """The turn that each agent would play in the next tick; agents without one are absent."""
        due: dict[str, Turn] = {}
        for turn in self._match.turns():
            due.setdefault(turn.agent, turn)
        return due

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Open the next episode; `seed` restarts the order, `options` may hold `question_id` and `split`."""
        self._match.reset(seed, options)
        self.agents = [] if self._match.finished else list(self.possible_agents)
        return self._observations(), self._match.infos()

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], Any]:
        """Play one tick. What an agent without a turn submits is ignored.

        Raises:
            JadeError: before the first reset, or after the episode has ended; an action for somebody who is no agent, or none
                for an agent that has a turn.
        """
        if not self.agents:
            raise JadeError("no episode is in play: call reset()")
        match = self._match
        if not isinstance(actions, Mapping):
            raise JadeError(f"step takes actions by agent, {{agent: action}}, not a {type(actions).__name__}")
        if strangers := [name for name in actions if name not in self._known]:
            raise JadeError(f"{strangers[0]!r} is no agent here: {', '.join(self.possible_agents)}")
        due = self.turns()
        if missing := [agent for agent in due if actions.get(agent) is None]:
            raise JadeError(f'{missing[0]} has a turn and no action: give one for every agent, 0 or "" without a turn')
        rewards = dict.fromkeys(self.agents, 0.0)
        for agent, turn in due.items():
            if not turn.game.finished:  # a limit may end the episode on an earlier turn of this tick
                rewards[agent] += match.play(turn, actions[agent])
        match.settle()
        for agent, earned in match.payoffs.items():
            rewards[agent] += earned
        terminations = dict.fromkeys(self.agents, match.terminated)
        truncations = dict.fromkeys(self.agents, match.finished and not match.terminated)
        observations, infos = self._observations(), match.infos()
        if match.finished:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _observations(self) -> dict[str, Any]:
        due = self.turns()
        return {agent: self._match.observe(agent, due.get(agent)) for agent in self.possible_agents}


def parallel_env(
    scenario: str | Path | Scenario = "cooperative",
    mode: Mode | None = None,
    render_mode: str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str = "train",
    seed: int = 0,
    data: str | Path | None = None,
    retriever: Retriever | None = None,
) -> ParallelEnv:
    """Make the parallel environment; arguments as for `jade_env.env`."""
    return ParallelEnv(
        scenario, mode, render_mode, overrides=overrides, split=split, seed=seed, data=data, retriever=retriever
    )
