"""What anything that plays must do. Knows no particular policy and no environment beyond the `Turn` it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn


@runtime_checkable
class Policy(Protocol):
    """Acts for any roles in any number of episodes at once."""

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return one action a turn, in the same order: text, or a candidate's number.

        An action depends on its own turn alone, never on what else is in the batch.
        """
        ...
