"""The update against plain formulas, on real models of three families with tokenizers trained on the spot."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from jade_env.errors import JadeError
from jade_env.learning import ppo, states
from jade_env.learning.batches import Columns, Sharing
from jade_env.learning.economy import says_what_to_lower
from jade_env.learning.ppo import Diverged, Row, Settings, log_probs, update
from jade_env.learning.states import can_share
from jade_env.policy.backbone import Backbone, Lora, load_backbone
from jade_env.policy.generation import Generator
from jade_env.policy.grammar import grammar_of_texts
from jade_env.policy.sampling import Request, Sample

FAMILIES = ("llama", "qwen2", "gpt2")


@pytest.fixture
def load(folders: dict[str, Path]) -> Callable[..., Backbone]:
    def loaded(family: str = "llama", lora: Lora | None = None, **options: object) -> Backbone:
        torch.manual_seed(1)
        backbone = load_backbone(folders[family], device="cpu", lora=lora, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            backbone.head.weight.normal_(std=0.1)
        return backbone

    return loaded


def make_rows(
    backbone: Backbone,
    turns: list[tuple[str, list[dict[str, str]]]],
    *,
    grammar: bool = False,
    temperatures: tuple[float, ...] = (1.0,),
    **same: object,
) -> list[Row]:
    """Turns with outputs of several lengths, as if sampled by a slightly different policy at temperatures that take turns."""
    rng = np.random.default_rng(0)
    rows = []
    for i, (agent, messages) in enumerate(turns):
        text = ["<workflow>QDS</workflow>", "<workflow>AG</workflow>", "<q1>Who?</q1><q2>Where was #1 born?</q2>"][
            i % 3
        ]
        output = tuple(backbone.encode_output(text))
        limits = [
            tuple(sorted({t, *rng.integers(2, 390, 9).tolist()})) if j % 3 else None for j, t in enumerate(output)
        ]
        sample = Sample(
            temperature=temperatures[i % len(temperatures)],
            prompt=tuple(backbone.encode(messages)),
            output=output,
            logprobs=np.zeros(len(output), np.float32),
            allowed=tuple(limits) if grammar and i % 2 else (),
        )
        advantage = rng.normal(size=len(output)).astype(np.float32)
        rows.append(Row(sample, agent, advantage, weight=[1.0, 0.5][i % 2], return_=float(rng.normal()), **same))  # type: ignore[arg-type]
    noise = [rng.normal(scale=0.2, size=len(row.sample.output)) for row in rows]
    found = log_probs(backbone, rows)
    return [
        replace(row, sample=replace(row.sample, logprobs=(own + e).astype(np.float32)))
        for row, own, e in zip(rows, found, noise, strict=True)
    ]


def weights(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in backbone.named_parameters()}


def sgd_gradient(backbone: Backbone, rows: list[Row], settings: Settings, reference: Backbone | None = None) -> dict:
    """What one step of plain gradient descent with rate 1 takes away."""
    before = weights(backbone)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    update(backbone, reference, torch.optim.SGD(trained, lr=1.0), rows, settings, np.random.default_rng(0))
    return {name: before[name] - after for name, after in weights(backbone).items()}


WHOLE = Settings(minibatches=1, max_grad_norm=1e9)


# ---- the update ------------------------------------------------------------------------------------------------------


def plain_losses(
    backbone: Backbone, reference: Backbone, rows: list[Row], settings: Settings
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The update's loss, and of it the policy's part and the values', row by row and token by token from the model's logits."""
    policy, rest, values, scale = torch.zeros(()), torch.zeros(()), torch.zeros(()), 0.0
    for row in rows:
        tokens = len(row.sample.output)
        scale += row.weight * (tokens if settings.average == "token" else 1)
    for row in rows:
        sample, n = row.sample, len(row.sample.output)
        ids = torch.tensor([sample.prompt + sample.output])
        own, other = backbone.causal(ids), reference.causal(ids)
        for j in range(n):
            at = len(sample.prompt) + j - 1
            keep = list(range(backbone.causal.config.vocab_size))
            if sample.allowed and sample.allowed[j] is not None:
                keep = list(sample.allowed[j])  # type: ignore[arg-type]
            log_p = torch.log_softmax(own.logits[0, at, keep] / sample.temperature, -1)
            log_q = torch.log_softmax(other.logits[0, at, keep] / sample.temperature, -1).detach()
            k = keep.index(sample.output[j])
            ratio = torch.exp(log_p[k] - float(sample.logprobs[j]))
            a = float(row.advantage_N[j])
            surrogate = torch.min(ratio * a, torch.clamp(ratio, 1 - settings.clip, 1 + settings.clip) * a)
            apart = log_q[k] - log_p[k]
            kl = 0.5 * apart**2 if settings.kl_loss == "k2" else torch.exp(apart) - 1 - apart
            spread = -(log_p.exp() * log_p).sum()
            share = row.weight / scale / (1 if settings.average == "token" else n)
            policy = policy - share * surrogate
            rest = rest + share * (row.kl * kl - row.entropy * spread)
        last = backbone.causal.base_model(ids).last_hidden_state[0, len(sample.prompt) - 1]
        value = (backbone.head.weight[0] * last).sum() + backbone.head.bias[0]
        error = (value - row.return_) ** 2  # type: ignore[operator]
        if settings.value_clip:
            near = row.value + torch.clamp(value - row.value, -settings.value_clip, settings.value_clip)  # type: ignore[operator]
            error = torch.max(error, (near - row.return_) ** 2)  # type: ignore[operator]
        values = values + 0.5 * error / len(rows)
    return policy + rest + settings.vf_coef * values, policy, values


@pytest.mark.parametrize(
    ("average", "kl_loss", "value_clip"),
    [("token", "k2", 0.0), ("turn", "k2", 0.05), ("token", "k3", 0.05), ("token", "k2", 5.0)],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_update_follows_the_gradient_of_the_plain_formula(
    load: Callable[..., Backbone], turns: list, family: str, average: str, kl_loss: str, value_clip: float
) -> None:
    backbone, reference = load(family), load(family)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    rows = make_rows(backbone, turns[:7], grammar=True, temperatures=(0.7, 1.0, 1.0, 2.0), entropy=0.1, kl=0.3)
    rows = [replace(row, value=0.3 * i - 1) for i, row in enumerate(rows)]
    settings = replace(WHOLE, average=average, kl_loss=kl_loss, vf_coef=0.5, value_clip=value_clip, token_budget=300)
    loss, *parts = plain_losses(backbone, reference, rows, settings)
    named = dict(backbone.named_parameters())
    expected = dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))
    still = torch.optim.SGD(backbone.parameters(), lr=0.0)
    figures = update(backbone, reference, still, rows, settings, np.random.default_rng(0))
    assert [figures["policy_loss"], figures["value_loss"]] == pytest.approx([float(part) for part in parts], abs=1e-6)
    found = sgd_gradient(backbone, rows, settings, reference)
    largest = max(float(g.abs().max()) for g in expected.values() if g is not None)
    assert largest > 1e-2
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=2e-6 * max(1.0, largest)), name


@pytest.mark.parametrize("value_at", ["prompt", "token"])
def test_microbatches_of_any_size_add_up_to_the_whole_minibatch(
    load: Callable[..., Backbone], turns: list, value_at: str
) -> None:
    settings = replace(WHOLE, minibatches=2, vf_coef=0.5, value_at=value_at)
    rows = make_rows(load(), turns, grammar=True, entropy=0.01)
    found = [sgd_gradient(load(), rows, replace(settings, token_budget=b)) for b in (1, 400, 10**6)]
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-6), name
        assert torch.allclose(gradient, found[2][name], atol=1e-6), name


def test_a_head_computed_piece_by_piece_gives_the_same_update(
    load: Callable[..., Backbone], turns: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(load(), turns, grammar=True, temperatures=(1.0, 0.5, 1.7), entropy=0.01)
    whole = sgd_gradient(load(), rows, WHOLE)
    monkeypatch.setattr(ppo, "HEAD", 400 * 7)
    pieces = sgd_gradient(load(), rows, WHOLE)
    assert all(torch.allclose(whole[name], pieces[name], atol=1e-6) for name in whole)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradient_checkpointing_changes_nothing(load: Callable[..., Backbone], turns: list, family: str) -> None:
    rows = make_rows(load(family), turns)
    plain, backbone = sgd_gradient(load(family), rows, WHOLE), load(family, gradient_checkpointing=True)
    calls: list[int] = []
    inner = next(m for name, m in backbone.causal.named_modules() if name.endswith("0.mlp"))
    inner.register_forward_pre_hook(lambda *_: calls.append(1))
    again = sgd_gradient(backbone, rows, replace(WHOLE, token_budget=10**6))
    assert len(calls) == 2  # computed again for the gradient
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)
    assert not any(module.training for module in backbone.causal.modules())


def grouped(rows: list[Row]) -> list[Row]:
    """Each prompt with several outputs, some of one token, in mixed order."""
    rows = [replace(row, sample=replace(row.sample, prompt=rows[i // 4].sample.prompt)) for i, row in enumerate(rows)]
    rows[3] = shortened(rows[3], 1)
    return rows[::2] + rows[1::2]


def shortened(row: Row, tokens: int) -> Row:
    """The row with the first tokens of its output only, and no grammar."""
    sample = replace(row.sample, output=row.sample.output[:tokens], logprobs=row.sample.logprobs[:tokens], allowed=())
    return replace(row, advantage_N=row.advantage_N[:tokens], sample=sample)


@pytest.mark.parametrize("value_at", ["prompt", "token"])
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_read_once_give_the_same_update(
    load: Callable[..., Backbone], turns: list, family: str, value_at: str
) -> None:
    assert can_share(load(family), 40, 20)
    rows = grouped(make_rows(load(family), turns, grammar=True, entropy=0.01))
    settings = replace(WHOLE, vf_coef=0.5, value_at=value_at)
    plain = sgd_gradient(load(family), rows, replace(settings, share_prompts=False))
    for budget in (1, 300, 10**6):
        found = sgd_gradient(load(family), rows, replace(settings, token_budget=budget))
        assert all(torch.allclose(plain[name], found[name], atol=2e-6) for name in plain), budget
    again = sgd_gradient(load(family, gradient_checkpointing=True), rows, settings)
    assert all(torch.allclose(plain[name], again[name], atol=2e-6) for name in plain)
    alone = np.concatenate([log_probs(load(family), [row])[0] for row in rows])
    assert np.concatenate(log_probs(load(family), rows)) == pytest.approx(alone, abs=1e-4)


def test_prompts_shared_between_adapters_give_the_same_update(load: Callable[..., Backbone], turns: list) -> None:
    plain = make_rows(load(), turns, entropy=0.01)
    rows = [replace(row, adapter="ab"[i % 3 > 0]) for i, row in enumerate(grouped(plain))]
    found: list[dict[str, torch.Tensor]] = []
    for share in (False, True):
        model = load(lora=Lora(rank=4), groups={"x": "a", "y": "b"})
        found.append(sgd_gradient(model, rows, replace(WHOLE, share_prompts=share)))
    alone, shared = found
    assert all(torch.allclose(alone[name], shared[name], atol=2e-6) for name in alone)
    assert max(float(change.abs().max()) for change in shared.values()) > 1e-4


def test_prompts_are_not_shared_by_a_model_that_does_not_obey_the_mask_or_looks_back_less_far(
    load: Callable[..., Backbone], turns: list
) -> None:
    # half of its layers see the last 8 tokens, by place, whatever the mask says
    own = {"num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8}
    local: Any = GPTNeoForCausalLM(GPTNeoConfig(vocab_size=400, hidden_size=32, **own))
    backbone = Backbone(local, load().tokenizer, "local").eval()
    assert can_share(backbone, 2, 2) and not can_share(backbone, 40, 20)
    rows = grouped(make_rows(backbone, turns))
    assert sharing_of(backbone, rows) is None and sharing_of(load(), rows) is not None
    short = load()
    short.causal.config.sliding_window = 20
    assert sharing_of(short, rows) is None


def sharing_of(backbone: Backbone, rows: list[Row]) -> Sharing | None:
    return states.sharing_of(Columns.of(rows), 4096, backbone)


def test_shared_prompts_are_told_and_save_what_they_repeat(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load(lora=Lora(rank=4))
    # so short that all stand behind one prompt
    rows = [shortened(row, 3) for row in grouped(make_rows(backbone, turns))]
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.0)
    figures = update(backbone, backbone, optimizer, rows, Settings(minibatches=2), np.random.default_rng(0))
    once = {row.sample.prompt for row in rows}
    read = sum(map(len, once)) + sum(len(row.sample.output) - 1 for row in rows)
    assert figures["shared"] == pytest.approx(1 - read / figures["tokens"])
    plain = update(
        backbone, None, optimizer, rows, Settings(minibatches=2, share_prompts=False), np.random.default_rng(0)
    )
    assert plain["shared"] == 0.0 and plain["tokens"] == figures["tokens"]


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_do_not_depend_on_what_else_is_in_the_batch(
    load: Callable[..., Backbone], turns: list, family: str
) -> None:
    backbone = load(family)
    rows = make_rows(backbone, turns, grammar=True, temperatures=(1.3, 0.6, 1.0))
    together = log_probs(backbone, rows)
    for row, found in zip(rows, together, strict=True):
        assert found == pytest.approx(log_probs(backbone, [row])[0], abs=1e-4)


@pytest.mark.parametrize("temperatures", [(0.8,), (1.0, 0.4, 1.9)], ids=["one", "mixed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_and_values_are_those_that_the_sampler_wrote_down(
    load: Callable[..., Backbone], turns: list, family: str, temperatures: tuple[float, ...]
) -> None:
    backbone = load(family)
    grammar = grammar_of_texts(
        backbone, ["<workflow>QDS</workflow>", "<workflow>AG</workflow>", "<workflow>R,AG</workflow>"]
    )
    requests = [
        Request(
            key=("row", i),
            prompt=tuple(backbone.encode(messages)),
            max_new=24,
            grammar=grammar if agent == "planner" else None,
            temperature=temperatures[i % len(temperatures)],
        )
        for i, (agent, messages) in enumerate(turns)
    ]
    samples = Generator(backbone, slots=5).run(requests)
    rows = [
        Row(s, agent, np.ones(len(s.output), np.float32), return_=s.value, value=s.value)
        for s, (agent, _) in zip(samples, turns, strict=True)
    ]
    assert {(bool(sample.allowed), sample.temperature) for sample in samples} == set(
        product((True, False), temperatures)
    )
    for row, found in zip(rows, log_probs(backbone, rows), strict=True):
        assert found == pytest.approx(row.sample.logprobs, abs=1e-4)
    settings = replace(WHOLE, vf_coef=1.0, value_clip=0.0)
    figures = update(
        backbone, None, torch.optim.SGD(backbone.parameters(), lr=0.0), rows, settings, np.random.default_rng(0)
    )
    assert figures["ratio_max"] == pytest.approx(1.0, abs=1e-4) and figures["clip_fraction"] == 0.0
    assert figures["value_loss"] == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_few_updates_raise_what_was_rewarded_and_lower_what_was_punished(
    load: Callable[..., Backbone], turns: list, family: str, lora: Lora | None
) -> None:
    def learned() -> tuple[np.ndarray, np.ndarray, dict[str, torch.Tensor], dict[str, float]]:
        backbone = load(family, lora)
        rows = [replace(row, weight=1.0) for row in make_rows(backbone, turns[:12])]
        good = np.array([i % 2 == 0 for i in range(12)])
        before = np.array([x.sum() for x in log_probs(backbone, rows)])
        trained = [p for p in backbone.parameters() if p.requires_grad]
        optimizer, rng = torch.optim.AdamW(trained, lr=3e-3), np.random.default_rng(0)
        for _ in range(4):
            sampled = zip(rows, log_probs(backbone, rows), good, strict=True)
            now = [
                replace(
                    row,
                    sample=replace(row.sample, logprobs=own),
                    advantage_N=np.full(len(own), 1.0 if up else -1.0, np.float32),
                )
                for row, own, up in sampled
            ]
            figures = update(backbone, None, optimizer, now, Settings(minibatches=2), rng)
        after = np.array([x.sum() for x in log_probs(backbone, rows)])
        return after - before, good, weights(backbone), figures

    change, good, first, figures = learned()
    assert change[good].mean() > 0.1 and change[~good].mean() < -0.1
    assert figures["steps"] == 2 and figures["advantage"] == pytest.approx(1.0) and 0 <= figures["padding"] < 0.5
    _, _, second, again = learned()
    assert figures == again and all(torch.equal(first[name], second[name]) for name in first)


def test_with_adapters_the_model_before_them_is_the_reference(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load(lora=Lora(rank=4))
    rows = make_rows(backbone, turns, kl=0.5)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0)
    settings = Settings(minibatches=1, clip=0.5)
    first = update(backbone, backbone, optimizer, rows, settings, np.random.default_rng(0))
    second = update(backbone, backbone, optimizer, rows, settings, np.random.default_rng(0))
    assert first["kl"] == pytest.approx(0.0, abs=1e-7) and second["kl"] > 1e-5
    full = load()
    with pytest.raises(JadeError, match="frozen copy"):
        update(full, full, optimizer, rows, settings, np.random.default_rng(0))
    with pytest.raises(JadeError, match="reference"):
        update(full, None, optimizer, rows, settings, np.random.default_rng(0))


def test_a_penalty_towards_the_reference_leads_back_to_it(load: Callable[..., Backbone], turns: list) -> None:
    backbone, reference = load(), load()
    with torch.no_grad():
        for parameter in backbone.causal.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    rows = [replace(row, advantage_N=0 * row.advantage_N) for row in make_rows(backbone, turns, kl=1.0)]
    optimizer, rng = torch.optim.AdamW(backbone.parameters(), lr=3e-3), np.random.default_rng(0)
    kl = [update(backbone, reference, optimizer, rows, WHOLE, rng)["kl"] for _ in range(6)]
    assert kl[-1] < 0.5 * kl[0]


def test_the_kl_is_told_of_the_rows_that_are_held_alone(load: Callable[..., Backbone], turns: list) -> None:
    backbone, reference = load(), load()
    with torch.no_grad():
        for parameter in backbone.causal.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.03)
    free = make_rows(backbone, turns)
    held = [replace(row, kl=0.5) if row.agent == free[0].agent else row for row in free]
    optimizer, rng = torch.optim.SGD(backbone.parameters(), lr=0.0), np.random.default_rng(0)
    assert "kl" not in update(backbone, reference, optimizer, free, WHOLE, rng)
    figures = update(backbone, reference, optimizer, held, WHOLE, rng)
    told = {name.partition("/")[0] for name in figures if name.endswith("/kl")}
    assert told == {free[0].agent} and figures["kl"] == pytest.approx(figures[f"{free[0].agent}/kl"])

    def read(rows: list[Row]) -> int:
        sizes: list[int] = []
        hook = reference.causal.base_model.register_forward_pre_hook(
            lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True
        )
        update(backbone, reference, optimizer, rows, WHOLE, rng)
        hook.remove()
        return sum(sizes)

    assert read(held) < read([replace(row, kl=0.5) for row in free])


def test_rows_train_only_the_adapter_that_played_them(folders: dict[str, Path], turns: list) -> None:
    groups = {"planner": "plan", "parallel_decomposer": "work", "serial_decomposer": "work"}
    backbone = load_backbone(folders["llama"], device="cpu", lora=Lora(rank=4), groups=groups)
    rows = make_rows(backbone, turns)
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=1.0)
    for agent in ("serial_decomposer", "planner"):
        mine = [replace(row, adapter=backbone.adapter_of(agent)) for row in rows if row.agent == agent]
        before = weights(backbone)
        update(backbone, None, optimizer, mine, WHOLE, np.random.default_rng(0))
        changed = {name for name, after in weights(backbone).items() if not torch.equal(before[name], after)}
        assert changed and all(f".{groups[agent]}." in name for name in changed)


# ---- values ----------------------------------------------------------------------------------------------------------


def test_rows_of_weight_zero_do_not_move_the_policy_but_may_train_the_values(
    load: Callable[..., Backbone], turns: list
) -> None:
    rows = make_rows(load(), turns)
    frozen = [replace(row, weight=0.0) for row in rows[::2]]
    learning, settings = rows[1::2], replace(WHOLE, vf_coef=0.5)
    without = sgd_gradient(load(), learning, settings)
    assert all(torch.equal(without[n], g) for n, g in sgd_gradient(load(), frozen + learning, settings).items())
    for_values = sgd_gradient(load(), frozen, replace(settings, frozen_values=True))
    assert for_values["head.weight"].abs().max() > 0
    assert not any(g.abs().max() > 0 for g in sgd_gradient(load(), frozen, settings).values())
    figures = update(load(), None, torch.optim.SGD(load().parameters()), frozen, settings, np.random.default_rng(0))
    assert figures["steps"] == 0 and figures["tokens"] == 0


# ---- what can go wrong -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_raises_and_leaves_the_weights(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load()
    rows = make_rows(backbone, turns)
    rows[5] = replace(rows[5], advantage_N=np.full(len(rows[5].sample.output), np.nan, np.float32))
    before = weights(backbone)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1.0)
    with pytest.raises(Diverged, match="minibatch 1 of epoch 1"):
        update(backbone, None, optimizer, rows, replace(WHOLE, vf_coef=0.1), np.random.default_rng(0))
    assert all(torch.equal(before[name], after) for name, after in weights(backbone).items())
    assert all(p.grad is None for p in backbone.parameters())


def test_the_update_stops_before_the_policy_is_further_away_than_wanted(
    load: Callable[..., Backbone], turns: list
) -> None:
    backbone = load()
    rows = make_rows(backbone, turns)
    settings = Settings(minibatches=2, epochs=5, target_kl=0.05)
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=3e-2)
    figures = update(backbone, None, optimizer, rows, settings, np.random.default_rng(0))
    assert figures["stopped_early"] == 1.0 and 1 <= figures["steps"] < 10
    assert update(load(), None, optimizer, rows, Settings(), np.random.default_rng(0))["stopped_early"] == 0.0


def test_figures_are_told_agent_by_agent(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load()
    rows = make_rows(backbone, turns)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.0)
    figures = update(backbone, None, optimizer, rows, Settings(), np.random.default_rng(0))
    for agent in {row.agent for row in rows}:
        mine = [row for row in rows if row.agent == agent]
        assert figures[f"{agent}/output_tokens"] == sum(len(row.sample.output) for row in mine)
        ratio = np.concatenate(
            [np.exp(own - row.sample.logprobs) for row, own in zip(mine, log_probs(backbone, mine), strict=True)]
        )
        assert figures[f"{agent}/ratio_max"] == pytest.approx(ratio.max(), rel=1e-4)
        assert figures[f"{agent}/clip_fraction"] == pytest.approx((abs(ratio - 1) > 0.2).mean(), abs=1e-6)
        assert figures[f"{agent}/approx_kl"] == pytest.approx((ratio - 1 - np.log(ratio)).mean(), rel=1e-3)
    assert figures["tokens"] == sum(len(row.sample.prompt) + len(row.sample.output) - 1 for row in rows)


def test_broken_rows_are_named(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load()
    (row,) = make_rows(backbone, turns[:1])
    for broken, what in (
        (replace(row, advantage_N=row.advantage_N[:-1]), "advantages"),
        (replace(row, sample=replace(row.sample, logprobs=row.sample.logprobs[:-1])), "log-probabilities"),
        (replace(row, sample=replace(row.sample, prompt=())), "empty prompt"),
    ):
        with pytest.raises(JadeError, match=f"planner.*{what}"):
            update(backbone, None, torch.optim.SGD(backbone.parameters()), [broken], WHOLE, np.random.default_rng(0))


def test_running_out_of_memory_says_what_to_lower() -> None:
    with pytest.raises(JadeError, match="token_budget"), says_what_to_lower():
        torch.empty(2**52)


def test_a_copy_of_the_backbone_is_a_reference_at_no_distance(load: Callable[..., Backbone], turns: list) -> None:
    backbone = load()
    rows = make_rows(backbone, turns, kl=0.1)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.0)
    figures = update(backbone, copy.deepcopy(backbone), optimizer, rows, WHOLE, np.random.default_rng(0))
    assert figures["kl"] == pytest.approx(0.0, abs=1e-7)
