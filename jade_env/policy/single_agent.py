"""One role as a Gymnasium environment, its partners named as policies. The environment itself is `envs/single_agent.py`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jade_env.envs.single_agent import SingleAgentEnv
from jade_env.policy import make_policy
from jade_env.policy.base import Policy, actions_of
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario, as_scenario


def single_agent_env(
    agent: str = "planner",
    scenario: str | Path | Scenario = "cooperative",
    partners: str | Path | Mapping[str, Any] | Policy = "heuristic",
    *,
    mode: Mode | None = None,
    split: str = "train",
    seed: int = 0,
    data: str | Path | None = None,
    render_mode: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    retriever: Retriever | None = None,
) -> SingleAgentEnv:
    """Make a Gymnasium environment for one role of a team.

    Args:
        agent: the role to play.
        scenario: a shipped name, a path, or a loaded scenario.
        partners: who plays the other roles: a policy, or what `make_policy` makes one of.
        mode: replaces the scenario's mode for all agents.
        split: `train`, `dev`, `test`, or any file stem of the data folder.
        seed: seed of the order of questions and of the partners' draws.
        data: the data location for scenarios with files; else JADE_DATA.
        render_mode: `ansi`, `human` or `rgb_array`.
        overrides: dotted keys, e.g. `{"reward.round_cost": 0.1}`.
        retriever: one of your own in place of the scenario's, with `search` and `identity` (`jade_env.retrieval.Retriever`).

    Raises:
        ConfigError: the scenario has no such agent, or an argument is not valid.
        DataError: its data cannot be read.
    """
    loaded = as_scenario(scenario, mode, overrides)
    others = set(loaded.cards) - {agent}
    policy = make_policy(partners, loaded, data=data, seed=seed, roles=others, retriever=retriever)
    return SingleAgentEnv(
        agent,
        loaded,
        partial(actions_of, policy),
        split=split,
        seed=seed,
        data=data,
        render_mode=render_mode,
        retriever=retriever,
    )
