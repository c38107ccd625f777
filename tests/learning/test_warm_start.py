"""Warm starts: lessons from a teacher, supervised learning that goes on exactly, and the checkpoint that the package ships."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jade_env.errors import ConfigError
from jade_env.hub import SHIPPED, shipped_folder
from jade_env.language_recipe import WarmStartRecipe
from jade_env.learning import checkpoint
from jade_env.learning.economy import recomputing
from jade_env.learning.evaluation import evaluate
from jade_env.learning.lessons import chapter
from jade_env.learning.warm_start import supervised, warm_start
from jade_env.policy import make_policy
from jade_env.policy.backbone import DTYPES, load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.tiny import begin, make_tiny, make_tokenizer
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario, load_scenario

KNOBS = {
    "steps": 6,
    "practice": 2,
    "batch_size": 8,
    "chapter": 12,
    "eval_every": 3,
    "eval_episodes": 4,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def game() -> Scenario:
    return load_scenario("small_world", {"data.passages": 200, "data.train": 40, "data.dev": 8})


def recipe(**changes: object) -> WarmStartRecipe:
    found = load_recipe("jade_tiny", {**KNOBS, **changes})
    assert isinstance(found, WarmStartRecipe)
    return found


def test_lessons_come_from_every_role_and_the_planner_learns_no_strategy(game: Scenario) -> None:
    lessons = chapter(game, 0, 400)
    assert {lesson.agent for lesson in lessons} == set(game.cards)
    plans = Counter(
        lesson.output for lesson in lessons if lesson.agent == "planner" and "QDS" in lesson.messages[1]["content"]
    )
    assert len(plans) == len(game.workflows) and max(plans.values()) < 3 * min(plans.values()) + 12
    assert lessons == chapter(game, 0, 400) and lessons[:20] != chapter(game, 1, 400)[:20]


def test_every_lesson_is_read_and_written_without_an_unknown_word_and_comes_back_valid(game: Scenario) -> None:
    tokenizer, backbone = make_tokenizer(), make_tiny(0, width=16, layers=1, inner=16)
    for lesson in chapter(game, 3, 60):
        prompt, output = backbone.encode(lesson.messages), backbone.encode_output(lesson.output)
        assert tokenizer.unk_token_id not in (*prompt, *output)
        assert output[-1] == tokenizer.eos_token_id
        assert backbone.decode(output) == lesson.output


def test_a_fresh_model_has_words_for_whatever_its_team_writes_and_the_paper_s_team_needs_no_more(
    game: Scenario,
) -> None:
    assert make_tokenizer(game.kinds).get_vocab() == make_tokenizer().get_vocab()
    solver = load_scenario("small_world", {"team": ["solver"], "workflows": [["SOLVE"]], "limits.max_rounds": 4})
    assert not make_tiny(0, width=16, layers=1, inner=16).can_write("<search>")
    backbone = make_tiny(0, width=16, layers=1, inner=16, kinds=solver.kinds)
    lessons = chapter(solver, 0, 60)
    assert {lesson.output[:8] for lesson in lessons} == {"<search>", "<answer>"}
    for lesson in lessons:
        assert backbone.decode(backbone.encode_output(lesson.output)) == lesson.output
        assert backbone.tokenizer.unk_token_id not in backbone.encode(lesson.messages)
    assert make_tiny(0, width=16, layers=1, inner=16, kinds=["verdict"]).can_write("<verdict>search</verdict>")


def test_a_warm_start_of_a_lone_solver_goes_on_and_is_read_back_with_its_own_words(tmp_path: Path) -> None:
    small = {"data.passages": 200, "data.train": 40, "data.dev": 8}
    alone = load_scenario(
        "small_world", {**small, "team": ["solver"], "workflows": [["SOLVE"]], "limits.max_rounds": 4}
    )
    warm_start(alone, recipe(steps=4), tmp_path / "run")
    warm_start(alone, recipe(steps=6), tmp_path / "run", resume=True)
    player = make_policy(tmp_path / "run", alone)
    assert player.backbone.can_write("<search>where</search>")
    assert len(evaluate(player, alone, "dev", 4)) == 4


def test_a_run_plays_the_roles_it_has_learned_in_a_team_that_has_others(game: Scenario, tmp_path: Path) -> None:
    reader = load_scenario("vanilla_rag", {"data.passages": 200, "data.train": 40, "data.dev": 8, "prompt": "brief"})
    run = warm_start(reader, recipe(steps=2), tmp_path / "run").folder
    with pytest.raises(ConfigError, match=r"has learned answer_generator, and cannot play planner"):
        make_policy(run, game)
    team = make_policy({"answer_generator": str(run), "default": "random"}, game)
    assert len(evaluate(team, game, "dev", 4)) == 4
    config = json.loads((run / "config.json").read_text())
    config["recipe"]["stpes"] = config["recipe"].pop("steps")
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"config.json: recipe: stpes: unknown key; did you mean 'steps'"):
        make_policy(run, reader)


def test_the_tokenizer_spells_words_it_does_not_know() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("Zyxwv 1234 Born")["input_ids"]
    assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == "Zyxwv 1234 Born"


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(weight: float) -> None:
    lessons = [([5, 6, 7], [8, 9]), ([5, 6, 7, 10, 11], [12]), ([4], [13, 14, 15])]
    found = []
    for budget in (4, 1000):
        backbone = make_tiny(1, width=16, layers=1, inner=16)
        loss = supervised(backbone, lessons, weight, budget)
        found.append((loss, torch.cat([p.grad.flatten() for p in backbone.causal.parameters() if p.grad is not None])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_stopped_warm_start_goes_on_to_the_last_bit_and_leaves_a_hugging_face_folder(
    dtype: str, game: Scenario, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="from step 4"):
        warm_start(game, recipe(dtype=dtype), tmp_path / "stopped", progress=stop)
    warm_start(game, recipe(dtype=dtype), tmp_path / "stopped", resume=True)
    warm_start(game, recipe(dtype=dtype), tmp_path / "unbroken")
    one, other = (checkpoint.load_weights(tmp_path / name, 6) for name in ("stopped", "unbroken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    told = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("stopped", "unbroken")]
    assert told[0] == told[1] and '"loss"' in told[0]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "unbroken" / "backbone")
    assert torch.equal(model.model.norm.weight, one["causal.model.norm.weight"])
    assert model.dtype == DTYPES[dtype]
    assert len(evaluate(make_policy(tmp_path / "unbroken", game), game, "dev", 4)) == 4


def test_a_fresh_backbone_is_made_and_read_back_in_the_precision_of_the_recipe(game: Scenario, tmp_path: Path) -> None:
    """Trained in bf16 it has float32 copies, which the steps add up in, as every other backbone has."""
    done = warm_start(game, recipe(dtype="bf16", steps=2), tmp_path / "run")
    weights = {k: t for k, t in checkpoint.load_weights(done.folder, 2).items() if k.startswith("causal.")}
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    learner = checkpoint.load(done.folder, 2).learner
    masters = [tensor for name, tensor in learner.items() if name.endswith(".master")]
    assert len(masters) == len(weights) and {tensor.dtype for tensor in masters} == {torch.float32}
    assert any(not torch.equal(master, master.bfloat16().float()) for master in masters)
    policy = make_policy(done.folder, game)
    assert isinstance(policy, LanguageModelPolicy) and policy.backbone.dtype == torch.bfloat16


def test_a_short_fresh_backbone_is_the_long_one_rounded() -> None:
    long, short = make_tiny(3), make_tiny(3, dtype="bf16")
    for one, other in zip(long.causal.parameters(), short.causal.parameters(), strict=True):
        assert torch.equal(one.bfloat16(), other)
    assert {buffer.dtype for buffer in short.causal.buffers()} == {torch.float32}  # what positions are made of
    assert short.head.weight.dtype == torch.float32


def test_training_in_fp16_is_refused_before_anything_is_written(game: Scenario, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe jade_tiny: dtype: fp16 is for playing.*train with dtype=bf16"):
        warm_start(game, recipe(dtype="fp16"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_scenario_without_gold_steps_has_nothing_to_teach(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no question of hotpotqa has a gold decomposition"):
        warm_start(load_scenario("hotpotqa"), recipe(), tmp_path / "run", data=shared_data)


# ---- what the package ships ------------------------------------------------------------------------------------------


def test_the_shipped_checkpoint_is_a_small_hugging_face_model_and_its_card_says_how_it_was_made() -> None:
    folder = shipped_folder()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4_000_000
    AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    card = json.loads((folder / "card.json").read_text())
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"command", "seed", "version", "figures"} <= set(card)


def test_the_shipped_checkpoint_scores_what_its_card_says() -> None:
    card = json.loads((shipped_folder() / "card.json").read_text())
    game, backbone = load_scenario("small_world"), load_backbone(SHIPPED)
    for manner in ("greedy", "sampled"):
        said = card["figures"][manner]["f1"]
        policy = LanguageModelPolicy(backbone, Manner("brief", greedy=manner == "greedy"))
        rows = evaluate(policy, game, "test", 100, seed=3)
        mean = np.mean([row.f1 for row in rows])
        spread = np.std([row.f1 for row in rows]) / 10
        assert said["low"] - 2 * spread <= mean <= said["high"] + 2 * spread


def test_lessons_that_are_too_long_are_counted_said_and_never_all_left_out(game: Scenario, tmp_path: Path) -> None:
    said: list[str] = []
    knobs = {"steps": 1, "practice": 0, "eval_every": 1, "overlong": "truncate"}
    reads_more = game.model_copy(update={"retriever": game.retriever.model_copy(update={"top_k": 6})})
    done = warm_start(reads_more, recipe(**knobs, max_prompt=140), tmp_path / "run", notice=said.append)
    record = json.loads((done.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < record["left_out"] < 1 and len(said) == 1 and "longer than 140 tokens, and left out" in said[0]
    with pytest.raises(ConfigError, match="all lessons of small_world are longer than 5 tokens"):
        warm_start(game, recipe(**knobs, max_prompt=5), tmp_path / "none")


@pytest.mark.parametrize("backbone", ["fresh", SHIPPED])
def test_activations_are_computed_twice_where_that_is_wanted_and_learn_the_same(
    backbone: str, game: Scenario, tmp_path: Path
) -> None:
    knobs = {"steps": 2, "practice": 0, "eval_every": 2, "backbone": backbone}
    found = []
    for twice in (False, True):
        plan = recipe(**knobs, gradient_checkpointing=twice)
        done = warm_start(game, plan, tmp_path / f"{backbone}-{twice}")
        found.append(checkpoint.load_weights(done.folder, 2))
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])
    made = begin(backbone, 0, gradient_checkpointing=True)
    calls: list[int] = []
    made.causal.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    with recomputing(made):
        supervised(made, [([4, 5], [6, 7])], 0.1)
    assert len(calls) == 2
