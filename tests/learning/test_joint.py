"""Joint training of a language model: it runs, it goes on exactly where it was stopped, and it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jade_env.envs.pool import make_pool
from jade_env.errors import ConfigError, DataError, JadeError
from jade_env.language_recipe import PpoRecipe
from jade_env.learning import checkpoint, joint
from jade_env.learning.evaluation import evaluate
from jade_env.learning.joint import train_language
from jade_env.learning.learner import Learner
from jade_env.learning.memory_plan import dry_run
from jade_env.learning.rollout import collect
from jade_env.policy import make_policy
from jade_env.policy.backbone import load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.tiny import make_tiny
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario, load_scenario

WORLD = {"data.passages": 200, "data.train": 40, "data.dev": 8, "data.test": 8}
KNOBS = {
    "steps": 3, "questions": 2, "plans": 2, "executions": 2, "minibatches": 2, "epochs": 1, "eval_every": 2, "eval_episodes": 4,
    "checkpoint_every": 1, "slots": 16,
}  # fmt: skip


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("backbone")
    make_tiny(0, width=32, layers=1, inner=32).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def game() -> Scenario:
    return load_scenario("cooperative", WORLD)


def recipe(backbone: str, name: str = "jade_joint", **changes: object) -> PpoRecipe:
    found = load_recipe(name, {**KNOBS, "backbone": backbone, **changes})
    assert isinstance(found, PpoRecipe)
    return found


def weights(run: Path, which: int = -1) -> dict[str, torch.Tensor]:
    return checkpoint.load_weights(run, checkpoint.saved_timesteps(run)[which])


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(backbone: str, game: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train_language(game, recipe(backbone), out)
    return out


def test_a_run_leaves_everything_and_its_metrics_name_every_role(whole: Path) -> None:
    assert {path.name for path in whole.iterdir()} >= {
        "config.json", "metrics.jsonl", "run.json", "checkpoints", "tensorboard", "traces", "learning_curve.png", "backbone"
    }  # fmt: skip
    records = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [record["timesteps"] for record in records] == [0, 1, 2, 3]
    last = records[-1]
    assert {"net", "outcome", "cost", "penalty", "rounds", "retrievals", "ds_use", "workflows", "malformed"} <= set(
        last["played"]
    )
    assert {"planner", "answer_generator"} <= set(last["roles"])
    assert {"malformed", "length", "cut", "entropy", "clip_fraction"} <= set(last["roles"]["planner"])
    assert "kl" in records[1]["roles"]["planner"] and "kl" not in last["roles"]["planner"]  # it is held at first only
    assert last["learner"]["steps"] == 2 and last["dev"]["episodes"] == 4
    assert len(checkpoint.saved_timesteps(whole)) <= 3


def test_a_warning_that_goes_on_or_comes_and_goes_is_said_once(
    backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    found = iter([["a: 1 %", "b: 2"], ["a: 3 %"], [], ["a: 4 %", "b: 5"], []])
    monkeypatch.setattr(joint.health, "warnings", lambda *_: next(found))
    monkeypatch.setattr(joint, "REPEAT", 2)
    train_language(game, recipe(backbone, steps=5), tmp_path / "run", notice=said.append)
    assert said == ["step 1: a: 1 %", "step 1: b: 2", "step 4: b: 5"]


def test_training_changes_the_weights_and_not_those_it_began_with(whole: Path, backbone: str) -> None:
    assert not same(weights(whole), weights(whole, 0))


def test_a_run_that_was_killed_at_any_moment_ends_as_an_unbroken_one_to_the_last_bit(
    whole: Path, backbone: str, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    overrides = [f"{key}={value}" for key, value in {**KNOBS, **WORLD, "backbone": backbone}.items()]
    command = [
        sys.executable,
        "-m",
        "jade_env.cli",
        "train",
        "cooperative",
        "--policy",
        "jade_joint",
        "--out",
        str(out),
    ]
    process = subprocess.Popen([*command, *overrides], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / f"{1:09d}").is_dir():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (out / "run.json").exists()
    subprocess.run([*command, "--resume", *overrides], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert same(weights(out), weights(whole))
    figures = [(out / "metrics.jsonl").read_text(), (whole / "metrics.jsonl").read_text()]
    played = [[json.loads(line).get("played") for line in text.splitlines()] for text in figures]
    assert played[0] == played[1]


def test_a_run_stopped_by_ctrl_c_says_how_to_go_on(backbone: str, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    overrides = [f"{key}={value}" for key, value in {**KNOBS, **WORLD, "backbone": backbone, "steps": 200}.items()]
    command = [
        sys.executable,
        "-m",
        "jade_env.cli",
        "train",
        "cooperative",
        "--policy",
        "jade_joint",
        "--out",
        str(out),
    ]
    process = subprocess.Popen([*command, *overrides], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / f"{1:09d}").is_dir():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "can be gone on with from step" in said and "Traceback" not in said


@pytest.mark.parametrize("playing", [True, False])
def test_an_interrupted_run_keeps_every_step_that_is_done(
    playing: bool, backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the third step is played, two are kept; while it learns, it is finished and kept; a second signal stops at once."""
    knobs = {"steps": 5, "checkpoint_every": 9, "eval_every": 9}
    train_language(game, recipe(backbone, **knobs), tmp_path / "unbroken")
    where = joint if playing else Learner
    name = "collect" if playing else "learn"
    whole, calls, said = getattr(where, name), list[int](), list[str]()

    def interrupting(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return whole(*given)

    monkeypatch.setattr(where, name, interrupting)
    kept = 2 if playing else 3
    with pytest.raises(KeyboardInterrupt, match=f"can be gone on with from step {kept} by"):
        train_language(game, recipe(backbone, **knobs), tmp_path / "broken", notice=said.append)
    assert sum("stopping when this step is done" in sentence for sentence in said) == 1 - playing
    monkeypatch.undo()
    train_language(game, recipe(backbone, **knobs), tmp_path / "broken", resume=True)
    one, other = (checkpoint.load_weights(tmp_path / run, 5) for run in ("broken", "unbroken"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_second_signal_stops_at_once_and_leaves_the_last_checkpoint(
    backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*given: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Learner, "learn", twice)
    with pytest.raises(KeyboardInterrupt, match="from step 0 by"):
        train_language(game, recipe(backbone, steps=2), tmp_path / "run")


def test_a_step_that_was_all_cut_short_loses_none_before_it(
    backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(backbone, steps=4, checkpoint_every=4, eval_every=4)
    steps = 0

    def cut_short(*args: Any) -> Any:
        nonlocal steps
        steps += 1
        rollout = collect(*args)
        if steps == 3:
            for episode in rollout.episodes:
                episode.payoffs.clear()
                episode.truncated = "nobody answers at http://127.0.0.1:9"
        return rollout

    monkeypatch.setattr(joint, "collect", cut_short)
    with pytest.raises(
        JadeError, match="every episode of step 3 was cut short.*nobody answers at http://127.0.0.1:9; --resume"
    ):
        train_language(game, plan, tmp_path / "run")
    assert checkpoint.saved_timesteps(tmp_path / "run") == [0, 2]
    monkeypatch.undo()
    train_language(game, plan, tmp_path / "run", resume=True)
    train_language(game, plan, tmp_path / "unbroken")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "unbroken"))


def test_a_rollout_that_fails_leaves_the_model_ready_for_the_next(backbone: str, game: Scenario) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    player = LanguageModelPolicy(load_backbone(backbone, device="cpu"), Manner("brief"))
    pool = make_pool(game, 8, seed=0, mode="text")
    with pytest.raises(
        ConfigError, match="nobody plays query_rewriter, .*: players needs a policy for each of planner"
    ):
        collect(pool, {"planner": player}, 0, 8)
    with pytest.raises(KeyboardInterrupt):
        collect(pool, dict.fromkeys(pool.agents, player), 0, 8, interrupt)
    assert not player.generator.pending and len(evaluate(player, game, "dev", 2)) == 2
    pool.seek(8)
    with pytest.raises(
        JadeError, match="8 episodes cannot go on: .*; the pool is at episode 8, so give first=8, or seek"
    ):
        collect(pool, dict.fromkeys(pool.agents, player), 0, 8)


def test_steps_may_be_raised_on_resume_and_nothing_else(backbone: str, game: Scenario, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_language(game, recipe(backbone, steps=1), out)
    with pytest.raises(ConfigError, match="clip"):
        train_language(game, recipe(backbone, clip=0.1), out, resume=True)
    done = train_language(game, recipe(backbone, steps=2), out, resume=True)
    assert done.timesteps == 2
    with pytest.raises(DataError, match="not empty"):
        train_language(game, recipe(backbone), out)


@pytest.mark.parametrize(
    ("name", "still"),
    [("planner_only", "answer_generator"), ("executors_only", "planner"), ("static_joint", "planner")],
)
def test_paradigms_train_whom_they_say(name: str, still: str, backbone: str, game: Scenario, tmp_path: Path) -> None:
    done = train_language(game, recipe(backbone, name, steps=1, kl={"default": {"start": 0.0}}), tmp_path / "run")
    config = json.loads((done.folder / "config.json").read_text())
    assert still not in config["learned"] and config["learned"]
    rows = evaluate(make_policy(done.folder, game), game, "dev", 4)
    assert len(rows) == 4
    if name == "static_joint":
        assert {row.workflow for row in rows} == {"QDP"}


@pytest.mark.parametrize("name", ["qwen2.5-7b", "qwen2.5-7b-lora"])
def test_what_is_made_for_a_large_model_runs_as_it_is_on_a_small_one(
    name: str, backbone: str, game: Scenario, tmp_path: Path
) -> None:
    small = {"steps": 1, "questions": 4, "eval_episodes": 4, "checkpoint_every": 1, "max_prompt": 900}
    plan = load_recipe(name, {"backbone": backbone, **small})
    assert isinstance(plan, PpoRecipe)
    run = train_language(game, plan, tmp_path / "run").folder
    assert not same(weights(run, 0), weights(run))
    moments = checkpoint.load(run, 1).learner
    assert any(key.startswith("critic") for key in moments) == (name == "qwen2.5-7b")
    assert all(
        key.endswith("step") or moment.dtype == torch.float32 for key, moment in moments.items() if "optim" in key
    )


def test_fp16_is_refused_for_training_and_taken_for_playing(backbone: str, game: Scenario, tmp_path: Path) -> None:
    refused = r"dtype: fp16 is for playing.*train with dtype=bf16"
    with pytest.raises(ConfigError, match=refused):
        train_language(game, recipe(backbone, dtype="fp16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=refused):
        dry_run(game, recipe(backbone, dtype="fp16"))
    done = train_language(game, recipe(backbone, "frozen", steps=1, dtype="fp16"), tmp_path / "frozen")
    assert {tensor.dtype for tensor in weights(done.folder).values()} >= {torch.float16}
    assert len(evaluate(make_policy(done.folder, game), game, "dev", 4)) == 4


def test_a_frozen_team_stays_as_it_was(backbone: str, game: Scenario, tmp_path: Path) -> None:
    done = train_language(game, recipe(backbone, "frozen", steps=1), tmp_path / "run")
    assert same(weights(done.folder), weights(done.folder, 0))


@pytest.mark.parametrize(
    "knobs",
    [
        {"credit": "episode_gae", "critic": "head"},
        {"credit": "episode_gae", "critic": "separate", "critic_epochs": 2},
        {"credit": "broadcast", "critic": "separate"},
        {"credit": "broadcast", "critic": "head"},
        {"credit": "group"},
        {"credit": "leave_one_out", "plans": 4, "executions": 1},
    ],
)
def test_every_credit_rule_trains_and_a_critic_is_reported_beside_a_table(
    knobs: dict[str, object], backbone: str, game: Scenario, tmp_path: Path
) -> None:
    done = train_language(game, recipe(backbone, steps=2, **knobs), tmp_path / "run")
    last = json.loads((done.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("table_explained_variance" in last["learner"]) == ("critic" in knobs)


@pytest.mark.parametrize(
    "knobs",
    [
        {"credit": "episode_gae", "critic": "separate", "train_embeddings": True},
        {"credit": "episode_gae", "critic": "separate", "train_embeddings": False},
        {"lora": {"rank": 2, "alpha": 4}},
        {"dtype": "bf16", "credit": "leave_one_out"},
        {"dtype": "bf16", "credit": "broadcast", "critic": "separate", "offload": True},
    ],
)
def test_a_stopped_run_goes_on_with_its_critic_its_adapters_and_its_float32_copies_to_the_last_bit(
    knobs: dict[str, object], backbone: str, game: Scenario, tmp_path: Path
) -> None:
    plan = recipe(backbone, **knobs)

    def stop(done: int, total: int) -> None:
        if done > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="from step 1"):
        train_language(game, plan, tmp_path / "stopped", progress=stop)
    train_language(game, plan, tmp_path / "stopped", resume=True)
    train_language(game, plan, tmp_path / "unbroken")
    assert same(weights(tmp_path / "stopped"), weights(tmp_path / "unbroken"))
    moments = [checkpoint.load(tmp_path / name, 3).learner for name in ("stopped", "unbroken")]
    assert same(dict(moments[0]), dict(moments[1]))


def test_a_run_goes_on_with_knobs_that_were_not_there_when_it_began_if_they_are_off(
    whole: Path, backbone: str, game: Scenario, tmp_path: Path
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    config = json.loads((whole / "config.json").read_text())
    assert config["recipe"].pop("offload") is False
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="recipe.offload: the run was begun with None"):
        train_language(game, recipe(backbone, offload=True), tmp_path / "run", resume=True)
    mute = {
        "default": 1.0,
        "planner": 4.0,
        "answer_generator": 0.0,
    }  # an entry of a table that was there is no new knob
    with pytest.raises(ConfigError, match=r"recipe.loss_weights.answer_generator: the run was begun with None"):
        train_language(game, recipe(backbone, loss_weights=mute), tmp_path / "run", resume=True)
    assert train_language(game, recipe(backbone), tmp_path / "run", resume=True).timesteps == 3


@pytest.mark.parametrize("sharing", ["all", "per_role"])
def test_adapters_learn_and_the_model_under_them_does_not(
    sharing: str, backbone: str, game: Scenario, tmp_path: Path
) -> None:
    plan = recipe(backbone, steps=1, lora={"rank": 2, "alpha": 4}, sharing=sharing, learning_rate=0.01)
    done = train_language(game, plan, tmp_path / "run")
    learned = weights(done.folder)
    assert all("lora_" in name or name.startswith("head.") for name in learned)
    adapters = {name.split(".")[-2] for name in learned if "lora_" in name}
    written = {file.parent.name for file in (tmp_path / "run" / "adapter").rglob("adapter_model.safetensors")}
    assert written == (adapters if len(adapters) > 1 else {"adapter"})
    assert len(adapters) == (1 if sharing == "all" else 7)
    assert len(evaluate(make_policy(done.folder, game, greedy=False), game, "dev", 4)) == 4


@pytest.mark.parametrize("lora", [None, {"rank": 2, "alpha": 4}], ids=["whole", "lora"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_an_ordinary_hugging_face_model_trains_unchanged(
    family: str, lora: object, folders: dict[str, Path], game: Scenario, tmp_path: Path
) -> None:
    knobs = {
        "overlong": "truncate",
        "learning_rate": 0.01,
        "fixed_plan": ["R,AG"],
        "eval_episodes": 1,
        "entropy": {"default": 0.1},
    }
    plan = recipe(str(folders[family]), lora=lora, steps=2, questions=1, **knobs)
    done = train_language(game, plan, tmp_path / "run")
    assert done.timesteps == 2 and not same(weights(done.folder), weights(done.folder, 0))
    if lora is None:
        assert AutoModelForCausalLM.from_pretrained(done.folder / "backbone").config.model_type == family


def test_lora_on_layers_that_are_not_there_names_those_that_are(backbone: str, game: Scenario, tmp_path: Path) -> None:
    plan = recipe(backbone, lora={"modules": ["attention"]})
    with pytest.raises(ConfigError, match=r"attention.* has down_proj.*q_proj"):
        train_language(game, plan, tmp_path / "run")


def test_a_backbone_that_is_not_there_is_one_sentence(game: Scenario, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        train_language(game, recipe(str(tmp_path / "nothing")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prompt_that_is_too_long_names_role_and_question_or_loses_documents(
    backbone: str, game: Scenario, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"answer_generator, question \w+: the prompt has \d+ tokens and 60 fit: raise max"
    ):
        train_language(game, recipe(backbone, max_prompt=60, fixed_plan=["R,AG"]), tmp_path / "error")
    done = train_language(
        game, recipe(backbone, max_prompt=60, overlong="truncate", fixed_plan=["R,AG"], steps=1), tmp_path / "cut"
    )
    last = json.loads((done.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["played"]["truncated_prompts"] > 0


def test_only_the_role_with_a_budget_is_refused_or_loses_documents(
    backbone: str, game: Scenario, tmp_path: Path
) -> None:
    fixed = {"fixed_plan": ["R,DS,AG"], "steps": 1}
    with pytest.raises(ConfigError, match=r"answer_generator, question \w+: the prompt has \d+ tokens and 50 fit"):
        train_language(game, recipe(backbone, **{"max_prompt.answer_generator": 50}, **fixed), tmp_path / "error")
    plan = recipe(backbone, **{"max_prompt.answer_generator": 50, "overlong": "truncate"}, **fixed)
    done = train_language(game, plan, tmp_path / "cut")
    last = json.loads((done.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["played"]["truncated_prompts"] <= last["roles"]["answer_generator"]["turns"]


def test_roles_at_different_temperatures_learn_from_the_log_probabilities_that_they_drew_with(
    backbone: str, game: Scenario, tmp_path: Path
) -> None:
    table = {"temperature": {"default": 0.8, "planner": 3.0}, "constrained": ["planner"], "minibatches": 1}
    run = train_language(game, recipe(backbone, steps=2, **table), tmp_path / "run").folder
    with pytest.raises(ConfigError, match="temperature"):
        train_language(game, recipe(backbone, **table, **{"temperature.planner": 2.0}), run, resume=True)
    train_language(game, recipe(backbone, **table), run, resume=True)
    learned = [json.loads(line).get("learner", {}) for line in (run / "metrics.jsonl").read_text().splitlines()]
    ratios = [figures["ratio_max"] for figures in learned if "ratio_max" in figures]
    assert len(ratios) == 3 and ratios == pytest.approx([1.0] * 3, abs=1e-3)


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_good_checkpoint(
    backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(
        backbone, steps=3, learning_rate=1.0, max_grad_norm=1e38, warmup=0.0, minibatches=8, epochs=8, clip=0.99
    )
    out = tmp_path / "run"
    from jade_env.learning import ppo

    real = ppo.clipped_policy_loss
    calls = {"n": 0}

    def spoilt(*args: torch.Tensor) -> torch.Tensor:
        calls["n"] += 1
        return real(*args) * (float("nan") if calls["n"] > 20 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(ppo, "clipped_policy_loss", spoilt)
    with pytest.raises(JadeError, match="last good checkpoint is that of step"):
        train_language(game, plan, out)
    assert all(torch.isfinite(t).all() for t in weights(out).values())


def test_an_agent_whose_model_has_no_words_for_its_tags_is_named_when_training_begins(
    backbone: str, game: Scenario, tmp_path: Path
) -> None:
    alone = load_scenario("monolithic", WORLD)
    make_tiny(0, width=32, layers=1, inner=32, kinds=alone.kinds).save(tmp_path / "model")
    said: dict[str, list[str]] = {"mute": [], "speaks": [], "team": []}
    plans = {"mute": backbone, "speaks": str(tmp_path / "model"), "team": backbone}
    for name, place in plans.items():
        changes = {"steps": 1} if name == "team" else {"steps": 1, "loss_weights": {"default": 1.0}, "kl": {}}
        played = game if name == "team" else alone
        train_language(played, recipe(place, **changes), tmp_path / name, notice=said[name].append)
    mute = {name: [sentence for sentence in found if "has no words" in sentence] for name, found in said.items()}
    assert not mute["speaks"] and not mute["team"]
    assert len(mute["mute"]) == 1 and "solver has to write <search>" in mute["mute"][0]
    assert backbone in mute["mute"][0]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("jade_env.learning.joint.collect", "playing ran out of memory: lower slots, or max_prompt"),
        ("jade_env.learning.joint.evaluate", "playing ran out of memory: lower slots, or max_prompt"),
        ("jade_env.learning.learner.values_of", "the update ran out of memory: lower token_budget"),
        ("jade_env.learning.learner.backbone_of", "the models do not fit in memory: take a smaller backbone"),
        ("jade_env.learning.learner.copy.deepcopy", "the models do not fit in memory: take a smaller backbone"),
    ],
)
def test_wherever_memory_ends_it_is_said_what_to_lower(
    where: str, what: str, backbone: str, game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        torch.empty(2**52)

    plan = recipe(backbone, steps=1, credit="episode_gae", critic="separate")
    monkeypatch.setattr(where, full)
    with pytest.raises(JadeError, match=what):
        train_language(game, plan, tmp_path / "run")
