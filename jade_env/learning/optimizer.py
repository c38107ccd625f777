"""Optimizers for weights of any precision: short ones have float32 copies, so that small steps are not rounded away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW, Muon, Optimizer

from jade_env.errors import JadeError
from jade_env.learning import ranks

PART = 2**28
"""Float32 copies that are stepped at once, in numbers: a gibibyte of gradients."""


class Diverged(JadeError):
    """The loss or its gradient is not a number any more. The weights are those before the failed step."""


def step_within(optimizer: Optimizer, max_norm: float, loss: float, where: str) -> float:
    """Step with a gradient of at most `max_norm`, forget it, and say how long it was; processes that train together add theirs.

    Raises:
        Diverged: the loss or the gradient is not finite; no step was taken.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    ranks.add_gradients(parameters)
    norm = float(clip_grad_norm_(parameters, max_norm))
    if not np.isfinite((loss, norm)).all():
        optimizer.zero_grad()
        raise Diverged(
            f"{where}: the loss is {loss} and its gradient's norm {norm}: the step was not taken; "
            "lower the learning rate, or use a wider dtype"
        )
    optimizer.step()
    optimizer.zero_grad()
    return norm


def adamw(
    parameters: Iterable[Tensor],
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    offload: bool = False,
) -> Optimizer:
    """AdamW, over float32 copies where the parameters are shorter, or where the copies are to lie in the host's memory."""
    own = list(parameters)
    fused = True if offload else None  # one pass over the host's memory in place of ten

    def make(copies: list[Tensor]) -> Optimizer:
        return AdamW(copies, lr=lr, weight_decay=weight_decay, betas=betas, fused=fused)

    return MasterCopies(own, make, "cpu") if offload else _over_copies(own, make)


def muon(parameters: Iterable[Tensor], lr: float) -> Optimizer:
    """Muon for matrices, over float32 copies where the parameters are shorter."""
    return _over_copies(list(parameters), lambda own: Muon(own, lr=lr, weight_decay=0.0))


def _over_copies(own: list[Tensor], make: Callable[[list[Tensor]], Optimizer]) -> Optimizer:
    return make(own) if all(p.dtype == torch.float32 for p in own) else MasterCopies(own, make)


class MasterCopies(Optimizer):
    """An optimizer on float32 copies of shorter parameters; the parameters are the copies, rounded.

    With a step size of 5e-7, as in the paper, a bf16 weight of .02 would never move: its next neighbour is 6e-5 away.
    The copies are part of the optimizer's state, and so of a checkpoint. They step a part at a time, so that few gradients lie in
    float32 beside them.

    Args:
        parameters: what is optimized.
        make: makes the optimizer of the copies, with one group; it leaves copies without a gradient alone.
        device: where the copies lie, and are stepped; beside the parameters where None.
    """

    def __init__(
        self, parameters: Iterable[Tensor], make: Callable[[list[Tensor]], Optimizer], device: str | None = None
    ) -> None:
        own = list(parameters)
        self._masters = [p.detach().to(device or p.device, torch.float32, copy=True) for p in own]
        self._inner = make(self._masters)
        super().__init__(own, dict(self._inner.defaults))

    def _pairs(self) -> zip[tuple[Tensor, Tensor]]:
        return zip(self.param_groups[0]["params"], self._masters, strict=True)

    def _parts(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        part: list[tuple[Tensor, Tensor]] = []
        room = PART
        for parameter, master in self._pairs():
            if part and master.numel() > room:
                yield part
                part, room = [], PART
            part.append((parameter, master))
            room -= master.numel()
        yield part

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step on the copies, then round."""
        self._inner.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        for part in self._parts():
            for parameter, master in part:
                master.grad = None if parameter.grad is None else parameter.grad.to(master.device).float()
            self._inner.step()
            for parameter, master in part:
                master.grad = None
                parameter.copy_(master.to(parameter.dtype))  # what travels between devices is as short as it may be

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state with the copy of each parameter beside its moments."""
        tree = self._inner.state_dict()
        state = {i: {**tree["state"].get(i, {}), "master": master} for i, master in enumerate(self._masters)}
        return {**tree, "state": state}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put `state_dict` back."""
        moments = {i: {k: v for k, v in own.items() if k != "master"} for i, own in state_dict["state"].items()}
        self._inner.load_state_dict({**state_dict, "state": {i: own for i, own in moments.items() if own}})
        for i, (parameter, master) in enumerate(self._pairs()):
            master.copy_(state_dict["state"][i]["master"])
            parameter.copy_(master)
