"""Hidden states of a microbatch's outputs from a backbone: of whole rows, or of prompts with several outputs behind them.

Knows models and their masks; no loss.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import torch
from torch import Tensor

from jade_env.errors import ConfigError
from jade_env.learning.batches import Branches, Columns, Micro, Sharing, spared
from jade_env.policy.backbone import Backbone
from jade_env.policy.generation import longest, out_of_memory

WORTH = 0.1
"""Prompts are shared where that spares so large a share of the tokens."""
CLOSE = 1e-3
ALIGNED = 8


def output_states(backbone: Backbone, micro: Micro) -> Tensor:
    """The hidden states [M, D] that predict the output tokens."""
    return _states(backbone, micro.input_ids, micro.branches).flatten(0, 1).index_select(0, micro.hidden_M)


def _states(backbone: Backbone, input_ids: Tensor, branches: Branches | None) -> Tensor:
    """All hidden states [U, T, D]."""
    if branches is None:
        return backbone.hidden(input_ids, use_cache=False)
    mask = _mask(branches.part, backbone.dtype)
    return backbone.hidden(input_ids, attention_mask=mask, position_ids=branches.position_ids, use_cache=False)


def _mask(part: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention [U, 1, T, T]: 0 where a token reads another. Lines begin where kernels for GPUs want them to."""
    units, width = part.shape
    query, key = part[:, None, :, None], part[:, None, None, :]
    seen = ((key == 0) | (key == query)) & torch.ones(width, width, dtype=torch.bool, device=part.device).tril()
    aligned = -(-width // ALIGNED) * ALIGNED
    mask = torch.zeros(units, 1, width, aligned, dtype=dtype, device=part.device)[..., :width]
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)


@torch.no_grad()
def can_share(backbone: Backbone, prompt: int, rest: int) -> bool:
    """Whether a backbone obeys the mask: tried out with two outputs of `rest` tokens behind a prompt of `prompt`.

    Models differ in that, and some only beyond a length: those with positions in their attention, or with local attention.
    """
    device, every = backbone.device, torch.arange(prompt + 2 * rest, device=backbone.device)
    ids = (every * 7 % int(backbone.causal.config.vocab_size))[None]
    behind = torch.arange(2, device=device).repeat_interleave(rest)
    branches = Branches(
        part=torch.cat([torch.zeros(prompt, dtype=torch.long, device=device), behind + 1])[None],
        position_ids=torch.cat([every[:prompt], every[prompt : prompt + rest].repeat(2)])[None],
    )
    try:
        found = _states(backbone, ids, branches)[0, prompt:]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        return False
    rows = torch.cat([ids[:, :prompt].expand(2, -1), ids[0, prompt:].view(2, rest)], 1)
    expected = backbone.hidden(rows, use_cache=False)[:, prompt:].flatten(0, 1)
    scale = CLOSE if backbone.dtype == torch.float32 else 30 * CLOSE
    return bool(torch.allclose(found.float(), expected.float(), atol=scale * max(1.0, float(expected.abs().max()))))


def sharing_of(columns: Columns, budget: int, backbone: Backbone) -> Sharing | None:
    """How prompts are shared; None where that spares too little, or the model does not obey the mask that it takes."""
    try:
        widest = min(budget, longest(backbone))
    except ConfigError:  # of an architecture whose reach is not known
        return None
    # So much behind a prompt makes attention a twelfth of a layer's work, whatever the prompt's length.
    sharing = Sharing(widest, int(backbone.causal.config.hidden_size) // 2)
    if spared(columns, sharing) < WORTH:
        return None
    prompt = max(1, min(int(columns.prompt_R.max()), widest - 2))  # behind a longer one there is nothing to be masked
    rest = max(1, sharing.room(prompt) // 2)
    return sharing if can_share(backbone, prompt, rest) else None


def tokens_at_once(backbone: Backbone) -> int:
    """How many tokens are in the model at once where nobody says."""
    return 1024 if backbone.device.type == "cpu" else 16_384
