"""A critic apart from the policy: what it says of turns, one value each or one an output token, and how it learns.

Knows batches and returns; knows no policy and no reward.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from torch.optim import Optimizer

from jade_env.learning import batches, ranks
from jade_env.learning.batches import Columns, Row, Sharing, collate, microbatches
from jade_env.learning.economy import recomputing, says_what_to_lower
from jade_env.learning.losses import clipped_value_loss
from jade_env.learning.optimizer import step_within
from jade_env.learning.states import output_states, sharing_of, tokens_at_once
from jade_env.policy.backbone import Backbone
from jade_env.policy.sampling import Sample


@torch.no_grad()
def values_of(
    critic: Backbone,
    samples: Sequence[Sample],
    at: Literal["prompt", "token"],
    token_budget: int = 8192,
    roles: Sequence[str] | None = None,
) -> list[Any]:
    """The value head's word on each sample: a float read at the last prompt token, or float32 [N], one before each output token.

    Args:
        critic: whose head it is.
        samples: what was read and written.
        at: where the value is read.
        token_budget: tokens in one forward pass, padding counted.
        roles: who wrote each sample, where roles have adapters of their own.
    """
    adapters = [None] * len(samples) if roles is None else [critic.adapter_of(role) for role in roles]
    rows = [
        Row(sample, "", np.zeros(len(sample.output), np.float32), adapter=adapter)
        for sample, adapter in zip(samples, adapters, strict=True)
    ]
    columns, sharing = _read(critic, rows, at, token_budget)
    flat, said = np.zeros_like(columns.old_N), []
    for rows_B, unit_B in ranks.share_of(microbatches(columns, np.arange(len(columns)), token_budget, sharing)):
        micro = collate(columns, rows_B, unit_B, columns.weight_R, critic.pad_id, critic.device)
        critic.use(micro.adapter)
        said.append((micro.column_M, critic.values(output_states(critic, micro)).cpu().numpy()))
    for column_M, value_M in chain.from_iterable(ranks.gathered(said)):
        flat[column_M] = value_M
    if at == "prompt":
        return [float(value) for value in flat]
    return list(np.split(flat, columns.output_start_R[1:]))


def train_critic(
    critic: Backbone,
    optimizer: Optimizer,
    rows: Sequence[Row],
    at: Literal["prompt", "token"],
    rng: np.random.Generator,
    *,
    clip: float = 0.0,
    epochs: int = 1,
    minibatches: int = 8,
    token_budget: int | None = None,
    max_grad_norm: float = 1.0,
) -> dict[str, float]:
    """Regress a critic on the returns of rows, whoever played them: mean 1/2 (V - return)^2 over the values of a minibatch.

    Args:
        clip: a value counts within this of the old one; 0 does not clip.
        at, rng, epochs, minibatches, token_budget, max_grad_norm: as in `ppo.Settings`.

    Returns:
        value_loss, grad_norm: means over the steps; 0 without rows.

    Raises:
        Diverged: the loss or gradient of a minibatch is not finite.
        JadeError: a row is broken, or memory does not suffice.
    """
    if not rows:  # of a model whose agents had no turn
        return {"value_loss": 0.0, "grad_norm": 0.0}
    optimizer.zero_grad()
    budget, steps = token_budget or tokens_at_once(critic), []
    with says_what_to_lower(), recomputing(critic):
        columns, sharing = _read(critic, rows, at, budget)
        for epoch in range(epochs):
            for number, part in enumerate(batches.minibatches(columns, minibatches, rng, sharing is not None)):
                if not len(part):
                    continue
                count, total = int(columns.output_R[part].sum()), 0.0
                for rows_B, unit_B in ranks.share_of(microbatches(columns, part, budget, sharing)):
                    micro = collate(columns, rows_B, unit_B, columns.weight_R, critic.pad_id, critic.device)
                    critic.use(micro.adapter)
                    value = critic.values(output_states(critic, micro))
                    loss = clipped_value_loss(value, micro.value_M, micro.return_M, clip).sum() / count
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += float(loss.detach())
                total = sum(ranks.gathered(total))
                where = f"the critic's minibatch {number + 1} of epoch {epoch + 1}"
                steps.append((total, step_within(optimizer, max_grad_norm, total, where)))
    return dict(zip(("value_loss", "grad_norm"), np.mean(steps, 0).tolist(), strict=True))


def _read(
    critic: Backbone, rows: Sequence[Row], at: Literal["prompt", "token"], budget: int
) -> tuple[Columns, Sharing | None]:
    """What a critic reads of rows, as columns with one entry a value: of a turn valued at its prompt, nothing behind that."""
    if at == "token":
        columns = Columns.of(rows)
        return columns, sharing_of(columns, budget, critic)
    columns = Columns.of([_prompt_of(row) for row in rows])
    return columns, Sharing(widest=budget, behind=0)  # nothing is behind a prompt: a mask has nothing to hide


def _prompt_of(row: Row) -> Row:
    """The row with one output token, which is not read: values come before it."""
    sample = replace(row.sample, output=row.sample.output[:1], logprobs=row.sample.logprobs[:1], allowed=())
    return replace(row, sample=sample, advantage_N=row.advantage_N[:1])
