"""The terms of PPO's loss against their formulas and against distributions that are enumerated."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jade_env.learning import losses

reals = st.floats(-3, 3, allow_nan=False)


@given(reals, reals, reals, st.floats(0.01, 0.9))
def test_clipped_policy_loss_is_its_formula(logprob: float, old: float, advantage: float, clip: float) -> None:
    ratio = math.exp(logprob - old)
    kept = min(max(ratio, 1 - clip), 1 + clip)
    arguments = (torch.tensor(x, dtype=torch.float64) for x in (logprob, old, advantage))
    found = losses.clipped_policy_loss(*arguments, clip)
    assert float(found) == pytest.approx(-min(ratio * advantage, kept * advantage), abs=1e-9)


@given(reals, reals, reals, st.floats(0.0, 0.9))
def test_clipped_value_loss_is_its_formula(value: float, old: float, target: float, clip: float) -> None:
    near = min(max(value, old - clip), old + clip) if clip > 0 else value
    arguments = (torch.tensor(x, dtype=torch.float64) for x in (value, old, target))
    found = losses.clipped_value_loss(*arguments, clip)
    assert float(found) == pytest.approx(0.5 * max((value - target) ** 2, (near - target) ** 2), abs=1e-9)


def test_kl_estimators_against_the_exact_kl_of_enumerated_distributions() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    log_p, log_q = logits.log_softmax(-1), torch.randn(7, dtype=torch.float64).log_softmax(-1)
    p = log_p.exp().detach()
    exact = (log_p.exp() * (log_p - log_q)).sum()
    assert float((p * losses.k1(log_p, log_q)).sum().detach()) == pytest.approx(float(exact.detach()), abs=1e-12)
    assert float((p * losses.k3(log_p, log_q)).sum().detach()) == pytest.approx(float(exact.detach()), abs=1e-12)
    assert (losses.k3(log_p, log_q) >= 0).all() and (losses.k2(log_p, log_q) >= 0).all()
    (slope,) = torch.autograd.grad(exact, logits, retain_graph=True)
    (slope_2,) = torch.autograd.grad((p * losses.k2(log_p, log_q)).sum(), logits)
    assert torch.allclose(slope, slope_2, atol=1e-12)
    close = log_q + 1e-3 * torch.randn(7, dtype=torch.float64)
    close = close.log_softmax(-1)
    assert float((close.exp() * losses.k2(close, log_q)).sum()) == pytest.approx(
        float((close.exp() * (close - log_q)).sum()), rel=1e-2
    )


def test_a_token_that_has_become_unlikely_is_pulled_back_by_its_log_ratio_and_not_by_its_exponential() -> None:
    logprob, reference = torch.tensor(-12.0, requires_grad=True), torch.tensor(-2.0)
    (pull_2,) = torch.autograd.grad(losses.k2(logprob, reference), logprob)
    (pull_3,) = torch.autograd.grad(losses.k3(logprob, reference), logprob)
    assert float(pull_2) == pytest.approx(-10.0) and float(pull_3) == pytest.approx(1 - math.exp(10.0), rel=1e-6)


@given(st.lists(reals, min_size=2, max_size=6), st.data())
def test_entropy_and_log_prob_are_of_the_allowed_tokens_only(numbers: list[float], data: st.DataObject) -> None:
    allowed = data.draw(st.lists(st.booleans(), min_size=len(numbers), max_size=len(numbers)).filter(any))
    kept = [math.exp(x) for x, may in zip(numbers, allowed, strict=True) if may]
    p = [x / sum(kept) for x in kept]
    logits = torch.tensor([numbers], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([allowed])
    found = losses.entropy(logits, mask)
    assert float(found.detach()) == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-9)
    (slope,) = torch.autograd.grad(found.sum(), logits)
    assert torch.isfinite(slope).all() and (slope[~mask] == 0).all()
    first = allowed.index(True)
    assert float(losses.log_prob(losses.masked(logits.detach(), mask), torch.tensor([first]))) == pytest.approx(
        math.log(p[0])
    )
