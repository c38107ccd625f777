"""Legal actions at random: the floor of every comparison. Reads nothing but the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jade_env import streams

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn


class RandomPolicy:
    """Draws a candidate, each as likely as any other, from the stream of (seed, pool's seed, turn)."""

    def __init__(self, seed: int = 0) -> None:
        """Make the policy; two with the same seed play alike."""
        self._seed = seed

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return a candidate's number a turn, or in text mode the text that says it."""
        return [self._draw(turn) for turn in turns]

    def _draw(self, turn: Turn) -> Action:
        number = streams.bits("random", self._seed, turn.seed, turn.id) % len(turn.candidates)
        return turn.format(turn.candidates[number]) if turn.mode == "text" else number + 1
