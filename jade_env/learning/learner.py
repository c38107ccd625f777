"""One model that learns: a backbone, the policy it began as, a critic if there is one, their optimizers, and how they update.

A training has one such learner, or one for each of several backbones; each learns from the turns of its own agents. Knows shares
of credit and PPO; knows no game and no run folder.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from jade_env.language_recipe import GROUPED, PpoRecipe
from jade_env.learning import checkpoint, ppo
from jade_env.learning.critic import train_critic, values_of
from jade_env.learning.economy import says_what_to_lower
from jade_env.learning.language_team import backbone_of, manner_of
from jade_env.learning.optimizer import adamw
from jade_env.learning.shares import Share
from jade_env.policy.backbone import Backbone
from jade_env.policy.language_model import LanguageModelPolicy
from jade_env.policy.sampling import Sample


class Learner:
    """A backbone that learns.

    Args:
        plan: the recipe, its `backbone` the one meant.
        roles: of the scenario, for adapters.
        everybody: whether all agents that the model plays learn; if not, the others are played by what it began as.

    Attributes:
        backbone, critic, reference: the model, its critic where that is apart, and the model as it began.
        player, frozen: policies of the model and of what it began as.
    """

    def __init__(self, plan: PpoRecipe, roles: Sequence[str], everybody: bool) -> None:
        self.plan = plan
        self.backbone = backbone_of(plan, roles)
        if not plan.train_embeddings:  # before the critic is copied, whose own rest as well
            self.backbone.causal.get_input_embeddings().requires_grad_(False)
        self.critic, self.reference = self._companions(everybody)
        self.player = LanguageModelPolicy(self.backbone, manner_of(plan))
        bare = self.reference is self.backbone
        self.frozen = self.player if everybody else LanguageModelPolicy(self.reference, manner_of(plan), bare=bare)
        self.optimizer = _optimizer(self.backbone, plan.learning_rate, plan)
        self.critic_optimizer = (
            None if self.critic is None else _optimizer(self.critic, plan.critic_learning_rate, plan)
        )

    def _companions(self, everybody: bool) -> tuple[Backbone | None, Backbone]:
        """A critic of its own, if there is one, and the policy as it began: the same object where adapters do all the learning."""
        critic = copy.deepcopy(self.backbone) if self.plan.critic == "separate" else None
        if not self.plan.needs_reference(everybody):
            return critic, self.backbone
        reference = copy.deepcopy(self.backbone)
        for parameter in reference.parameters():
            parameter.requires_grad_(False)
        return critic, reference

    # ---- learning ---------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Give back what playing holds in memory: playing and learning take turns."""
        for player in (self.player, self.frozen):
            player.generator.release()
        if self.backbone.device.type == "cuda":
            torch.cuda.empty_cache()

    def values(self, samples: Sequence[Sample], roles: Sequence[str]) -> list[Any] | None:
        """What the critic says of turns that it has tokens of, and of whose roles; None where nobody asks."""
        plan = self.plan
        if plan.credit in GROUPED:
            return None
        if _value_at(plan) == "prompt" and self.critic is None and self.frozen is self.player:
            return [sample.value for sample in samples]
        with says_what_to_lower():
            return values_of(self.critic or self.backbone, samples, _value_at(plan), plan.token_budget, roles)

    def learn(self, found: Sequence[Share], step: int, rng: np.random.Generator) -> dict[str, float]:
        """Update on a step's turns; the figures, those of single roles as `ROLE/...`.

        Raises:
            Diverged: a loss or gradient is not a number; the weights are those before.
            JadeError: memory does not suffice.
        """
        plan, factor = self.plan, self.plan.rate(step)
        figures: dict[str, float] = {"learning_rate": plan.learning_rate * factor}
        if self.critic is not None and self.critic_optimizer is not None:
            _set_rate(self.critic_optimizer, plan.critic_learning_rate * min(1.0, (step + 1) / 5))
            figures |= self._train_critic(found, rng)
        if warming := step < plan.critic_warmup:
            found = [_silenced(share) for share in found]
        _set_rate(self.optimizer, plan.learning_rate * factor)
        if plan.critic != "head":  # turns whose siblings did just as well teach nothing: time is spent on the others
            figures["teaching"] = float(np.mean([share.teaches for share in found])) if found else 0.0
            found = [share for share in found if share.teaches]
        return figures | (self._update(found, rng, warming) if found else {})

    def _update(self, found: Sequence[Share], rng: np.random.Generator, warming: bool) -> dict[str, float]:
        plan = self.plan
        settings = ppo.Settings(
            clip=plan.clip,
            value_clip=plan.value_clip or 0.0,
            vf_coef=plan.vf_coef if plan.critic == "head" else 0.0,
            value_at=_value_at(plan),
            frozen_values=plan.critic == "head",
            head_only=warming,
            average=plan.average,
            epochs=plan.epochs,
            minibatches=plan.minibatches,
            token_budget=plan.token_budget,
            max_grad_norm=plan.max_grad_norm,
            kl_loss=plan.kl_loss,
            target_kl=plan.target_kl or 0.0,
        )
        rows = [_row(share, self.backbone) for share in found]
        figures = ppo.update(self.backbone, self.reference, self.optimizer, rows, settings, rng)
        self.player.generator.reset()
        return figures

    def _train_critic(self, found: Sequence[Share], rng: np.random.Generator) -> dict[str, float]:
        """Passes of the critic alone over the step's turns, those of frozen agents, too."""
        plan = self.plan
        assert self.critic is not None and self.critic_optimizer is not None
        figures = train_critic(
            self.critic,
            self.critic_optimizer,
            [_row(share, self.critic) for share in found],
            _value_at(plan),
            rng,
            clip=plan.value_clip or 0.0,
            epochs=plan.critic_epochs,
            minibatches=plan.minibatches,
            token_budget=plan.token_budget,
            max_grad_norm=plan.max_grad_norm,
        )
        return {"critic_loss": figures["value_loss"], "critic_grad_norm": figures["grad_norm"]}

    # ---- stopping and going on --------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds beside the backbone's weights: both optimizers, and the critic."""
        found = checkpoint.optimizer_tensors(self.optimizer)
        if self.critic is not None and self.critic_optimizer is not None:
            found |= {f"critic.{name}": t for name, t in self.critic.learned().items()}
            found |= {f"critic_{name}": t for name, t in checkpoint.optimizer_tensors(self.critic_optimizer).items()}
        return found

    def restore(self, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
        """Take back the backbone's weights and what `tensors` gave."""
        self.backbone.load_learned(dict(weights))
        checkpoint.restore_optimizer(self.optimizer, tensors)
        if self.critic is not None and self.critic_optimizer is not None:
            self.critic.load_learned(under(tensors, "critic."))
            own = {f"optimizer.{name}": t for name, t in under(tensors, "critic_optimizer.").items()}
            checkpoint.restore_optimizer(self.critic_optimizer, own)


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it; with none, those of the first learner."""
    if not prefix:
        return {name: tensor for name, tensor in tensors.items() if ":" not in name}
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer(backbone: Backbone, rate: float, plan: PpoRecipe) -> torch.optim.Optimizer:
    learning = [p for p in backbone.parameters() if p.requires_grad]
    return adamw(learning, rate, plan.weight_decay, offload=plan.offload)


def _set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


def _value_at(plan: PpoRecipe) -> Literal["prompt", "token"]:
    return "token" if plan.credit == "broadcast" else "prompt"


def _row(share: Share, backbone: Backbone) -> ppo.Row:
    return ppo.Row(
        sample=share.sample,
        agent=share.part,
        advantage_N=share.advantage,
        weight=share.weight,
        entropy=share.entropy,
        kl=share.kl,
        return_=share.return_,
        value=share.value,
        adapter=backbone.adapter_of(share.role),
    )


def _silenced(share: Share) -> Share:
    """A turn that teaches values only."""
    return replace(share, weight=0.0, kl=0.0, entropy=0.0)
