"""The game as a PettingZoo AEC environment: the selected agent is the one whose turn was opened first.

See `jade_env.envs` for the manual page: agents, spaces, rewards, rules, arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from pathlib import Path
from sys import maxsize
from typing import Any

from pettingzoo import AECEnv

from jade_env.envs.common import Common
from jade_env.envs.match import RENDER_MODES
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario

METADATA: dict[str, Any] = {
    "name": "jade_v0",
    "render_modes": list(RENDER_MODES),
    "is_parallelizable": False,
    "render_fps": 2,
}


class RawEnv(Common, AECEnv[str, Any, Any]):  # type: ignore[misc]
    """The AEC environment. Made by `jade_env.raw_env`, without most checks of the calling order."""

    metadata = METADATA
    _checks_order = False

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
        super().__init__()
        self._turn: Turn | None = None
        self._make(scenario, mode, render_mode, overrides, split, seed, data, retriever)

    @property
    def turn(self) -> Turn | None:
        """The turn of the selected agent; None when the episode has ended."""
        if self._turn is None:
            self._check_reset("turn")
        return self._turn

    def _check_reset(self, what: str) -> None:
        if self._checks_order and not self._match.episodes:
            raise NotReset(f"call reset() before {what}")

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Open the next episode; `seed` restarts the order, `options` may hold `question_id` and `split`."""
        match = self._match
        match.reset(seed, options)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        terminated = match.terminated
        self.terminations = dict.fromkeys(self.agents, terminated)
        self.truncations = dict.fromkeys(self.agents, match.finished and not terminated)
        self.infos = match.infos()
        self._dirty = False
        self._select()

    def _select(self) -> Turn | None:
        turn = self._turn = self._match.oldest_turn()
        if turn is not None:
            self.agent_selection = turn.agent
        elif self.agents:
            self.agent_selection = self.agents[0]
        return turn

    def observe(self, agent: str) -> Any:
        """What an agent sees now; without a turn, an empty prompt or an array of zeros with only the no-op legal."""
        turn, match = self._turn, self._match
        if turn is None:
            self._check_reset("observe()")
        elif turn.agent != agent:
            turn = match.oldest_turn_of(agent)
        return match.observe(self._one(agent), turn)

    def last(self, observe: bool = True) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Observation, reward since its last step, terminated, truncated, info of the selected agent."""
        agent, turn = self.agent_selection, self._turn  # it is the selected agent's, if there is one
        if not self.agents:
            raise JadeError("the episode has ended: call reset()")
        return (
            self._match.observe(agent, turn) if observe else None,
            self._cumulative_rewards[agent],
            self.terminations[agent],
            self.truncations[agent],
            self.infos[agent],
        )

    def agent_iter(self, max_iter: int = 2**63) -> Iterator[str]:
        """The selected agent, again and again, until no agent is left or for `max_iter` steps."""
        for _ in repeat(None, int(min(max_iter, maxsize))):  # counting to 2**63 in Python is slower
            if not self.agents:
                return
            yield self.agent_selection

    def step(self, action: Any) -> None:
        """Play the selected agent's turn. Any action is understood; a malformed one costs the format penalty.

        Raises:
            JadeError: an action for an agent that has ended; in the environment that checks the order also before reset, after
                the end, and None for an agent that is still playing.
        """
        match, turn = self._match, self._turn
        if turn is None:
            self._retire(action)
            return
        agent = turn.agent
        if action is None and self._checks_order:
            raise JadeError(f"{agent} is still playing: None is only for agents that have ended")
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
        if self._select() is not None:
            self._note_turns(agent)

    def _retire(self, action: Any) -> None:
        """The selected agent has ended and takes its leave, as PettingZoo asks; all end together, so the next in order follows."""
        agents = self.agents
        if not agents:
            self._check_reset("step()")
            raise JadeError("the episode has ended: call reset()")
        agent = self.agent_selection
        if action is not None:
            raise JadeError(f"{agent} has ended: step(None) until no agent is left")
        agents.remove(agent)
        del self._cumulative_rewards[agent], self.terminations[agent], self.truncations[agent], self.infos[agent]
        if self._dirty:
            self.rewards = dict.fromkeys(agents, 0.0)
            self._dirty = False
        else:
            del self.rewards[agent]
        if agents:
            self.agent_selection = agents[0]

    def _note_turns(self, played: str) -> None:
        """Keep true the infos of the agent that has played and of those whose turns have opened; the others' have not changed."""
        infos, match = self.infos, self._match
        match.note(infos[played], match.oldest_turn_of(played))
        for turn in match.opened:
            if not infos[turn.agent]["has_turn"]:  # another one of its turns was opened before
                match.note(infos[turn.agent], turn)

    def _end(self) -> None:
        match = self._match
        terminated = match.terminated
        for agent, earned in match.payoffs.items():
            self.rewards[agent] += earned
            self._dirty = self._dirty or earned != 0
        self.terminations = dict.fromkeys(self.agents, terminated)
        self.truncations = dict.fromkeys(self.agents, not terminated)
        self.infos = match.infos()


class NotReset(JadeError, AttributeError):
    """What `reset` makes was asked for before it; for `hasattr` it is not there yet."""


class _MadeByReset:
    """Stands in a class for what `reset` makes in an environment, which hides it; asked for too early, it is an error.

    A `__getattr__` would do the same, and make every attribute of the environment slow to reach.
    """

    def __init__(self, what: str) -> None:
        self._what = what

    def __get__(self, env: RawEnv | None, kind: type[RawEnv]) -> Any:
        if env is None:
            return self
        raise NotReset(f"call reset() before {self._what}")


class OrderChecked(RawEnv):
    """The environment in which misuse of the calling order is a sentence. Made by `jade_env.env`."""

    _checks_order = True
    agent_selection: Any = _MadeByReset("agent_selection and last()")
    rewards: Any = _MadeByReset("rewards")
    _cumulative_rewards: Any = _MadeByReset("_cumulative_rewards")
    terminations: Any = _MadeByReset("terminations")
    truncations: Any = _MadeByReset("truncations")
    infos: Any = _MadeByReset("infos")

    def __str__(self) -> str:
        return f"jade_v0<{self.scenario.name}>"


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
    retriever: Retriever | None = None,
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
        retriever: one of your own in place of the scenario's, with `search` and `identity` (`jade_env.retrieval.Retriever`).

    Raises:
        ConfigError: the scenario or an argument is not valid.
        DataError: its data cannot be read.
    """
    return OrderChecked(
        scenario, mode, render_mode, overrides=overrides, split=split, seed=seed, data=data, retriever=retriever
    )
