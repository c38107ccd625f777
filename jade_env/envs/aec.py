"""The game as a PettingZoo AEC environment: the selected agent is the one whose turn was opened first.

See `jade_env.envs` for the manual page: agents, spaces, rewards, rules, arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pettingzoo import AECEnv

from jade_env.envs.match import RENDER_MODES, Match
from jade_env.envs.pool import as_scenario
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError
from jade_env.scenario import Mode, Scenario

METADATA: dict[str, Any] = {
    "name": "jade_v0",
    "render_modes": list(RENDER_MODES),
    "is_parallelizable": False,
    "render_fps": 2,
}


class RawEnv(AECEnv[str, Any, Any]):  # type: ignore[misc]
    """The AEC environment without the order-checking wrapper. Made by `jade_env.raw_env`."""

    metadata = METADATA

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
    ) -> None:
        super().__init__()
        loaded = as_scenario(scenario, mode, overrides)
        self._made_of = (loaded, render_mode, split, seed, data)
        self._match = Match(loaded, split, seed, data, render_mode)
        self.render_mode = render_mode
        self.scenario = loaded
        self.possible_agents = list(self._match.agents)
        self.agents: list[str] = []
        self.observation_spaces = self._match.observation_spaces
        self.action_spaces = self._match.action_spaces
        self.state_space = self._match.state_space

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the description, not the corpus: the copy starts before its first reset."""
        scenario, render_mode, split, seed, data = self._made_of
        return _rebuild, (type(self), scenario, render_mode, split, seed, data)

    def observation_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.action_spaces[agent]

    @property
    def turn(self) -> Turn | None:
        """The turn of the selected agent; None when the episode has ended."""
        return self._turn

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Open the next episode; `seed` restarts the order, `options` may hold `question_id` and `split`."""
        match = self._match
        match.reset(seed, options)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, match.terminated)
        self.truncations = dict.fromkeys(self.agents, match.finished and not match.terminated)
        self.infos = match.infos()
        self._dirty = False
        self._select()

    def _select(self) -> None:
        self._turn: Turn | None = next(iter(self._match._turns.values()), None)
        if self._turn is not None:
            self.agent_selection = self._turn.agent
        elif self.agents:
            self.agent_selection = self.agents[0]

    def observe(self, agent: str) -> Any:
        """What an agent sees now; without a turn, an empty prompt or an array of zeros with only the no-op legal."""
        turn = self._turn
        if turn is not None and turn.agent != agent:
            turn = self._match.oldest_turn(agent)
        return self._match.observe(agent, turn)

    def state(self) -> np.ndarray:
        """The central state: float32 of shape `state_space.shape`, in [-1, 1]."""
        return self._match.state()

    def step(self, action: Any) -> None:
        """Play the selected agent's turn. Any action is understood; a malformed one costs the format penalty."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._retire(agent, action)
            return
        match, turn = self._match, self._turn
        assert turn is not None
        if self._dirty:
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._dirty = False
        self._cumulative_rewards[agent] = 0.0
        penalty = match.play(turn, action)
        match.settle()
        if penalty:
            self.rewards[agent] = penalty
            self._dirty = True
        if match.finished:
            self._end()
        if self._dirty:
            self._accumulate_rewards()
        self._select()
        if not match.finished and self._turn is not None:
            self._note_turn(agent, self._turn)

    def _retire(self, agent: str, action: Any) -> None:
        """An agent that has ended takes its leave, as PettingZoo asks; all end together, so the next in order follows."""
        if action is not None:
            raise JadeError(f"{agent} has ended: step(None) until no agent is left")
        self.agents.remove(agent)
        for by_agent in (self.rewards, self._cumulative_rewards, self.terminations, self.truncations, self.infos):
            del by_agent[agent]
        if self._dirty:
            self.rewards = dict.fromkeys(self.agents, 0.0)
            self._dirty = False
        if self.agents:
            self.agent_selection = self.agents[0]

    def _note_turn(self, played: str, turn: Turn) -> None:
        """Keep the infos of the two agents concerned true; the others' have not changed."""
        for agent in {played, turn.agent}:
            own = turn if agent == turn.agent else self._match.oldest_turn(agent)
            info = self.infos[agent]
            info["has_turn"] = float(own is not None)
            if "messages" in info:
                info["messages"] = own.messages if own else []

    def _end(self) -> None:
        match = self._match
        earned = match.team_reward
        if earned:
            for agent in self.agents:
                self.rewards[agent] += earned
            self._dirty = True
        self.terminations = dict.fromkeys(self.agents, match.terminated)
        self.truncations = dict.fromkeys(self.agents, not match.terminated)
        self.infos = match.infos()

    def render(self) -> Any:
        """The trace as text (`ansi`), printed (`human`) or drawn (`rgb_array`: uint8, height x width x 3)."""
        return self._match.render()

    def close(self) -> None:
        """Nothing to release: data is shared by the process."""


class OrderChecked(AECEnv[str, Any, Any]):  # type: ignore[misc]
    """A thin wrapper that turns misuse of the calling order into a sentence; attributes are the wrapped environment's own."""

    def __init__(self, env: RawEnv) -> None:
        super().__init__()
        self.env = env
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.possible_agents = env.possible_agents
        self.observation_spaces, self.action_spaces = env.observation_spaces, env.action_spaces
        self.state_space, self.scenario = env.state_space, env.scenario
        self._has_reset = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the wrapped environment's description."""
        return OrderChecked, (self.env,)

    def _checked(self, name: str) -> Any:
        if not self._has_reset:
            raise JadeError(f"call reset() before {name}")
        return getattr(self.env, name)

    @property
    def unwrapped(self) -> RawEnv:
        """The environment without this wrapper."""
        return self.env

    @property
    def agents(self) -> list[str]:
        """Agents still in the episode."""
        return self.env.agents if self._has_reset else []

    @property
    def agent_selection(self) -> str:
        """The agent whose turn it is."""
        return self.env.agent_selection if self._has_reset else str(self._checked("agent_selection"))

    @property
    def rewards(self) -> dict[str, float]:
        """What the last step earned, by agent."""
        return self._checked("rewards")  # type: ignore[no-any-return]

    @property
    def _cumulative_rewards(self) -> dict[str, float]:
        return self._checked("_cumulative_rewards")  # type: ignore[no-any-return]

    @property
    def terminations(self) -> dict[str, bool]:
        """Whether the episode has ended by the game's rules."""
        return self._checked("terminations")  # type: ignore[no-any-return]

    @property
    def truncations(self) -> dict[str, bool]:
        """Whether it has ended for an outside cause."""
        return self._checked("truncations")  # type: ignore[no-any-return]

    @property
    def infos(self) -> dict[str, dict[str, Any]]:
        """Infos, by agent."""
        return self._checked("infos")  # type: ignore[no-any-return]

    @property
    def turn(self) -> Turn | None:
        """The turn of the selected agent."""
        return self._checked("turn")  # type: ignore[no-any-return]

    def observation_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.env.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The same space object at every call."""
        return self.env.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Open the next episode; `seed` restarts the order, `options` may hold `question_id` and `split`."""
        self.env.reset(seed=seed, options=options)
        self._has_reset = True

    def step(self, action: Any) -> None:
        """Play the selected agent's turn.

        Raises:
            JadeError: before reset, after the end, or an action for an agent that has ended.
        """
        if not self._has_reset:
            raise JadeError("call reset() before step()")
        env = self.env
        if not env.agents:
            raise JadeError("the episode has ended: call reset()")
        if action is None and env.turn is not None:
            raise JadeError(f"{env.agent_selection} is still playing: None is only for agents that have ended")
        if action is not None and env.turn is None:
            raise JadeError(f"{env.agent_selection} has ended: step(None) until no agent is left")
        env.step(action)

    def observe(self, agent: str) -> Any:
        """What an agent sees now."""
        if not self._has_reset:
            raise JadeError("call reset() before observe()")
        return self.env.observe(agent)

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observation, reward since its last step, terminated, truncated, info of the selected agent."""
        if not self._has_reset:
            raise JadeError("call reset() before last()")
        env = self.env
        agent = env.agent_selection
        observation = env.observe(agent) if observe else None
        return (
            observation,
            env._cumulative_rewards[agent],
            env.terminations[agent],
            env.truncations[agent],
            env.infos[agent],
        )

    def state(self) -> np.ndarray:
        """The central state."""
        return self.env.state()

    def render(self) -> Any:
        """The trace, in the environment's render mode."""
        return self.env.render()

    def close(self) -> None:
        """Nothing to release."""

    def __str__(self) -> str:
        return f"jade_v0<{self.scenario.name}>"


def _rebuild(
    kind: type[RawEnv], scenario: Scenario, render_mode: str | None, split: str, seed: int, data: Any
) -> RawEnv:
    return kind(scenario, None, render_mode, split=split, seed=seed, data=data)


def raw_env(*args: Any, **kwargs: Any) -> RawEnv:
    """Make the AEC environment without order checks; arguments as for `env`."""
    return RawEnv(*args, **kwargs)


def env(
    scenario: str | Path | Scenario = "cooperative",
    mode: Mode | None = None,
    render_mode: str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    split: str = "train",
    seed: int = 0,
    data: str | Path | None = None,
) -> OrderChecked:
    """Make the AEC environment.

    Args:
        scenario: a shipped name, a path, or a loaded scenario.
        mode: `text` or `discrete` for all agents; the scenario's own where not given.
        render_mode: `ansi`, `human` or `rgb_array`.
        overrides: dotted keys, e.g. `{"reward.round_cost": 0.1}`.
        split: whose questions are played.
        seed: seed of the order of questions until `reset(seed=...)` gives another.
        data: the data location for scenarios with files; else JADE_DATA.

    Raises:
        ConfigError: the scenario or an argument is not valid.
        DataError: its data cannot be read.
    """
    return OrderChecked(RawEnv(scenario, mode, render_mode, overrides=overrides, split=split, seed=seed, data=data))
