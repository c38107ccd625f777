"""Critics in teams: whose turns they value, through which adapter, and that warming one up leaves the policy alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from jade_env.language_recipe import PpoRecipe
from jade_env.learning import checkpoint
from jade_env.learning.batches import Row
from jade_env.learning.critic import train_critic, values_of
from jade_env.learning.experience import Experience, Transition
from jade_env.learning.joint import train_language
from jade_env.learning.learner import Learner
from jade_env.learning.optimizer import Diverged
from jade_env.learning.shares import shares
from jade_env.policy.backbone import Lora, load_backbone
from jade_env.policy.sampling import Sample
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario

KNOBS = {
    "steps": 2, "questions": 2, "plans": 1, "executions": 2, "minibatches": 1, "epochs": 2, "eval_every": 2, "eval_episodes": 2,
    "checkpoint_every": 1, "keep": 9, "slots": 16, "credit": "episode_gae", "warmup": 0,
}  # fmt: skip
SAMPLE = Sample((4, 5, 6), (7, 8), np.zeros(2, np.float32), value=1.0)


def recipe(backbone: str, **changes: object) -> PpoRecipe:
    found = load_recipe("jade_joint", {**KNOBS, "backbone": backbone, **changes})
    assert isinstance(found, PpoRecipe)
    return found


def last(run: Path) -> dict[str, float]:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["learner"]


def test_a_head_that_warms_up_leaves_the_policy_as_it_was(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    run = train_language(game, recipe(backbones[0], critic="head", critic_warmup=2), tmp_path / "run").folder
    before, after = checkpoint.load_weights(run, 0), checkpoint.load_weights(run, 2)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"head.weight", "head.bias"}


def test_each_turn_is_valued_through_the_adapter_that_plays_its_role(backbones: tuple[str, str]) -> None:
    groups = {"planner": "a", "answer_generator": "b"}
    critic = load_backbone(backbones[0], device="cpu", lora=Lora(rank=2), groups=groups)
    torch.manual_seed(0)
    with torch.no_grad():
        critic.head.weight.normal_()
        for name, parameter in critic.causal.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    roles = ["planner", "answer_generator", "planner"]
    one, other, again = values_of(critic, [SAMPLE] * 3, "prompt", roles=roles)
    assert one == pytest.approx(again) and one != pytest.approx(other)
    critic.use("b")
    assert values_of(critic, [SAMPLE], "prompt", roles=["planner"]) == pytest.approx([one])


@pytest.mark.parametrize("knobs", [{"critic": "head"}, {"credit": "broadcast", "critic": "separate"}])
def test_turns_of_another_model_that_does_not_learn_are_not_valued(
    knobs: dict[str, object], backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    one, two = backbones
    other = {"answer_generator": f"language_model:{two}", "answer_summarizer": f"language_model:{two}"}
    run = train_language(game, recipe(one, train=["planner"], policies=other, **knobs), tmp_path / "run").folder
    assert np.isfinite(last(run)["explained_variance"])


def test_a_frozen_role_is_valued_by_the_head_that_learns_and_not_by_the_one_it_began_with(
    backbones: tuple[str, str],
) -> None:
    learner = Learner(recipe(backbones[0], critic="head", train=["planner"]), ("planner", "answer_generator"), False)
    with torch.no_grad():
        learner.backbone.head.bias.fill_(3.0)
    assert learner.values([replace(SAMPLE, value=-9.0)], ["answer_generator"]) == pytest.approx([3.0])


def test_adapters_that_learn_leave_the_model_under_them_to_play_who_does_not(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    plan = recipe(backbones[0], credit="leave_one_out", lora={"rank": 2}, train=["planner"], learning_rate=0.1)
    learner = Learner(plan, tuple(game.cards), False)
    assert learner.reference is learner.backbone and learner.frozen.bare and not learner.player.bare
    request = learner.player.generator  # the same prompt, played by both
    with torch.no_grad():
        for name, parameter in learner.backbone.causal.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    from jade_env.policy.sampling import Request

    asked = [Request(("k",), (4, 5, 6, 7), 6)]
    adapted, bare = request.run(asked)[0], learner.frozen.generator.run(asked)[0]
    plain = load_backbone(backbones[0], device="cpu")
    from jade_env.policy.generation import Generator

    assert bare.logprobs == pytest.approx(Generator(plain).run(asked)[0].logprobs, abs=1e-5)
    assert not np.allclose(adapted.logprobs, bare.logprobs)
    run = train_language(game, plan, tmp_path / "run").folder
    assert json.loads((run / "run.json").read_text())["timesteps"] == 2


def valued_rows() -> list[Row]:
    """Turns of two agents, some with one prompt, of several lengths, with the values of an older critic."""
    rng, rows = np.random.default_rng(0), []
    for i in range(12):
        prompt, length = tuple(range(4, 9 + i // 3)), 1 + i % 4
        sample = Sample(prompt, tuple(rng.integers(4, 60, length).tolist()), np.zeros(length, np.float32))
        ends = rng.normal(size=2).astype(np.float32)
        rows.append(
            Row(sample, "ab"[i % 2], np.zeros(length, np.float32), float(i % 2), return_=ends[0], value=ends[1])
        )
    return rows


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("at", ["prompt", "token"])
def test_a_critic_steps_along_the_gradient_of_half_the_mean_squared_error(
    at: Literal["prompt", "token"], clip: float, backbones: tuple[str, str]
) -> None:
    rows, found = valued_rows(), []
    for budget in (1, 40, 10_000):
        critic = load_backbone(backbones[0], device="cpu")
        before = {name: tensor.clone() for name, tensor in critic.learned().items()}
        sgd = torch.optim.SGD(critic.parameters(), lr=1.0)
        knobs = {"clip": clip, "minibatches": 1, "token_budget": budget, "max_grad_norm": 1e9}
        figures = train_critic(critic, sgd, rows, at, np.random.default_rng(0), **knobs)
        found.append({name: before[name] - tensor for name, tensor in critic.learned().items()})
    plain = load_backbone(backbones[0], device="cpu")
    losses = []
    for row in rows:
        tokens = torch.tensor([row.sample.prompt + row.sample.output[:-1]])
        values = plain.values(plain.hidden(tokens, use_cache=False))[0, len(row.sample.prompt) - 1 :]
        for value in values[:1] if at == "prompt" else values:
            error = (value - row.return_) ** 2
            if clip:
                near = row.value + torch.clamp(value - row.value, -clip, clip)
                error = torch.maximum(error, (near - row.return_) ** 2)
            losses.append(error / 2)
    loss = torch.stack(losses).mean()
    loss.backward()
    assert figures["value_loss"] == pytest.approx(loss.item(), abs=1e-6)
    gradients = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert any(float(gradient.abs().max()) > 1e-3 for gradient in gradients.values())
    for change in found:
        for name, gradient in gradients.items():
            assert torch.allclose(change[name], gradient, atol=2e-6), name


def test_a_critic_learns_returns_and_refuses_those_that_are_not_numbers(backbones: tuple[str, str]) -> None:
    critic = load_backbone(backbones[0], device="cpu")
    adam, rng = torch.optim.AdamW(critic.parameters(), lr=1e-2), np.random.default_rng(0)
    rows = [replace(row, return_=float(len(row.sample.prompt) > 6)) for row in valued_rows()]
    losses = [train_critic(critic, adam, rows, "prompt", rng, minibatches=2)["value_loss"] for _ in range(30)]
    assert losses[-1] < 0.1 * losses[0]
    assert values_of(critic, [row.sample for row in rows], "prompt") == pytest.approx(
        [r.return_ for r in rows], abs=0.3
    )
    before = {name: tensor.clone() for name, tensor in critic.learned().items()}
    assert train_critic(critic, adam, [], "prompt", rng)["value_loss"] == 0.0
    with pytest.raises(Diverged, match="the critic's minibatch 1 of epoch 1"):
        train_critic(critic, adam, [replace(rows[0], return_=float("nan"))], "prompt", rng)
    assert all(torch.equal(before[name], tensor) for name, tensor in critic.learned().items())


def experience(*turns: tuple[str, bool]) -> Experience:
    """One episode of turns by role, with R = 1 at its end, those that are sampled with tokens."""
    rows = [
        Transition(
            episode=0, team="team", agent=agent, round=0, step=i, path=(), value="", valid=True,
            reward=float(i == len(turns) - 1), last=i == len(turns) - 1, clock=i, outcome=1.0,
            kind="answer", sample=SAMPLE if sampled else None,
        )
        for i, (agent, sampled) in enumerate(turns)
    ]  # fmt: skip
    found = Experience()
    found._rows.extend(rows)
    return found


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_a_turn_that_nobody_values_is_part_of_what_the_turn_before_it_led_to(
    lam: float, backbones: tuple[str, str]
) -> None:
    turns = [("serial_decomposer", True), ("planner", False), ("answer_generator", True), ("answer_summarizer", True)]
    plan = recipe(backbones[0], critic="head", gae_lambda=lam, normalize="none")
    found = shares(experience(*turns), plan, ["serial_decomposer"], 0.0, [1.0, 1.0, 1.0])
    assert [share.place for share in found] == [0, 2, 3]
    assert [float(share.advantage[0]) for share in found] == pytest.approx([0.0, 0.0, 0.0])
    assert [share.return_ for share in found] == pytest.approx([1.0, 1.0, 1.0])


def test_what_is_earned_behind_the_last_valued_turn_goes_to_it(backbones: tuple[str, str]) -> None:
    plan = recipe(backbones[0], critic="head", normalize="none")
    told = [("planner", False), ("answer_generator", True), ("answer_summarizer", False)]
    (share,) = shares(experience(*told), plan, ["answer_generator"], 0.0, [0.25])
    assert float(share.advantage[0]) == pytest.approx(0.75) and share.return_ == pytest.approx(1.0)


def test_a_table_of_weights_without_a_default_leaves_the_others_at_one(backbones: tuple[str, str]) -> None:
    plan = recipe(backbones[0], critic="head", loss_weights={"planner": 4.0})
    turns = [("planner", True), ("answer_generator", True)]
    found = shares(experience(*turns), plan, ["planner", "answer_generator"], 0.0, [0.0, 0.0])
    assert [share.weight for share in found] == [4.0, 1.0]
