"""Optimizers for short weights: steps too small for them add up, and what was saved goes on to the last bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.optim import Optimizer

from jade_env.learning import checkpoint
from jade_env.learning.optimizer import MasterCopies, adamw, muon

MAKERS = pytest.mark.parametrize(
    "make", [lambda own: adamw(own, 1e-5, betas=(0.9, 0.98)), lambda own: muon(own, 1e-5)], ids=["adamw", "muon"]
)
Make = Callable[[list[torch.Tensor]], Optimizer]


def matrix(dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return (torch.full((4, 4), 0.02) + torch.eye(4)).to(dtype).requires_grad_()


def walk(weight: torch.Tensor, optimizer: Optimizer, steps: int) -> None:
    for step in range(steps):
        weight.grad = torch.cos(torch.arange(16.0) * 0.3 + step / 1000).reshape(4, 4).to(weight.dtype)
        optimizer.step()
        optimizer.zero_grad()


@MAKERS
def test_steps_that_a_short_weight_cannot_take_add_up(make: Make) -> None:
    short, long, begun = matrix(), matrix(torch.float32), matrix()
    optimizer = make([short])
    walk(short, optimizer, 1)
    assert torch.equal(short, begun)
    walk(short, optimizer, 499)
    walk(long, make([long]), 500)
    assert not torch.equal(short, begun)
    assert torch.allclose(short.float(), long, atol=1e-4, rtol=0.01)


@MAKERS
def test_what_was_saved_goes_on_to_the_last_bit(make: Make) -> None:
    unbroken, stopped, resumed = matrix(), matrix(), matrix()
    whole, half, rest = make([unbroken]), make([stopped]), make([resumed])
    walk(stopped, half, 200)
    checkpoint.restore_optimizer(rest, checkpoint.optimizer_tensors(half))
    walk(resumed, rest, 200)
    walk(unbroken, whole, 200)
    walk(unbroken, whole, 200)
    assert torch.equal(resumed, unbroken)
    expected, found = checkpoint.optimizer_tensors(whole), checkpoint.optimizer_tensors(rest)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in found)


@MAKERS
def test_copies_stepped_a_part_at_a_time_step_as_they_do_at_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def stepped() -> list[torch.Tensor]:
        weights = [matrix() for _ in range(5)]
        optimizer = make(weights)
        for step in range(50):
            for number, weight in enumerate(weights[:4]):  # the last never has a gradient
                weight.grad = torch.sin(torch.arange(16.0) + number + step).reshape(4, 4).bfloat16()
            optimizer.step()
            optimizer.zero_grad()
        return [*weights, *checkpoint.optimizer_tensors(optimizer).values()]

    whole = stepped()
    monkeypatch.setattr("jade_env.learning.optimizer.PART", 40)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(stepped(), whole, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_copies_in_the_hosts_memory_step_as_those_beside_the_weights(dtype: torch.dtype) -> None:
    beside, host = matrix(dtype), matrix(dtype)
    there = adamw([host], 1e-3, weight_decay=0.1, offload=True)
    walk(beside, adamw([beside], 1e-3, weight_decay=0.1), 300)
    walk(host, there, 300)
    assert torch.allclose(beside, host, atol=2e-5)
    kept = [value for name, value in checkpoint.optimizer_tensors(there).items() if not name.endswith("step")]
    assert len(kept) == 3 and all(value.device.type == "cpu" and value.dtype == torch.float32 for value in kept)


def test_float32_weights_need_no_copies() -> None:
    assert not isinstance(adamw([matrix(torch.float32)], 1e-3), MasterCopies)
    assert isinstance(adamw([matrix(torch.float32), matrix()], 1e-3), MasterCopies)
