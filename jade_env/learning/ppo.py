"""PPO for a language model that plays many roles: one update from the turns of a batch of episodes, in one screen.

    L = sum_t w_t [ -min(r_t A_t, clip(r_t) A_t) + kl_t K_t - entropy_t H_t ] + vf_coef * mean 1/2 (V - return)^2

over output tokens t (JADE, arXiv 2601.21916, alg. 2: all roles in one buffer, mixed minibatches; PPO, arXiv 1707.06347, eq. 7
and 9). r_t is against the log-probabilities that the sampler wrote down, under the same temperature and grammar; K_t estimates
the KL to a reference. Where the advantages come from is not known here (`credit`), nor what a turn is in the game.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from jade_env.errors import JadeError
from jade_env.learning import ranks
from jade_env.learning.batches import Columns, Floats, Ints, Micro, Row, collate, microbatches, minibatches
from jade_env.learning.economy import recomputing, says_what_to_lower
from jade_env.learning.losses import clipped_policy_loss, clipped_value_loss, entropy, k2, k3, log_prob, masked
from jade_env.learning.optimizer import Diverged, step_within
from jade_env.learning.states import output_states, sharing_of, tokens_at_once
from jade_env.policy.backbone import Backbone

__all__ = ["Diverged", "Row", "Settings", "log_probs", "update"]

HEAD = 2**26
"""Most logits at once, tokens times vocabulary (256 MB); the rest is computed in turn, and again for the gradient."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an update learns.

    Attributes:
        clip: the ratio counts within 1 - clip and 1 + clip.
        value_clip: a value counts within this of the old one; 0 does not clip.
        vf_coef: weight of the value loss where the value head shares the backbone; 0 trains none.
        value_at: "prompt": one value a turn, read at the last prompt token; "token": one before each output token.
        frozen_values: rows of weight 0 still train the values.
        head_only: the value loss trains the value head and nothing below it, so that the policy stays as it is.
        average: "token": all output tokens of a minibatch weigh as their rows do; "turn": each turn weighs as its row does,
            whatever its length.
        epochs: how often each row is seen. minibatches: optimizer steps an epoch.
        token_budget: tokens in the model at once, padding counted; changes nothing but time and memory. None: 1024 on a
            CPU, 16384 elsewhere.
        share_prompts: where rows have prompts in common, a prompt is read once for as many of them as fit behind it into the
            token budget (`batches.Sharing`), and they keep to the same minibatch; if that spares a tenth of all tokens.
        max_grad_norm: gradients longer than this are shortened to it.
        kl_loss: "k2": half the squared log-ratio to the reference, whose gradient is that of the KL for tokens just drawn and grows
            no faster than the log-ratio; "k3": GRPO's estimate, whose gradient is exponential in it, so that one token that has
            become unlikely outweighs all others.
        target_kl: stop before the step of a minibatch whose approximate KL to the sampling policy exceeds it; 0: never.
    """

    clip: float = 0.2
    value_clip: float = 0.2
    vf_coef: float = 0.0
    value_at: Literal["prompt", "token"] = "prompt"
    frozen_values: bool = False
    head_only: bool = False
    average: Literal["token", "turn"] = "token"
    epochs: int = 1
    minibatches: int = 8
    token_budget: int | None = None
    share_prompts: bool = True
    max_grad_norm: float = 1.0
    kl_loss: Literal["k2", "k3"] = "k2"
    target_kl: float = 0.0


def update(
    backbone: Backbone,
    reference: Backbone | None,
    optimizer: Optimizer,
    rows: Sequence[Row],
    settings: Settings,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Improve the policy, and the values, on rows that it has just played.

    Each output token's weight w_t is its row's, over the sum of row weight times tokens in the minibatch (`average`
    "token"), or its row's over the row's tokens, over the sum of row weights ("turn"). Values count alike.

    Args:
        reference: whose behaviour `Row.kl` holds on to; the backbone itself stands for what it was before its adapters.
        rng: shuffles the rows into minibatches.

    Returns:
        policy_loss, value_loss, grad_norm: means over the steps. steps, stopped_early. tokens: of the rows, as often as
        they were learned from. shared: the share of them that shared prompts saved. padding: its share of what was read.
        Then, over all and as `AGENT/...`, means over the rows' output tokens, whatever the rows' weight: approx_kl (to the
        sampling policy), entropy, clip_fraction, advantage (its size); and ratio_max, output_tokens; and where rows are held to
        the reference, kl (to it, over the tokens of these rows, by the estimate of `kl_loss`).

    Raises:
        Diverged: the loss or gradient of a minibatch is not finite.
        JadeError: a row is broken, a reference is missing, or memory does not suffice.
    """
    optimizer.zero_grad()
    values = settings.vf_coef > 0.0
    rows = [row for row in rows if row.weight > 0.0 or (values and settings.frozen_values)]
    if not rows:
        return _Tally((), backbone.device).figures()
    columns = Columns.of(rows)
    tally = _Tally(columns.agents, backbone.device)
    budget = settings.token_budget or tokens_at_once(backbone)
    held, bonus = bool(columns.kl_R.any()), bool(columns.entropy_R.any())
    learning = _head_alone(backbone) if settings.head_only else contextlib.nullcontext()
    with says_what_to_lower(), recomputing(backbone), learning:
        sharing = sharing_of(columns, budget, backbone) if settings.share_prompts else None
        if held:
            columns.reference_N = _reference(backbone, reference, columns, budget)
        for epoch in range(settings.epochs):
            for number, part in enumerate(minibatches(columns, settings.minibatches, rng, sharing is not None)):
                weight_R = _weights(columns, part, settings)
                count = len(part) if settings.value_at == "prompt" else int(columns.output_R[part].sum())
                for rows_B, unit_B in ranks.share_of(microbatches(columns, part, budget, sharing)):
                    micro = collate(columns, rows_B, unit_B, weight_R, backbone.pad_id, backbone.device)
                    backbone.use(micro.adapter)
                    found = _losses(backbone, micro, settings, count, held, bonus)
                    found.loss.backward()  # type: ignore[no-untyped-call]
                    tally.add(micro, settings, found)
                if not len(part):
                    continue
                tally.share_minibatch()
                if 0.0 < settings.target_kl < tally.minibatch_kl():
                    tally.stopped = True
                    break
                where = f"minibatch {number + 1} of epoch {epoch + 1}"
                tally.end_step(step_within(optimizer, settings.max_grad_norm, tally.loss, where))
            if tally.stopped:
                break
    optimizer.zero_grad()
    return tally.figures()


def log_probs(backbone: Backbone, rows: Sequence[Row], *, token_budget: int | None = None) -> list[Floats]:
    """What a backbone gives to the output tokens of rows, under their temperatures and grammars: float32 [N] for each row."""
    columns = Columns.of(rows)
    flat = _log_probs(backbone, columns, token_budget or tokens_at_once(backbone))
    return np.split(flat, np.cumsum(columns.output_R)[:-1])


@contextlib.contextmanager
def _head_alone(backbone: Backbone) -> Iterator[None]:
    """Nothing below the value head has a gradient, not even one of zeros: for that optimizers decay weights and count steps."""
    head = {id(parameter) for parameter in backbone.head.parameters()}
    below = [parameter for parameter in backbone.parameters() if parameter.requires_grad and id(parameter) not in head]
    for parameter in below:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in below:
            parameter.requires_grad_(True)


# ---- the pieces of a minibatch ---------------------------------------------------------------------------------------


def _weights(columns: Columns, part: Ints, settings: Settings) -> Floats:
    """What each output token of a row weighs in its minibatch, row by row."""
    per_token = columns.weight_R / (columns.output_R if settings.average == "turn" else 1.0)
    total = float((per_token * columns.output_R)[part].sum())
    return cast(Floats, (per_token / max(total, 1e-12)).astype(np.float32))


def _scores(backbone: Backbone, hidden: Tensor, micro: Micro, bonus: bool) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy [M] of the output tokens; the entropy has a gradient only where it earns a bonus."""
    vocabulary = int(backbone.causal.config.vocab_size)

    def score(
        hidden: Tensor, token: Tensor, temperature: Tensor | None, allowed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        logits = backbone.logits(hidden)
        logits = masked(logits if temperature is None else logits / temperature[:, None], allowed)
        with contextlib.nullcontext() if bonus else torch.no_grad():
            spread = entropy(logits)
        return log_prob(logits, token), spread

    size = max(1, HEAD // vocabulary)
    if len(hidden) <= size:
        return score(hidden, micro.token_M, micro.temperature_M, micro.allowed(vocabulary))
    parts = []
    for i in range(0, len(hidden), size):
        allowed = micro.allowed(vocabulary, i, i + size)
        temperature = None if micro.temperature_M is None else micro.temperature_M[i : i + size]
        part = hidden[i : i + size], micro.token_M[i : i + size], temperature, allowed
        parts.append(checkpoint(score, *part, use_reentrant=False) if torch.is_grad_enabled() else score(*part))
    logprobs, spreads = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(spreads)


def _value_loss(backbone: Backbone, hidden: Tensor, micro: Micro, settings: Settings) -> Tensor:
    """The loss of each value: one a row, read at its last prompt token, or one an output token."""
    at = micro.first_B if settings.value_at == "prompt" else torch.arange(len(hidden), device=hidden.device)
    value = backbone.values((hidden.detach() if settings.head_only else hidden)[at])
    return clipped_value_loss(value, micro.value_M[at], micro.return_M[at], settings.value_clip)


# ---- the reference ---------------------------------------------------------------------------------------------------


def _reference(backbone: Backbone, reference: Backbone | None, columns: Columns, budget: int) -> Floats:
    if reference is None:
        raise JadeError(
            "kl: a penalty towards a reference needs one: give a frozen copy, or the backbone with adapters"
        )
    if reference is backbone and backbone.lora is None:
        raise JadeError("kl: a backbone without adapters cannot be its own reference: give a frozen copy")
    with backbone.without_adapters() if reference is backbone else contextlib.nullcontext():
        return _log_probs(reference, columns, budget, np.flatnonzero(columns.kl_R > 0.0))


@torch.no_grad()
def _log_probs(backbone: Backbone, columns: Columns, budget: int, part: Ints | None = None) -> Floats:
    """Of all rows, or of some; the others keep what they were sampled with."""
    found, sharing, said = columns.old_N.copy(), sharing_of(columns, budget, backbone), []
    part = np.arange(len(columns)) if part is None else part
    for rows_B, unit_B in ranks.share_of(microbatches(columns, part, budget, sharing)):
        micro = collate(columns, rows_B, unit_B, columns.weight_R, backbone.pad_id, backbone.device)
        if backbone.lora is not None:
            backbone.use(micro.adapter)
        hidden = output_states(backbone, micro)
        said.append((micro.column_M, _scores(backbone, hidden, micro, False)[0].cpu().numpy()))
    for column_M, logprob_M in chain.from_iterable(ranks.gathered(said)):
        found[column_M] = logprob_M
    return found


# ---- figures ---------------------------------------------------------------------------------------------------------


class _Losses(NamedTuple):
    """What a microbatch adds to the loss of its minibatch, and what that was made of, by output token [M]."""

    loss: Tensor
    policy: Tensor
    value: Tensor
    logprob_M: Tensor
    spread_M: Tensor
    kl_M: Tensor


def _losses(backbone: Backbone, micro: Micro, settings: Settings, count: int, held: bool, bonus: bool) -> _Losses:
    """The loss of a microbatch: `count` values are learned from in its minibatch, `held` and `bonus` say what is asked for."""
    hidden = output_states(backbone, micro)
    logprob_M, spread_M = _scores(backbone, hidden, micro, bonus)
    clipped_M = clipped_policy_loss(logprob_M, micro.old_M, micro.advantage_M, settings.clip)
    estimate = k3 if settings.kl_loss == "k3" else k2
    kl_M = estimate(logprob_M, micro.reference_M) if held else torch.zeros_like(logprob_M)
    policy = (micro.weight_M * clipped_M).sum()
    loss = policy + (micro.weight_M * (micro.kl_M * kl_M - micro.entropy_M * spread_M)).sum()
    value = torch.zeros_like(loss)
    if settings.vf_coef > 0.0:
        value = _value_loss(backbone, hidden, micro, settings).sum() / count
        loss = loss + settings.vf_coef * value
    return _Losses(loss, policy, value, logprob_M, spread_M, kl_M)


class _Tally:
    """Sums over output tokens, agent by agent, kept on the device; read once a minibatch and at the end."""

    SUMS = ("output_tokens", "approx_kl", "entropy", "clip_fraction", "advantage", "held_tokens", "kl")

    def __init__(self, agents: Sequence[str], device: torch.device) -> None:
        self._agents, self.stopped = agents, False
        self._sums = torch.zeros(len(agents), len(self.SUMS), device=device)
        self._highest = torch.zeros(len(agents), device=device)
        self._losses = torch.zeros(3, device=device)  # of the minibatch: all, policy, value
        self._minibatch = torch.zeros(2, device=device)  # tokens and approximate KL
        self._rows = self._real = self._padded = 0
        self._steps: list[tuple[float, float, float]] = []

    @torch.no_grad()
    def add(self, micro: Micro, settings: Settings, found: _Losses) -> None:
        counts = (micro.weight_M > 0.0).float()
        ratio = torch.exp(found.logprob_M - micro.old_M)
        approx_kl = ratio - 1.0 - (found.logprob_M - micro.old_M)
        clipped = (ratio - 1.0).abs() > settings.clip
        held = (micro.kl_M > 0.0).float()
        columns = torch.stack(
            [
                torch.ones_like(ratio),
                approx_kl,
                found.spread_M,
                clipped.float(),
                micro.advantage_M.abs(),
                held,
                found.kl_M * held,
            ],
            1,
        )
        columns = columns * counts.unsqueeze(1)
        self._sums.index_add_(0, micro.agent_M, columns)
        self._highest.scatter_reduce_(0, micro.agent_M, ratio * counts, "amax")
        self._minibatch += columns[:, :2].sum(0)
        self._losses += torch.stack([found.loss, found.policy, found.value])
        self._rows += micro.rows
        self._real += micro.real
        self._padded += micro.padded

    def share_minibatch(self) -> None:
        """Add up what all processes have seen of the minibatch."""
        ranks.summed(self._losses)
        ranks.summed(self._minibatch)

    @property
    def loss(self) -> float:
        return float(self._losses[0])

    def minibatch_kl(self) -> float:
        tokens, total = self._minibatch.tolist()
        return float(total / max(tokens, 1.0))

    def end_step(self, norm: float) -> None:
        _, policy, value = self._losses.tolist()
        self._steps.append((policy, value, norm))
        self._losses.zero_()
        self._minibatch.zero_()

    def figures(self) -> dict[str, float]:
        ranks.summed(self._sums)
        ranks.summed(self._highest, highest=True)
        self._rows, self._real, self._padded = np.sum(
            ranks.gathered((self._rows, self._real, self._padded)), 0
        ).tolist()
        steps = np.array(self._steps or [(0.0, 0.0, 0.0)]).mean(0)
        found = dict(zip(("policy_loss", "value_loss", "grad_norm"), map(float, steps), strict=True))
        found |= {"steps": float(len(self._steps)), "stopped_early": float(self.stopped)}
        found |= {"tokens": float(self._rows), "shared": 1.0 - self._real / max(self._rows, 1)}
        found["padding"] = 1.0 - self._real / max(self._padded, 1)
        sums, highest = self._sums.double().cpu(), self._highest.cpu()
        found |= self._means("", sums.sum(0).tolist(), float(highest.max()) if len(highest) else 0.0)
        for agent, row, most in zip(self._agents, sums.tolist(), highest.tolist(), strict=True):
            found |= self._means(f"{agent}/", row, most)
        return found

    def _means(self, prefix: str, sums: Sequence[float], highest: float) -> dict[str, float]:
        *of_all, held, kl = sums
        tokens = max(of_all[0], 1.0)
        means = {f"{prefix}{name}": total / tokens for name, total in zip(self.SUMS[1:-2], of_all[1:], strict=True)}
        if held:
            means[f"{prefix}kl"] = kl / held
        return {f"{prefix}output_tokens": sums[0], f"{prefix}ratio_max": highest, **means}
