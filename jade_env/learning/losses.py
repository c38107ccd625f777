"""The terms of PPO's loss, one number a token: small pure functions of tensors. Knows no model, no batch and no game."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_policy_loss(logprob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) with r = pi / pi_old (PPO, arXiv 1707.06347, eq. 7), elementwise."""
    ratio = torch.exp(logprob - old)
    return -torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def clipped_value_loss(value: Tensor, old: Tensor, return_: Tensor, clip: float) -> Tensor:
    """Half the squared error, the worse of the value and of the value kept within `clip` of the old one; 0 does not clip."""
    error = (value - return_) ** 2
    if clip > 0.0:
        near = old + (value - old).clamp(-clip, clip)
        error = torch.maximum(error, (near - return_) ** 2)
    return 0.5 * error


def k1(logprob: Tensor, reference: Tensor) -> Tensor:
    """log pi - log ref of tokens drawn from pi: unbiased for KL(pi, ref), high variance (Schulman, "Approximating KL")."""
    return logprob - reference


def k2(logprob: Tensor, reference: Tensor) -> Tensor:
    """Half the squared log-ratio: biased, low variance; its gradient is that of KL(pi, ref) in expectation."""
    return 0.5 * (logprob - reference) ** 2


def k3(logprob: Tensor, reference: Tensor) -> Tensor:
    """ref / pi - 1 - log(ref / pi) of tokens drawn from pi: unbiased for KL(pi, ref), never negative, low variance."""
    log_ratio = reference - logprob
    return torch.expm1(log_ratio) - log_ratio


def masked(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """Logits [..., V] with minus infinity wherever the mask [..., V] does not allow a token; None allows all."""
    return logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)


def log_prob(logits: Tensor, token: Tensor) -> Tensor:
    """log softmax(logits)[token] for logits [M, V] and tokens [M], without keeping the softmax."""
    return logits.gather(-1, token.unsqueeze(-1)).squeeze(-1) - torch.logsumexp(logits, -1)


def entropy(logits: Tensor, allowed: Tensor | None = None) -> Tensor:
    """Entropy in nats [...] of the distribution over the allowed tokens, logits [..., V]; with its gradient."""
    log_p = torch.log_softmax(masked(logits, allowed), -1)
    return -(log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0.0)).sum(-1)
