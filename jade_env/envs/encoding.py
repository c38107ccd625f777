"""Discrete mode as arrays: how a turn becomes one flat float32 vector and an int8 mask, the same shape for every agent.

Vector = K rows of F candidate features (row-major; row 0 belongs to the no-op and is zero), then T features of the turn,
then the role one-hot, in which rivals in equal roles are equal. All values lie in [-1, 1]. Knows candidates and their features;
knows no environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jade_env.envs.candidates import LIMITS
from jade_env.envs.features import CANDIDATE_FEATURES, TURN_FEATURES, candidate_rows, turn_features, turn_row
from jade_env.envs.turn import Turn
from jade_env.game.episode import Episode, Rules
from jade_env.game.rewards import share
from jade_env.scenario import Scenario

Array = np.ndarray
LEDGER_FEATURES = 6


class Encoder:
    """Shapes and encodings of one scenario.

    Attributes:
        agents: roles that can have a turn, in the order of the one-hot, each once whatever the number of teams.
        actions: K = 1 + the largest number of candidates of a role.
        width: F, features of one candidate row.
        size: length of the observation vector, K x F + T + number of roles.
        state_size: length of the central state vector.
    """

    def __init__(self, scenario: Scenario) -> None:
        rules = Rules.of(scenario)
        self.agents = rules.agents
        limits = [_limit(scenario.cards[agent].candidates, rules) for agent in rules.agents]
        self.actions = 1 + max(limits)
        self.width, self.turn_width = len(CANDIDATE_FEATURES), len(TURN_FEATURES)
        self.size = self.actions * self.width + self.turn_width + len(self.agents)
        self._side = LEDGER_FEATURES + len(self.agents) * (1 + self.turn_width)
        self.state_size = max(1, len(scenario.teams)) * self._side
        self._place = {agent: i for i, agent in enumerate(self.agents)}
        self._limits = rules.limits
        self._idle: dict[str, tuple[Array, Array]] = {}
        self._roles: dict[str, bytes] = {}
        for agent, place in self._place.items():
            vector, mask = np.zeros(self.size, np.float32), np.zeros(self.actions, np.int8)
            vector[place - len(self.agents)] = 1.0
            mask[0] = 1
            self._idle[agent] = vector, mask
            self._roles[agent] = vector[-len(self.agents) :].tobytes()
        counts = np.arange(self.actions)
        self._masks = [((counts >= 1) & (counts <= count)).astype(np.int8) for count in counts]
        row = 4 * self.width
        self._no_op = bytes(row)
        self._missing = [bytes(row * (self.actions - 1 - count)) for count in range(self.actions)]

    def encode(self, turn: Turn) -> tuple[Array, Array]:
        """The observation vector and action mask of an agent on its turn."""
        source, view, values = turn.card.candidates, turn.view, turn.candidates
        packed = (
            self._no_op,
            candidate_rows(source, view, values),
            self._missing[len(values)],
            turn_row(source, view),
            self._roles[turn.role],
        )
        return np.frombuffer(bytearray().join(packed), np.float32), self._masks[len(values)].copy()

    def write(self, turn: Turn, vector: Array, mask: Array) -> None:
        """Write a turn into given arrays: float32 of shape (size,) and int8 of shape (actions,)."""
        vector[:], mask[:] = self.encode(turn)

    def idle(self, role: str) -> tuple[Array, Array]:
        """The observation vector and mask of a role without a turn: only the no-op is legal."""
        vector, mask = self._idle[role]
        return vector.copy(), mask.copy()

    def state(self, episodes: Sequence[Episode], turns: Iterable[Turn]) -> Array:
        """The central state: of each side the ledger, then for every role whether it has a turn and the features of its oldest."""
        vector = np.zeros(self.state_size, np.float32)
        starts = {id(episode): self._side * side for side, episode in enumerate(episodes)}
        for episode in episodes:
            start = starts[id(episode)]
            vector[start : start + LEDGER_FEATURES] = self._ledger(episode)
        seen: set[str] = set()
        for turn in turns:
            if turn.agent not in seen:
                seen.add(turn.agent)
                start = starts[id(turn.game)] + LEDGER_FEATURES + self._place[turn.role] * (1 + self.turn_width)
                vector[start] = 1.0
                vector[start + 1 : start + 1 + self.turn_width] = turn_features(turn.card.candidates, turn.view)
        return vector

    def _ledger(self, episode: Episode) -> tuple[float, ...]:
        ledger, limits, nodes = episode.ledger, self._limits, episode.trace.nodes
        return (
            share(ledger.rounds, limits.max_rounds),
            share(ledger.retrievals, limits.max_rounds),
            share(ledger.turns, limits.max_turns),
            share(len(nodes), limits.max_rounds),
            sum(node.answer is not None for node in nodes) / len(nodes),
            float(episode.finished),
        )


def _limit(source: str, rules: Rules) -> int:
    return len(rules.workflows) if source == "workflow" else LIMITS[source]
