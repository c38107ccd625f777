"""What anything that plays must do. Knows no particular policy and no environment beyond the `Turn` it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jade_env.errors import ConfigError

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


def actions_of(policy: Policy, turns: Sequence[Turn]) -> list[Action]:
    """What a policy, which may be a user's own, does on each of some turns.

    Raises:
        ConfigError: it is no policy, or does not give one action a turn.
    """
    who = type(policy).__name__
    if not callable(getattr(policy, "act", None)):
        raise ConfigError(f"{who} is no policy: it needs act(turns), which gives a list of one action a turn")
    actions = policy.act(turns)
    if isinstance(actions, str) or not hasattr(actions, "__len__") or len(actions) != len(turns):
        found = f"{len(actions)} actions" if isinstance(actions, list | tuple) else f"a {type(actions).__name__}"
        raise ConfigError(f"act of {who} gave {found} for {len(turns)} turns: a list of one action a turn is needed")
    return list(actions)
