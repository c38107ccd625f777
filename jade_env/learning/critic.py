"""What a critic says of turns that were played: one value a turn, or one an output token. Knows batches; knows no reward."""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from jade_env.learning.batches import Columns, Row, collate, microbatches
from jade_env.learning.states import output_states
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
    columns = Columns.of(
        [
            Row(sample, "", np.zeros(len(sample.output), np.float32), adapter=adapter)
            for sample, adapter in zip(samples, adapters, strict=True)
        ]
    )
    flat = np.zeros_like(columns.old_N)
    for rows_B, unit_B in microbatches(columns, np.arange(len(columns)), token_budget):
        micro = collate(columns, rows_B, unit_B, columns.weight_R, critic.pad_id, critic.device)
        critic.use(micro.adapter)
        flat[micro.column_M] = critic.values(output_states(critic, micro)).cpu().numpy()
    if at == "prompt":
        return [float(value) for value in flat[columns.output_start_R]]
    return list(np.split(flat, columns.output_start_R[1:]))
