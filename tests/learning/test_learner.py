"""What a recipe says reaches the update, and who does not learn stays the model that training began with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from jade_env.errors import ConfigError
from jade_env.language_recipe import PpoRecipe
from jade_env.learning import ppo
from jade_env.learning.joint import train_language
from jade_env.learning.language_player import load_language_policy
from jade_env.learning.language_team import specs_of
from jade_env.learning.learner import Learner
from jade_env.learning.shares import Share
from jade_env.policy.backbone import load_backbone
from jade_env.policy.generation import Generator
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.mixed import MixedPolicy
from jade_env.policy.sampling import Request, Sample
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario

ROLES = ("planner", "answer_generator")
SAMPLE = Sample((4, 5, 6), (7, 8), np.array([-2.0, -3.0], np.float32), value=0.2)
ASKED = [Request(("k",), (4, 5, 6, 7), 6)]
PPO = {
    "clip": 0.13, "value_clip": 0.07, "average": "turn", "epochs": 3, "minibatches": 2, "token_budget": 777,
    "max_grad_norm": 0.5, "kl_loss": "k3", "target_kl": 0.05,
}  # fmt: skip


def recipe(backbone: str, name: str = "jade_joint", **changes: object) -> PpoRecipe:
    found = load_recipe(name, {"backbone": backbone, "slots": 16, **changes})
    assert isinstance(found, PpoRecipe)
    return found


def share(**changes: object) -> Share:
    known = {"place": 0, "sample": SAMPLE, "role": "planner", "part": "planner", "return_": 0.5, "value": 0.2}
    advantage = np.array([1.0, -1.0], np.float32)
    return Share(**{**known, "advantage": advantage, "weight": 2.0, "entropy": 0.03, "kl": 0.4, **changes})  # type: ignore[arg-type]


def seen(learner: Learner, monkeypatch: pytest.MonkeyPatch, step: int, *found: Share) -> tuple[list, ppo.Settings]:
    """The rows and settings with which a step's turns come to the update, which runs."""
    calls, update = [], ppo.update

    def watched(backbone, reference, optimizer, rows, settings, rng):
        calls.append((rows, settings))
        return update(backbone, reference, optimizer, rows, settings, rng)

    monkeypatch.setattr(ppo, "update", watched)
    learner.learn(found, step, np.random.default_rng(0))
    (call,) = calls
    return call


def test_every_knob_of_the_update_is_the_recipes(backbones: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = recipe(
        backbones[0], **PPO, critic="head", credit="episode_gae", vf_coef=0.25, steps=10, warmup=0.5, final=0.1
    )
    learner = Learner(plan, ROLES, True)
    rows, settings = seen(learner, monkeypatch, 1, share())
    assert {name: getattr(settings, name) for name in PPO} == PPO
    assert (settings.vf_coef, settings.value_at, settings.frozen_values, settings.head_only) == (
        0.25,
        "prompt",
        True,
        False,
    )
    (row,) = rows
    assert (row.agent, row.weight, row.entropy, row.kl, row.return_, row.value) == ("planner", 2.0, 0.03, 0.4, 0.5, 0.2)
    assert row.sample is SAMPLE and row.advantage_N.tolist() == [1.0, -1.0]
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(plan.learning_rate * plan.rate(1))
    assert plan.rate(1) < plan.rate(4)


@pytest.mark.parametrize(
    "adapters", [{}, {"lora": {"rank": 2}}, {"lora": {"rank": 2}, "sharing": "per_role"}], ids=["whole", "one", "many"]
)
def test_a_head_that_warms_up_hears_of_values_alone(
    adapters: dict[str, object], backbones: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    knobs = {"critic": "head", "credit": "episode_gae", "critic_warmup": 2, "weight_decay": 0.1, "warmup": 0}
    learner = Learner(recipe(backbones[0], **knobs, **adapters), ROLES, True)
    before = {name: p.detach().clone() for name, p in learner.backbone.causal.named_parameters()}
    learn = [p.requires_grad for p in learner.backbone.causal.parameters()]
    rows, settings = seen(learner, monkeypatch, 1, share(), share(role="answer_generator", part="answer_generator"))
    assert settings.head_only and (rows[0].weight, rows[0].entropy, rows[0].kl) == (0.0, 0.0, 0.0)
    after = dict(learner.backbone.causal.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)  # neither decayed nor counted
    assert any(learn) and learn == [p.requires_grad for p in after.values()]  # as before
    moments = {id(p) for p in learner.optimizer.state}
    assert moments == {id(p) for p in learner.backbone.head.parameters()}


def test_all_adapters_learn_whichever_played_last_and_beside_a_reference(
    backbones: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner(recipe(backbones[0], lora={"rank": 2}, sharing="per_role", warmup=0), ROLES, True)
    assert learner.reference is learner.backbone  # the KL is to the model without them
    before = {name: p.detach().clone() for name, p in learner.backbone.causal.named_parameters()}
    rows, _ = seen(learner, monkeypatch, 1, share(), share(role="answer_generator", part="answer_generator"))
    assert len(rows) == 2 and rows[0].kl > 0
    moved = {name for name, p in learner.backbone.causal.named_parameters() if not torch.equal(p, before[name])}
    assert {role for role in ROLES if any(role in name for name in moved)} == set(ROLES)
    assert all("lora_" in name for name in moved)


def test_turns_that_teach_nothing_are_not_read(backbones: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner(recipe(backbones[0]), ROLES, True)
    nothing = share(advantage=np.zeros(2, np.float32), kl=0.0, entropy=0.0)
    rows, _ = seen(learner, monkeypatch, 0, nothing, share(), nothing)
    assert len(rows) == 1


def test_embeddings_that_do_not_learn_do_not_learn_in_the_critic_either(backbones: tuple[str, str]) -> None:
    plan = recipe(backbones[0], critic="separate", credit="episode_gae", train_embeddings=False)
    learner = Learner(plan, ROLES, True)
    assert learner.critic is not None
    for model in (learner.backbone, learner.critic):
        assert not any(p.requires_grad for p in model.causal.get_input_embeddings().parameters())


def test_a_misspelt_member_of_a_group_of_adapters_is_refused(backbones: tuple[str, str], game: Scenario) -> None:
    groups = {"a": ["planner"], "b": ["answer_generatr"]}
    plan = recipe(backbones[0], lora={"rank": 2}, sharing="groups", groups=groups)
    with pytest.raises(ConfigError, match="groups: 'answer_generatr' is not in the team"):
        specs_of(game, plan)


def test_who_does_not_learn_stays_what_training_began_with(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    """All weights learn here, no adapters: the others are played by a copy."""
    began = Generator(load_backbone(backbones[0], device="cpu")).run(ASKED)[0].logprobs
    knobs = {
        "steps": 2, "questions": 2, "plans": 2, "executions": 1, "minibatches": 1, "epochs": 1, "eval_every": 2,
        "eval_episodes": 2, "checkpoint_every": 1, "learning_rate": 0.05, "warmup": 0, "train_embeddings": True,
    }  # fmt: skip
    plan = recipe(backbones[0], "planner_only", **knobs)
    learner = Learner(plan, ROLES, False)
    learner.learn([share()], 0, np.random.default_rng(0))
    assert learner.frozen.generator.run(ASKED)[0].logprobs == pytest.approx(began, abs=1e-5)
    assert not np.allclose(learner.player.generator.run(ASKED)[0].logprobs, began, atol=1e-3)

    run = train_language(game, plan, tmp_path / "run").folder
    assert json.loads((run / "run.json").read_text())["timesteps"] == 2
    team = load_language_policy(run, game, which="last")
    assert isinstance(team, MixedPolicy)
    for agent in game.cards:
        policy = team.member(agent)
        assert isinstance(policy, LanguageModelPolicy)
        logprobs = Generator(policy.backbone).run(ASKED)[0].logprobs
        assert np.allclose(logprobs, began, atol=1e-5) == (agent != "planner"), agent
    cold = load_language_policy(run, game, greedy=False, which="last", temperature=0.5)
    assert isinstance(cold, MixedPolicy)
    assert {cold.member(agent).manner.temperature for agent in game.cards} == {0.5}  # type: ignore[attr-defined]


@pytest.mark.parametrize("sharing", ["all", "per_role"])
def test_adapters_are_written_as_peft_reads_them(sharing: str, backbones: tuple[str, str], tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    learner = Learner(recipe(backbones[0], lora={"rank": 2, "alpha": 3.0}, sharing=sharing), ROLES, True)
    ids = torch.arange(4, 20)[None]
    with torch.no_grad():
        for name, parameter in learner.backbone.causal.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    learner.backbone.save_adapters(tmp_path / "adapter")
    for role in ROLES:
        learner.backbone.use(learner.backbone.adapter_of(role))
        base = AutoModelForCausalLM.from_pretrained(backbones[0])
        place = tmp_path / "adapter" / (role if sharing == "per_role" else "")
        with torch.no_grad():
            mine = learner.backbone.logits(learner.backbone.hidden(ids, use_cache=False))
            read = PeftModel.from_pretrained(base, str(place)).eval()
            assert torch.allclose(read(ids).logits, mine, atol=1e-5)
            merged = read.merge_and_unload()
            assert torch.allclose(merged(ids).logits, mine, atol=1e-4)
            plain = AutoModelForCausalLM.from_pretrained(backbones[0])(ids).logits
            assert not torch.allclose(plain, mine, atol=1e-2)
