"""Hidden states of a microbatch's outputs from a backbone: of whole rows, or of prompts with several outputs behind them.

Knows models and their masks; no loss.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import torch
from torch import Tensor

from jade_env.errors import ConfigError
from jade_env.learning.batches import Branches, Micro
from jade_env.policy.backbone import Backbone
from jade_env.policy.generation import longest

CLOSE = 1e-3


def output_states(backbone: Backbone, micro: Micro) -> Tensor:
    """The hidden states [M, D] that predict the output tokens."""
    return _states(backbone, micro.input_ids, micro.branches).flatten(0, 1).index_select(0, micro.hidden_M)


def prompt_states(backbone: Backbone, micro: Micro) -> Tensor:
    """The hidden states [B, D] at the rows' last prompt tokens; what is behind them is not read."""
    at, width = micro.hidden_M[micro.first_B], micro.input_ids.shape[1]
    needed = int((at % width).max()) + 1
    hidden = backbone.hidden(micro.input_ids[:, :needed], use_cache=False).flatten(0, 1)
    return hidden.index_select(0, at // width * needed + at % width)


def _states(backbone: Backbone, input_ids: Tensor, branches: Branches | None) -> Tensor:
    """All hidden states [U, T, D]."""
    if branches is None:
        return backbone.hidden(input_ids, use_cache=False)
    query, key = branches.part[:, None, :, None], branches.part[:, None, None, :]
    width = input_ids.shape[1]
    seen = ((key == 0) | (key == query)) & torch.ones(width, width, dtype=torch.bool, device=input_ids.device).tril()
    mask = torch.zeros(seen.shape, dtype=backbone.dtype, device=input_ids.device)
    mask.masked_fill_(~seen, torch.finfo(backbone.dtype).min)
    return backbone.hidden(input_ids, attention_mask=mask, position_ids=branches.position_ids, use_cache=False)


@torch.no_grad()
def can_share(backbone: Backbone | None, length: int) -> bool:
    """Whether a prompt can be read once for rows of at most `length` tokens: tried out on a few, as models differ in masks.

    Never where attention looks back less far than that: the mask that is given would let it see more.
    """
    if backbone is None:
        return True
    ids = torch.arange(1, 7, device=backbone.device)[None] % int(backbone.causal.config.vocab_size)
    rows = [ids[:, [0, 1, 2, 3]], ids[:, [0, 1, 4, 5]]]
    branches = Branches(
        part=torch.tensor([[0, 0, 1, 1, 2, 2]], device=backbone.device),
        position_ids=torch.tensor([[0, 1, 2, 3, 2, 3]], device=backbone.device),
    )
    try:
        if length > longest(backbone):
            return False
        found = _states(backbone, ids, branches)[0, 2:]
    except (ConfigError, AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    expected = torch.cat([backbone.hidden(row, use_cache=False)[0, 2:] for row in rows])
    scale = CLOSE if backbone.dtype == torch.float32 else 30 * CLOSE
    return bool(torch.allclose(found.float(), expected.float(), atol=scale * max(1.0, float(expected.abs().max()))))
