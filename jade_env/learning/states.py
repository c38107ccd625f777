"""Hidden states of a microbatch's outputs from a backbone: whole rows, or each prompt once and then what follows it.

Knows models and their caches; no loss.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from jade_env.learning.batches import Continuations, Micro
from jade_env.policy.backbone import Backbone

CLOSE = 1e-3


def output_states(backbone: Backbone, micro: Micro) -> Tensor:
    """The hidden states [M, D] that predict the output tokens."""
    if micro.continuations is None:
        hidden = backbone.hidden(micro.input_ids, use_cache=False).flatten(0, 1)
    else:
        hidden = _continued(backbone, micro.input_ids, micro.continuations)
    return hidden.index_select(0, micro.hidden_M)


def prompt_states(backbone: Backbone, micro: Micro) -> Tensor:
    """The hidden states [B, D] at the rows' last prompt tokens; what is behind them is not read."""
    at, width = micro.hidden_M[micro.first_B], micro.input_ids.shape[1]
    needed = int((at % width).max()) + 1
    hidden = backbone.hidden(micro.input_ids[:, :needed], use_cache=False).flatten(0, 1)
    return hidden.index_select(0, at // width * needed + at % width)


def _continued(backbone: Backbone, prompts: Tensor, rest: Continuations) -> Tensor:
    """Hidden states [U * P + B * S, D] of prompts and of what follows them, with the gradient through the prompts' keys."""
    cache = DynamicCache()
    hidden = backbone.hidden(prompts, past_key_values=cache, use_cache=True).flatten(0, 1)
    if not rest.input_ids.shape[1]:
        return hidden
    layers: list[Any] = cache.layers
    for layer in layers:
        layer.keys = layer.keys.index_select(0, rest.prompt_B)
        layer.values = layer.values.index_select(0, rest.prompt_B)
    after = backbone.hidden(
        rest.input_ids,
        attention_mask=rest.mask,
        position_ids=rest.position_ids,
        past_key_values=cache,
        use_cache=True,
    )
    return torch.cat([hidden, after.flatten(0, 1)])


@torch.no_grad()
def can_share(backbone: Backbone | None) -> bool:
    """Whether prompts can be computed once: tried out on a few tokens, as caches differ from model to model.

    Never while layers recompute their activations, which they cannot do with a cache.
    """
    if backbone is None:
        return True
    if any(getattr(module, "gradient_checkpointing", False) for module in backbone.causal.modules()):
        return False
    device, most = backbone.device, int(backbone.causal.config.vocab_size)
    rows = torch.arange(1, 9, device=device).reshape(2, 4) % most
    prompts = torch.tensor([[1, 2, 0], [5, 6, 7]], device=device) % most  # the first is padded
    whole = [backbone.hidden(ids, use_cache=False)[0, -1] for ids in (rows[:1, [0, 1, 3]], rows[1:])]
    rest = Continuations(
        input_ids=rows[:, 3:],
        prompt_B=torch.tensor([0, 1], device=device),
        mask=torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]], device=device),
        position_ids=torch.tensor([[2], [3]], device=device),
    )
    try:
        found = _continued(backbone, prompts, rest)[6:]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return False
    expected = torch.stack(whole)
    scale = CLOSE if backbone.dtype == torch.float32 else 30 * CLOSE
    return bool(torch.allclose(found.float(), expected.float(), atol=scale * max(1.0, float(expected.abs().max()))))
