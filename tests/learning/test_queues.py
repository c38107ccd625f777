"""The tables of the long benchmarks, from made-up results: one that fails after hours of training is found out too late."""

import importlib
import json
from pathlib import Path

import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KINDS = ["direct", "single", "bridge2", "list"]


@pytest.fixture
def module(request, monkeypatch, tmp_path):
    """A benchmark's module, its results in an empty folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.import_module(request.param)
    monkeypatch.setattr(found, "RESULTS", tmp_path)
    return found


def result(net: float, rounds: float = 1.0) -> dict:
    """What a finished arm leaves."""
    played = {"net": [net] * 4, "f1": [net + 0.1] * 4, "kind": KINDS, "workflow": ["AG", "R,AG", "QDS", "QDP"]}
    played |= {"rounds": rounds, "retrievals": rounds, "turns": 5.0, "malformed": 0.0}
    return {"sampled": played, "greedy": played}


def shown(module, *arguments) -> str:
    console = Console(record=True, width=150)
    module.show(*arguments, console)
    return console.export_text()


@pytest.mark.parametrize("module", ["trade_off"], indirect=True)
def test_the_trade_off_says_how_cost_and_what_it_charges_go_together(module):
    assert "nothing is done yet" in shown(module, module.RESULTS)
    for name, file in module.runs(module.RESULTS).items():
        setting = name.removeprefix("trade-").rsplit("-s", 1)[0]
        row = result(0.4, 3.0 - 2.0 * sum(module.SETTINGS[setting]))
        file.write_text(json.dumps({"job": name, "setting": setting, **row}))
    text = shown(module, module.RESULTS)
    assert "Spearman's rho between the cost of rounds and rounds: -1.00 (" in text
    assert (module.RESULTS / "trade_off.png").stat().st_size > 5000


@pytest.mark.parametrize("module", ["credit_rules"], indirect=True)
def test_the_table_of_credit_rules_has_a_line_for_each_rule_that_is_done(module):
    for rule in module.RULES:
        net = 0.5 if rule == "group" else 0.4
        row = {**result(net), "explained_variance": None, "table_explained_variance": 0.1}
        (module.RESULTS / f"credit-{rule}-s0.json").write_text(json.dumps(row))
    text = shown(module, module.RESULTS)
    assert all(rule in text for rule in module.RULES) and "+0.400" in text
    assert "group - tied_group, net, greedy, 1 seed: +0.100 (+0.100 to +0.100)" in text


@pytest.mark.parametrize("module", ["claim"], indirect=True)
def test_the_claim_compares_joint_training_with_every_other_arm_question_by_question(module):
    assert "0 of 8 pairs" in shown(module, "default")
    for seed in module.RL_SEEDS:
        for arm in module.ARMS:
            file = module.Part("default", arm, 0, 0 if arm == "frozen" else seed).result
            device = "cuda" if arm == "frozen" else "cpu"
            file.write_text(json.dumps({**result(0.5 if arm == "jade_joint" else 0.3), "device": device}))
    text = shown(module, "default")
    assert "results made on: cpu (8), cuda (2)" in text
    assert "2 of 8 pairs" in text
    assert "joint - planner_only, net, sampled: +0.200 (+0.200 to +0.200): above 0" in text


@pytest.mark.parametrize("module", ["trade_off"], indirect=True)
def test_a_trade_off_in_which_nothing_differs_has_no_correlation(module):
    for name, file in module.runs(module.RESULTS).items():
        setting = name.removeprefix("trade-").rsplit("-s", 1)[0]
        file.write_text(json.dumps({"job": name, "setting": setting, **result(0.4)}))
    assert "rounds and rounds: +nan" in shown(module, module.RESULTS)


@pytest.mark.parametrize("module", ["claim"], indirect=True)
def test_each_part_of_the_claim_stands_behind_those_it_waits_for(module, tmp_path):
    for study in module.STUDIES:
        there = set()
        for job in (module.job_of(part, tmp_path) for part in module.parts_of(study)):
            assert there.issuperset(job.needs)
            there.add(job.result)
    assert module.backbone_of("default", 0, tmp_path) == "jade-tiny"
    assert module.backbone_of("default", 1, tmp_path) == str(tmp_path / "default-warm-w1-s0" / "backbone")


@pytest.mark.parametrize("module", ["heterogeneous"], indirect=True)
def test_the_table_of_teams_says_what_each_member_is_worth(module):
    row = {"episodes": 10, "moved": [0.1, 0.2]}
    for manner in ("sampled", "greedy"):
        row[manner] = {team: result(0.4 if team == "both trained" else 0.3)[manner] for team in module.TEAMS["two"]}
    (module.RESULTS / "two.json").write_text(json.dumps(row))
    text = shown(module, module.RESULTS)
    assert "discrete: not done yet" in text and "10.0% (executors), 20.0% (planner)" in text
    assert "both trained - planner put back, net, greedy: +0.100 (+0.100 to +0.100): above 0" in text
