"""The rival paradigms are scenarios: each is a list of workflows, loads, and plays to the end in both modes."""

from __future__ import annotations

from typing import Literal

import pytest

import jade_env
from jade_env.game.episode import Rules
from jade_env.learning.evaluation import evaluate
from jade_env.policy import make_policy
from jade_env.scenario import load_scenario

SMALL = {"data.passages": 300, "data.train": 30, "data.dev": 20}
WORKFLOWS = {
    "static": {("QR", "R", "DS", "AG")},
    "vanilla_rag": {("R", "AG")},
    "no_retrieval": {("AG",)},
    "adaptive": {("AG",), ("R", "AG"), ("QDS",)},
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_paradigm_is_its_workflows_and_nobody_stands_idle(name: str) -> None:
    game = load_scenario(name)
    assert set(game.workflows) == WORKFLOWS[name]
    assert set(Rules.of(game).agents) == set(game.team)
    assert (Rules.of(game).planner is not None) == (len(game.workflows) > 1)


@pytest.mark.parametrize("mode", ["text", "discrete"])
@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_paradigm_plays_in_both_modes_and_only_its_own_workflows(
    name: str, mode: Literal["text", "discrete"]
) -> None:
    game = load_scenario(name, SMALL)
    rows = evaluate(make_policy("random", game), game, "dev", 20, mode=mode)
    assert {tuple(row.workflow.split(",")) for row in rows} <= WORKFLOWS[name]
    assert not any(row.failed or row.malformed for row in rows)
    if name == "no_retrieval":
        assert not any(row.retrievals for row in rows)


def test_paradigms_differ_in_team_and_workflows_alone() -> None:
    trees = [load_scenario(name).model_dump() for name in WORKFLOWS]
    for tree in trees:
        for key in ("name", "summary", "team", "workflows"):
            del tree[key]
    assert all(tree == trees[0] for tree in trees)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jade_check_finds_nothing_wrong_with_a_paradigm(name: str) -> None:
    assert jade_env.check_scenario(name, overrides=SMALL).ok
