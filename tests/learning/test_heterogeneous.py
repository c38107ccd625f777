"""Heterogeneous teams of language models and others: who plays, who learns, from what, and how a run is stopped and read back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from jade_env.envs.pool import make_pool
from jade_env.errors import ConfigError
from jade_env.learning import checkpoint
from jade_env.learning.joint import train_language
from jade_env.learning.language_team import learned_of, specs_of
from jade_env.learning.run_folder import partners_of
from jade_env.learning.trainer import train
from jade_env.policy import make_policy
from jade_env.policy.tiny import make_tiny
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario, load_scenario

KNOBS = {
    "steps": 3, "questions": 2, "plans": 2, "executions": 2, "minibatches": 2, "epochs": 1, "eval_every": 2, "eval_episodes": 4,
    "checkpoint_every": 1, "keep": 9, "slots": 16, "kl": {"default": {"start": 0.1, "end": 0.1}},
}  # fmt: skip
EXECUTORS = ("serial_decomposer", "parallel_decomposer", "query_rewriter", "document_selector", "answer_summarizer")


def moved(folder: Path, number: int) -> dict[bool, bool]:
    """Whether the weights of the first learner, and those of the second, changed between the start and a checkpoint."""
    before, after = checkpoint.load_weights(folder, 0), checkpoint.load_weights(folder, number)
    assert before.keys() == after.keys()
    found = {False: False, True: False}
    for name, tensor in before.items():
        found[":" in name] |= not torch.equal(tensor, after[name])
    return found


def test_two_backbones_learn_at_once_each_with_an_optimizer_of_its_own(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    one, two = backbones
    plan = load_recipe(
        "jade_joint", {**KNOBS, "backbone": one, "policies": {"answer_generator": f"language_model:{two}"}}
    )

    def stop(done: int, total: int) -> None:
        if done > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="from step 1"):
        train_language(game, plan, tmp_path / "stopped", progress=stop)
    stopped = train_language(game, plan, tmp_path / "stopped", resume=True).folder
    run = train_language(game, plan, tmp_path / "run").folder
    assert moved(run, 3) == {False: True, True: True}
    for part in ("policy", "learner"):
        here, there = (getattr(checkpoint.load(folder, 3), part) for folder in (run, stopped))
        assert here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["learner"]["steps"] > 0 and last["learner"][f"language_model:{two}"]["learning_rate"] > 0
    assert (run / "backbone" / "config.json").exists() and (run / "backbone-1" / "config.json").exists()
    policy = make_policy(str(run), game)
    turn = make_pool(game, 1, seed=0, mode="text").turns()[0]
    assert policy.act([turn]) and policy.member("answer_generator").backbone.causal.config.hidden_size == 48  # type: ignore[attr-defined]
    assert policy.member("planner").backbone.causal.config.hidden_size == 32  # type: ignore[attr-defined]


def test_a_frozen_backbone_stays_beside_one_that_learns(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    one, two = backbones
    changes = {
        "backbone": one,
        "policies": {"default": f"language_model:{two}", "planner": "self"},
        "train": ["planner"],
    }
    run = train_language(game, load_recipe("jade_joint", {**KNOBS, **changes, "steps": 1}), tmp_path / "run").folder
    assert moved(run, 1) == {False: True, True: False}
    assert not any(":" in name for name in checkpoint.load_weights(run, 1)), "what does not learn is not kept"
    for greedy in (True, False):
        team = make_policy(str(run), game, greedy=greedy)
        assert {team.member(agent).manner.greedy for agent in ("planner", *EXECUTORS)} == {greedy}  # type: ignore[attr-defined]


def test_a_planner_of_numbered_candidates_leads_executors_that_write(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    short = {
        "total_timesteps": 256,
        "n_envs": 8,
        "n_steps": 32,
        "batch_size": 64,
        "eval_every": 256,
        "eval_episodes": 4,
    }
    planner = train(game, load_recipe("sb3_shared", {**short, "train": ["planner"]}), tmp_path / "planner").folder
    plan = load_recipe(
        "jade_joint", {**KNOBS, "backbone": backbones[0], "policies": {"planner": f"sb3:{planner}"}, "steps": 2}
    )
    run = train_language(game, plan, tmp_path / "run").folder
    config = json.loads((run / "config.json").read_text())
    assert config["learned"] == [agent for agent in config["agents"] if agent != "planner"]
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert "planner" not in last["roles"] and last["roles"]
    policy = make_policy(str(run), game)
    actions = policy.act(make_pool(game, 4, seed=0, mode="text").turns())
    assert all(isinstance(action, int) for action in actions), "the planner chooses by number"
    for path in (planner / "checkpoints").glob("*/policy.safetensors"):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ConfigError, match=f"begun beside checkpoint .*, of sb3:{planner}, which plays by"):
        train_language(game, plan.model_copy(update={"steps": 3}), run, resume=True)


def test_a_run_does_not_go_on_beside_another_model_of_a_server(tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    held = []
    for changes in ("model: one", "model: one\ntimeout: 5", "model: two"):
        file.write_text(f"learner: remote_chat\nbase_url: http://127.0.0.1:9/v1\n{changes}\n")
        held.append(partners_of([f"planner=remote_chat:{file},default=random", "self"]))
    assert list(partners_of(["planner=remote_chat,default=random"])) == ["remote_chat"]
    assert list(held[0]) == [f"remote_chat:{file}"] and held[0] == held[1] != held[2]


def test_a_fixed_plan_that_cannot_be_played_is_refused_before_anything_is(game: Scenario, tmp_path: Path) -> None:
    for plan in (["QR,AG,R"], ["QDS"], ["QDS", "QDP"]):
        with pytest.raises(ConfigError, match="fixed_plan: .* is not legal: .*R,AG"):
            train_language(game, load_recipe("jade_joint", {"fixed_plan": plan, "steps": 1}), tmp_path / "run")
    with pytest.raises(ConfigError, match='fixed_plan: "QDS" is not legal'):  # at the limit of depth
        learned_of(load_scenario("deep"), load_recipe("jade_joint", {"fixed_plan": ["QDS"]}))
    assert not (tmp_path / "run").exists()


def test_agents_are_told_apart_by_name_role_and_team(backbones: tuple[str, str], game: Scenario) -> None:
    one, two = backbones
    plan = load_recipe(
        "jade_joint", {"backbone": one, "policies": {"blue": f"language_model:{two}", "red_planner": "heuristic"}}
    )
    duel = load_scenario("duel")
    specs = specs_of(duel, plan)
    assert specs["red_planner"] == "heuristic" and specs["red_answer_generator"] == "self"
    assert {spec for agent, spec in specs.items() if agent.startswith("blue")} == {f"language_model:{two}"}
    assert set(learned_of(duel, plan)) == set(specs) - {"red_planner"}
    with pytest.raises(ConfigError, match="policies: 'planer' is not in the team"):
        specs_of(game, load_recipe("jade_joint", {"policies": {"planer": "heuristic"}}))
    with pytest.raises(ConfigError, match="planner is played by heuristic, which does not learn here"):
        learned_of(game, load_recipe("jade_joint", {"policies": {"planner": "heuristic"}, "train": ["planner"]}))
    for nobody in ({"policies": {"default": "heuristic"}}, {"train": ["planner"], "fixed_plan": ["R,AG", "R,AG"]}):
        with pytest.raises(ConfigError, match="nobody would learn"):
            learned_of(game, load_recipe("jade_joint", nobody))
    assert learned_of(game, load_recipe("frozen")) == ()


def test_a_run_is_read_back_over_the_model_it_began_with_or_its_own_copy_and_over_no_other(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    place = tmp_path / "model"
    shutil.copytree(backbones[0], place)
    knobs = {**KNOBS, "steps": 1, "backbone": str(place)}
    whole = train_language(game, load_recipe("jade_joint", knobs), tmp_path / "whole").folder
    adapted = train_language(game, load_recipe("jade_joint", {**knobs, "lora": {"rank": 2}}), tmp_path / "lora").folder
    turn = make_pool(game, 1, seed=0, mode="text").turns()[0]
    before = make_policy(str(whole), game).act([turn])
    make_tiny(5, width=32, layers=1, inner=32).save(place)
    assert make_policy(str(whole), game).act([turn]) == before, "its own copy has the weights and the words"
    with pytest.raises(ConfigError, match="was trained from .*, which holds another model now"):
        make_policy(str(adapted), game)
    with pytest.raises(ConfigError, match="backbones.self.holds: the run was begun with"):
        train_language(game, load_recipe("jade_joint", {**knobs, "steps": 2}), whole, resume=True)
    shutil.rmtree(place)
    assert make_policy(str(whole), game).act([turn]) == before
    with pytest.raises(ConfigError, match="is not there any more; if it has moved, JADE_MODELS says into which folder"):
        make_policy(str(adapted), game)


def test_a_model_that_has_moved_is_found_where_the_environment_says_and_by_what_it_holds(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, moved = tmp_path / "model", tmp_path / "models" / "model"
    shutil.copytree(backbones[0], place)
    knobs = {**KNOBS, "steps": 1, "backbone": str(place), "lora": {"rank": 2}}
    run = train_language(game, load_recipe("jade_joint", knobs), tmp_path / "run").folder
    turn = make_pool(game, 1, seed=0, mode="text").turns()[0]
    before = make_policy(str(run), game).act([turn])
    shutil.move(place, moved)
    monkeypatch.setenv("JADE_MODELS", str(moved.parent))
    assert make_policy(str(run), game).act([turn]) == before
    train_language(game, load_recipe("jade_joint", {**knobs, "steps": 2, "backbone": str(moved)}), run, resume=True)
    monkeypatch.delenv("JADE_MODELS")
    make_policy(str(run), game)  # a resumed run notes the new place
    make_tiny(5, width=32, layers=1, inner=32).save(moved)
    for backbone in (str(moved), backbones[1]):
        other = load_recipe("jade_joint", {**knobs, "steps": 3, "backbone": backbone})
        with pytest.raises(ConfigError, match=r"cannot go on with"):
            train_language(game, other, run, resume=True)
