"""The ceiling: what gold-aware choices among the candidates reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from jade_env.errors import ConfigError
from jade_env.policy.ceiling import CeilingPolicy
from jade_env.policy.heuristic import HeuristicPolicy
from jade_env.policy.mixed import MixedPolicy
from jade_env.scenario import load_scenario


def test_ceiling_reaches_95_percent_on_the_world(play, mean_f1) -> None:
    scenario = load_scenario("cooperative")
    assert mean_f1(play(CeilingPolicy(scenario), scenario, "test", 100)) >= 0.95


def test_ceiling_reaches_60_percent_on_hotpotqa(play, mean_f1, shared_data: Path) -> None:
    scenario = load_scenario("hotpotqa")
    episodes = play(CeilingPolicy(scenario, shared_data), scenario, "dev", 200, shared_data)
    assert len(episodes) == 159
    assert mean_f1(episodes) >= 0.6


def test_ceiling_is_worth_more_than_the_heuristic_in_net_score(play) -> None:
    scenario = load_scenario("cooperative", {"data.passages": 1000, "data.train": 100, "data.test": 60})
    best, fixed = (play(kind(scenario), scenario, "test", 60) for kind in (CeilingPolicy, HeuristicPolicy))
    assert sum(e.result.value for e in best) > sum(e.result.value for e in fixed) + 10


def test_ceiling_plays_greedily_below_plans_that_are_not_its_own(play, mean_f1) -> None:
    scenario = load_scenario("cooperative", {"data.passages": 1000, "data.train": 100, "data.test": 60})
    planner = HeuristicPolicy(scenario, pair=(("QDP",), ("QR", "R", "DS", "AG")))
    episodes = play(MixedPolicy({"planner": planner, "default": CeilingPolicy(scenario)}), scenario, "test", 60)
    assert {episode.trace.root.workflow for episode in episodes} == {("QDP",)}
    lists = [episode for episode in episodes if episode.question.is_list]
    assert mean_f1(lists) >= 0.8


def test_ceiling_refuses_questions_of_another_world(play) -> None:
    scenario = load_scenario("cooperative", {"data.passages": 300, "data.test": 10})
    other = load_scenario("cooperative", {"data.passages": 300, "data.test": 10, "data.seed": 9})
    with pytest.raises(ConfigError, match="is not one of cooperative as it was given"):
        play(CeilingPolicy(other), scenario, "test", 2)
