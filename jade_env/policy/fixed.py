"""A planner that always plans the same: the fixed chains that joint training is compared with. Knows no gold and no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jade_env.errors import ConfigError
from jade_env.game.workflow import codes

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn


class FixedPlanner:
    """Plans original questions one way and sub-questions another, by `"QDS"` and `"R,AG"` for instance.

    Args:
        root: the workflow of original questions.
        below: that of sub-questions; the same where it is empty.
    """

    def __init__(self, root: str, below: str = "") -> None:
        self._root, self._below = codes(root), codes(below or root)

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the workflow of each turn as text.

        Raises:
            ConfigError: a turn is not a planner's, or the workflow is not legal there.
        """
        return [self._plan(turn) for turn in turns]

    def _plan(self, turn: Turn) -> Action:
        workflow = self._below if turn.node.parent else self._root
        if turn.kind != "workflow":
            raise ConfigError(f"a fixed plan cannot play {turn.agent}, which writes {turn.kind}")
        if workflow not in turn.view.workflows:
            legal = ", ".join(f'"{",".join(chain)}"' for chain in turn.view.workflows)
            raise ConfigError(f'fixed_plan: "{",".join(workflow)}" is not legal here; one of {legal} is')
        return turn.format(workflow)
