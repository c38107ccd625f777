"""One game at a table, as AEC and parallel share it: seats, observations, actions, rewards, infos, rendering.

A game is an episode; in a duel it is one a side, of the same question, side by side.

Knows the game and its encodings; the two PettingZoo interfaces on top decide only who plays when.
"""

from __future__ import annotations

import math
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
from jade_env.envs.turn import Action, Turn, TurnId, whole
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Episode, Rules, settle_duel
from jade_env.retrieval import Retriever
from jade_env.scenario import Scenario

RENDER_MODES = ("ansi", "human", "rgb_array")
INFO_KEYS = ("has_turn", "f1", "em", "net", "rounds", "retrievals", "turns", "latency", "failed")
"""Numeric infos, with keys fixed from reset to end; all but `has_turn` are 0 until the episode has ended."""
_NO_INFO: dict[str, Any] = dict.fromkeys(INFO_KEYS, 0.0)
_NO_PROMPT = spaces.Prompt("")


class Match:
    """The state behind one AEC or parallel environment."""

    def __init__(
        self,
        scenario: Scenario,
        split: str,
        seed: int,
        data: str | Path | None,
        render_mode: str | None,
        retriever: Retriever | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(f"render_mode: {render_mode!r} is not one of {', '.join(RENDER_MODES)}")
        self.scenario, self.sides = scenario, Rules.sides(scenario)
        self.roles = {rules.agent(card): card.name for rules in self.sides for card in scenario.cards.values()}
        self.agents = [agent for rules in self.sides for agent in rules.agents]
        self.modes = {agent: scenario.mode_of(self.roles[agent]) for agent in self.agents}
        self.encoder = Encoder(scenario)
        self.table = Table(open_source(scenario, data, retriever), self.sides, split, seed)
        self.render_mode = render_mode
        # a space of its own for each agent, so that seeding one does not seed another
        self.observation_spaces: dict[str, gym_spaces.Space[Any]] = {
            agent: spaces.observation_space(self.encoder, mode) for agent, mode in self.modes.items()
        }
        self.action_spaces: dict[str, gym_spaces.Space[Any]] = {
            agent: spaces.action_space(self.encoder, mode) for agent, mode in self.modes.items()
        }
        self.state_space = spaces.state_space(self.encoder)
        self._idle = {
            agent: None if mode == "text" else self.encoder.idle(self.roles[agent])
            for agent, mode in self.modes.items()
        }
        self._in_text = [agent for agent, mode in self.modes.items() if mode == "text"]
        self._no_infos = {
            agent: {**_NO_INFO, "messages": [], "truncated_because": ""} if mode == "text" else _NO_INFO
            for agent, mode in self.modes.items()
        }
        self.episodes: list[Episode] = []
        self.finished = False
        """Whether the game has ended, by its rules or by an outside cause."""
        self.opened: list[Turn] = []
        """The turns that the last `settle` found open and the one before it did not."""
        self._turns: list[dict[TurnId, Turn]] = []
        self._seen: tuple[Turn | None, Any] = (None, None)

    def reset(self, seed: int | None, options: Mapping[str, Any] | None) -> None:
        """Open the next episode."""
        self.episodes = self.table.open(seed, options)
        self.table.settle(self.episodes)
        self._turns = [{} for _ in self.episodes]
        self._refresh()

    @property
    def episode(self) -> Episode | None:
        """The episode in play, or the last one; in a duel, the first side's."""
        return self.episodes[0] if self.episodes else None

    def turns(self) -> list[Turn]:
        """The open turns: side by side, first-opened first."""
        return [turn for side in self._turns for turn in side.values()]

    def oldest_turn(self) -> Turn | None:
        """The turn that was opened first, of the side that has played less; None when the game has ended."""
        due: Turn | None = None
        for side in self._turns:
            for oldest in side.values():
                if due is None or oldest.game.ledger.turns < due.game.ledger.turns:
                    due = oldest
                break
        return due

    def oldest_turn_of(self, agent: str) -> Turn | None:
        """The oldest open turn of an agent."""
        for side in self._turns:
            for turn in side.values():
                if turn.agent == agent:
                    return turn
        return None

    def play(self, turn: Turn, action: Any) -> float:
        """Play a turn and return its format penalty; nothing is raised for any action."""
        for side in self._turns:
            side.pop(turn.id, None)
        game_turn = turn.game_turn
        return game_turn.episode.act(game_turn, turn.output(readable(action)))

    def settle(self) -> None:
        """Answer the retrievals that fall due and list the turns that are open now."""
        if self.episodes[0].pending_queries or self.episodes[-1].pending_queries:  # of one side, or of two
            self.table.settle(self.episodes)
        self._refresh()

    def _refresh(self) -> None:
        self.finished, self.opened = True, []
        for episode, turns in zip(self.episodes, self._turns, strict=True):
            if episode.finished:
                turns.clear()
                continue
            self.finished = False
            for game_turn in episode.turns[len(turns) :]:  # one that opens stands last, in the game's list and in this
                turn = Turn(game_turn, self.table.dealer.seed, self.modes[game_turn.agent], self.scenario.prompt)
                turns[turn.id] = turn
                self.opened.append(turn)
        if self.finished and len(self.episodes) > 1:
            settle_duel(self.episodes)

    def observe(self, agent: str, turn: Turn | None) -> Any:
        """What an agent sees: its turn's prompt or arrays, or the idle observation without one."""
        if turn is None:
            idle = self._idle[agent]
            return _NO_PROMPT if idle is None else {"observation": idle[0].copy(), "action_mask": idle[1].copy()}
        if self._seen[0] is not turn:
            self._seen = (turn, self._observation(turn))
        seen = self._seen[1]
        return {name: part.copy() for name, part in seen.items()} if isinstance(seen, dict) else seen

    def _observation(self, turn: Turn) -> Any:
        if turn.mode == "text":
            return spaces.Prompt(turn.prompt[: spaces.MAX_TEXT])
        vector, mask = self.encoder.encode(turn)
        return {"observation": vector, "action_mask": mask}

    def state(self) -> np.ndarray:
        """The central state, for critics that see everything."""
        if not self.episodes:
            return np.zeros(self.encoder.state_size, np.float32)
        return self.encoder.state(self.episodes, self.turns())

    def infos(self) -> dict[str, dict[str, Any]]:
        """Fresh infos for every agent: numbers under fixed keys, and in text mode the chat messages."""
        infos = {agent: info.copy() for agent, info in self._no_infos.items()}
        for agent in self._in_text:
            infos[agent]["messages"] = []
        if because := self.truncated:
            for agent in self._in_text:
                infos[agent]["truncated_because"] = because
        if self.finished:
            for rules, episode in zip(self.sides, self.episodes, strict=True):
                numbers = _final_info(episode)
                for agent in rules.agents:
                    infos[agent].update(numbers)
        for side in self._turns:
            for turn in side.values():
                if not infos[turn.agent]["has_turn"]:  # its oldest
                    self.note(infos[turn.agent], turn)
        return infos

    @staticmethod
    def note(info: dict[str, Any], turn: Turn | None) -> None:
        """Write into an agent's info whether it has a turn and, in text mode, the turn's messages."""
        info["has_turn"] = 0.0 if turn is None else 1.0
        if "messages" in info:
            info["messages"] = turn.messages if turn is not None else []

    @property
    def truncated(self) -> str:
        """For what cause outside the game an episode was cut short; empty where none was."""
        for episode in self.episodes:
            if episode.truncated:
                return episode.truncated
        return ""

    @property
    def terminated(self) -> bool:
        """Whether it has ended by the game's rules."""
        return self.finished and not self.truncated

    @property
    def payoffs(self) -> dict[str, float]:
        """What each agent receives at the end of a game that has ended by its rules; empty before."""
        if not self.terminated:
            return {}
        return {agent: value for episode in self.episodes for agent, value in episode.payoffs.items()}

    def render(self) -> Any:
        """Render the trace in the environment's render mode."""
        if self.render_mode is None:
            warnings.warn("render: no render_mode was given when the environment was made", stacklevel=3)
            return None
        if not self.episodes:
            warnings.warn("render: reset the environment first", stacklevel=3)
            return None
        from jade_env.envs import rendering

        if self.render_mode == "rgb_array":
            return np.concatenate([rendering.rgb_array(episode) for episode in self.episodes], axis=1)
        if self.render_mode == "human":
            for episode in self.episodes:
                rendering.show(episode)
            return None
        return "\n\n".join(rendering.ansi(episode) for episode in self.episodes)


def _final_info(episode: Episode) -> dict[str, Any]:
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


def readable(action: Any) -> Action:
    """Any action as text or a number, also one alone in an array; what is neither counts as malformed output.

    Raises:
        JadeError: several, such as a one-hot vector, the actions of many environments, or a chat message around the text.
    """
    if isinstance(action, str):
        return action if len(action) <= spaces.MAX_TEXT else action[: spaces.MAX_TEXT]
    if hasattr(action, "ndim"):  # an array, or a tensor
        if math.prod(action.shape) != 1:
            raise JadeError(f"an action is one number or a text, not an array of shape {tuple(action.shape)}")
        return readable(action.item())
    if isinstance(action, list | tuple | Mapping):
        raise JadeError(f"an action is one number or a text, not {action!r:.80}")
    return whole(action, "")
