"""A team named in words or as a mapping, `planner=runs/p1,default=heuristic`: who plays whom, checked before anybody plays.

Knows agents and specs; what a spec makes is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from jade_env.config import nearest
from jade_env.errors import ConfigError
from jade_env.game.episode import Rules
from jade_env.policy import REMOTE
from jade_env.policy.base import Policy
from jade_env.policy.mixed import DEFAULT, MixedPolicy
from jade_env.scenario import Scenario


def read_team(words: str) -> dict[str, str]:
    """Turn `planner=runs/p1,default=heuristic` into a mapping.

    Raises:
        ConfigError: a part is not AGENT=POLICY, or an agent stands twice.
    """
    team: dict[str, str] = {}
    for part in words.split(","):
        agent, equals, spec = (piece.strip() for piece in part.partition("="))
        if not (agent and equals and spec):
            raise ConfigError(f"{part!r}: expected AGENT=POLICY, such as planner=runs/p1,default=heuristic")
        if agent in team:
            raise ConfigError(f"{words!r}: {agent} is named twice")
        team[agent] = spec
    return team


def members_of(policy: str) -> dict[str, str]:
    """Who plays whom, where a policy is a team in words; empty where it is none.

    Raises:
        ConfigError: it is a team that is not written as one.
    """
    alone = "=" not in policy or policy.startswith(f"{REMOTE}:") or Path(policy).is_dir()
    return {} if alone else read_team(policy)


def players_of(policy: str) -> list[str]:
    """The specs that a policy names, each once: those of a team's members, or its own."""
    return list(dict.fromkeys(members_of(policy).values() or [policy]))


def make_team(
    members: Mapping[str, Any],
    scenario: Scenario,
    make: Callable[[Any, Collection[str]], Policy],
    played: Collection[str] | None = None,
) -> MixedPolicy:
    """Make every member, each once however many agents it plays.

    Args:
        members: by agent (in a duel also by role or side), or under `default`: a policy, or what `make` makes one of.
        scenario: whose agents they play.
        make: makes a policy of a spec, for the roles that it will play.
        played: the roles that somebody has to play; all where not given.

    Raises:
        ConfigError: an agent is not in the scenario, or one of it would have nobody.
    """
    agents = Rules.names(scenario)
    known = [*dict.fromkeys(name for names in agents.values() for name in names), DEFAULT]
    for name in members:
        if name not in known:
            hint = nearest(str(name), known)
            raise ConfigError(f"{name!r} has no turns in {scenario.name}{hint}; those who have: {', '.join(known)}")
    role = {rules.agent(card): card.name for rules in Rules.sides(scenario) for card in scenario.cards.values()}
    if played is not None:
        agents = {agent: names for agent, names in agents.items() if role[agent] in played}
    left = [agent for agent, names in agents.items() if not members.keys() & {*names, DEFAULT}]
    if left:
        raise ConfigError(f"nobody plays {', '.join(left)}: name their policy, or a {DEFAULT!r} one")
    chosen = {agent: next(name for name in (*names, DEFAULT) if name in members) for agent, names in agents.items()}
    made: dict[str, Policy] = {}
    team: dict[str, Policy] = {}
    for name, spec in members.items():
        if isinstance(spec, type):
            raise ConfigError(f"{name}: {spec.__name__} is a class: give an instance of it")
        if isinstance(spec, Policy):
            team[name] = spec
        else:
            if str(spec) not in made:
                its = {role[agent] for agent, by in chosen.items() if str(members[by]) == str(spec)}
                made[str(spec)] = make(spec, its)
            team[name] = made[str(spec)]
    return MixedPolicy(team)


def unlearned(run: Any, learned: Iterable[str], roles: Iterable[str]) -> ConfigError:
    """That a run cannot play roles which it has not learned, and how others play them beside it."""
    known = list(learned)
    return ConfigError(
        f"{run} has learned {', '.join(known)}, and cannot play {', '.join(roles)}: "
        f"name who plays them, as in {known[0]}={run},default=heuristic"
    )
