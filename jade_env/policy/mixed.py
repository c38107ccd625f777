"""A team of several policies: a mapping from agents to who plays them. Knows none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jade_env.errors import ConfigError
from jade_env.policy.base import Policy, actions_of

if TYPE_CHECKING:
    from jade_env.envs.turn import Action, Turn

DEFAULT = "default"


class MixedPolicy:
    """Sends every turn to its agent's policy, or its role's, its team's, or the one under `default`; each is asked once for all."""

    def __init__(self, members: Mapping[str, Policy]) -> None:
        """Take the policies by agent, e.g. `{"planner": learner, "default": heuristic}`.

        Raises:
            ConfigError: there is no policy at all.
        """
        if not members:
            raise ConfigError("a mixed policy needs at least one member, such as {'default': policy}")
        self._members = dict(members)

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return one action a turn.

        Raises:
            ConfigError: a turn's agent has no policy and there is no default.
        """
        shares: dict[int, tuple[Policy, list[int]]] = {}  # one share a policy, even one that plays several agents
        for place, turn in enumerate(turns):
            policy = self.member(turn.agent, turn.role, turn.team)
            shares.setdefault(id(policy), (policy, []))[1].append(place)
        actions: list[Action] = [0] * len(turns)
        for policy, places in shares.values():
            for place, action in zip(places, actions_of(policy, [turns[place] for place in places]), strict=True):
                actions[place] = action
        return actions

    @property
    def members(self) -> list[Policy]:
        """All that play, each once, those of mixtures in it too."""
        found: dict[int, Policy] = {}
        for policy in self._members.values():
            inside = policy.members if isinstance(policy, MixedPolicy) else [policy]
            found |= {id(each): each for each in inside}
        return list(found.values())

    def member(self, *names: str) -> Policy:
        """Who plays an agent, which may answer to several names, the most specific first.

        Raises:
            ConfigError: it has no policy and there is no default.
        """
        policy = next((found for name in (*names, DEFAULT) if (found := self._members.get(name))), None)
        if policy is None:
            raise ConfigError(
                f"nobody plays {names[0]}: name its policy, or a {DEFAULT!r} one beside {', '.join(self._members)}"
            )
        return policy
