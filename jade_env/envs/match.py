"""One episode at a table, as AEC and parallel share it: seats, observations, actions, rewards, infos, rendering.

Knows the game and its encodings; the two PettingZoo interfaces on top decide only who plays when.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces as gym_spaces

from jade_env.envs import spaces
from jade_env.envs.encoding import Encoder
from jade_env.envs.source import open_source
from jade_env.envs.table import Table
from jade_env.envs.turn import Action, Turn, TurnId
from jade_env.errors import ConfigError
from jade_env.game.episode import Episode, Rules
from jade_env.scenario import Scenario

RENDER_MODES = ("ansi", "human", "rgb_array")
INFO_KEYS = ("has_turn", "f1", "em", "net", "rounds", "retrievals", "turns", "latency", "failed")
"""Numeric infos, with keys fixed from reset to end; all but `has_turn` are 0 until the episode has ended."""
_NO_INFO = dict.fromkeys(INFO_KEYS, 0.0)


class Match:
    """The state behind one AEC or parallel environment."""

    def __init__(
        self, scenario: Scenario, split: str, seed: int, data: str | Path | None, render_mode: str | None
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(f"render_mode: {render_mode!r} is not one of {', '.join(RENDER_MODES)}")
        self.scenario, self.rules = scenario, Rules.of(scenario)
        self.agents = list(self.rules.agents)
        self.modes = {agent: scenario.mode_of(agent) for agent in self.agents}
        self._in_text = [agent for agent, mode in self.modes.items() if mode == "text"]
        self.encoder = Encoder(scenario, self.rules)
        self.table = Table(open_source(scenario, data), self.rules, split, seed)
        self.render_mode = render_mode
        # a space of its own for each agent, so that seeding one does not seed another
        self.observation_spaces: dict[str, gym_spaces.Space[Any]] = {
            agent: spaces.observation_space(self.encoder, mode) for agent, mode in self.modes.items()
        }
        self.action_spaces: dict[str, gym_spaces.Space[Any]] = {
            agent: spaces.action_space(self.encoder, mode) for agent, mode in self.modes.items()
        }
        self.state_space = spaces.state_space(self.encoder)
        self.episode: Episode | None = None
        self._turns: dict[TurnId, Turn] = {}
        self._seen: tuple[Turn | None, Any] = (None, None)

    def reset(self, seed: int | None, options: Mapping[str, Any] | None) -> None:
        """Open the next episode."""
        self.episode = self.table.open(seed, options)
        self.table.settle([self.episode])
        self._turns = {}
        self._refresh()

    def turns(self) -> list[Turn]:
        """The open turns, first-opened first."""
        return list(self._turns.values())

    def oldest_turn(self) -> Turn | None:
        """The turn that was opened first; None when the episode has ended."""
        for turn in self._turns.values():
            return turn
        return None

    def oldest_turn_of(self, agent: str) -> Turn | None:
        """The oldest open turn of an agent."""
        for turn in self._turns.values():
            if turn.agent == agent:
                return turn
        return None

    def play(self, turn: Turn, action: Any) -> float:
        """Play a turn and return its format penalty; nothing is raised for any action."""
        assert self.episode is not None
        del self._turns[turn.id]
        return self.episode.act(turn.game_turn, turn.output(readable(action)))

    def settle(self) -> None:
        """Answer the retrievals that fall due and list the turns that are open now."""
        assert self.episode is not None
        if self.episode.pending_queries:
            self.table.settle([self.episode])
        self._refresh()

    def _refresh(self) -> None:
        episode, turns = self.episode, self._turns
        assert episode is not None
        if episode.finished:
            turns.clear()
            return
        for game_turn in episode.turns[len(turns) :]:  # a turn that opens stands last, in the game's list and in this
            turn = Turn(game_turn, self.table.dealer.seed, self.modes[game_turn.card.name], self.scenario.prompt)
            turns[turn.id] = turn

    def observe(self, agent: str, turn: Turn | None) -> Any:
        """What an agent sees: its turn's prompt or arrays, or the idle observation without one."""
        if turn is None:
            return self._idle_observation(agent)
        if self._seen[0] is not turn:
            self._seen = (turn, self._observation(turn))
        return self._seen[1]

    def _observation(self, turn: Turn) -> Any:
        if turn.mode == "text":
            return spaces.Prompt(turn.prompt)
        vector, mask = self.encoder.encode(turn)
        return {"observation": vector, "action_mask": mask}

    def _idle_observation(self, agent: str) -> Any:
        if agent in self._in_text:
            return spaces.Prompt("")
        vector, mask = self.encoder.idle(agent)
        return {"observation": vector, "action_mask": mask}

    def state(self) -> np.ndarray:
        """The central state, for critics that see everything."""
        if self.episode is None:
            return np.zeros(self.encoder.state_size, np.float32)
        return self.encoder.state(self.episode, self._turns.values())

    def infos(self) -> dict[str, dict[str, Any]]:
        """Fresh infos for every agent: numbers under fixed keys, and in text mode the chat messages."""
        common: dict[str, Any] = self._final_info() if self.finished else _NO_INFO
        infos: dict[str, dict[str, Any]] = {agent: common.copy() for agent in self.agents}
        because = self.episode.truncated if self.episode else ""
        for agent in self._in_text:
            info = infos[agent]
            info["messages"], info["truncated_because"] = [], because
        for turn in reversed(self._turns.values()):  # so that the oldest of an agent has the last word
            self.note(infos[turn.agent], turn)
        return infos

    @staticmethod
    def note(info: dict[str, Any], turn: Turn | None) -> None:
        """Write into an agent's info whether it has a turn and, in text mode, the turn's messages."""
        info["has_turn"] = 0.0 if turn is None else 1.0
        if "messages" in info:
            info["messages"] = turn.messages if turn is not None else []

    def _final_info(self) -> dict[str, float]:
        episode = self.episode
        assert episode is not None
        ledger, result = episode.ledger, episode.result
        return {
            "has_turn": 0.0,
            "f1": result.scores.f1 if result else 0.0,
            "em": result.scores.em if result else 0.0,
            "net": result.value if result else 0.0,
            "rounds": float(ledger.rounds),
            "retrievals": float(ledger.retrievals),
            "turns": float(ledger.turns),
            "latency": float(ledger.latency),
            "failed": float(result is None),
        }

    @property
    def finished(self) -> bool:
        """Whether the episode has ended, by its rules or by an outside cause."""
        return self.episode is not None and self.episode.finished

    @property
    def terminated(self) -> bool:
        """Whether it has ended by the game's rules."""
        return self.finished and self.episode is not None and not self.episode.truncated

    @property
    def team_reward(self) -> float:
        """R_global of an episode that has ended by its rules, else 0."""
        return self.episode.result.value if self.episode and self.episode.result else 0.0

    def render(self) -> Any:
        """Render the trace in the environment's render mode."""
        if self.render_mode is None:
            warnings.warn("render: no render_mode was given when the environment was made", stacklevel=3)
            return None
        if self.episode is None:
            warnings.warn("render: reset the environment first", stacklevel=3)
            return None
        from jade_env.envs import rendering

        if self.render_mode == "rgb_array":
            return rendering.rgb_array(self.episode)
        if self.render_mode == "human":
            rendering.show(self.episode)
            return None
        return rendering.ansi(self.episode)


def readable(action: Any) -> Action:
    """Any action as text or a number; what is neither counts as malformed output."""
    if isinstance(action, str):
        return action if len(action) <= spaces.MAX_TEXT else action[: spaces.MAX_TEXT]
    try:
        return int(action)
    except (TypeError, ValueError, OverflowError):
        return ""
