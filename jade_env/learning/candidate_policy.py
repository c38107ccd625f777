"""`CandidatePolicy`: the network of discrete mode as Stable-Baselines3's MaskablePPO wants it. Knows no game.

MaskablePPO(CandidatePolicy, vec_env, policy_kwargs={"layout": vec_env.layout})
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import MaskableDistribution
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from jade_env.errors import ConfigError
from jade_env.learning.candidate_net import CandidateNet, Layout


class CandidatePolicy(MaskableActorCriticPolicy):
    """One scorer applied to every candidate of a turn together with the turn's features and role; a critic beside it.

    Args:
        observation_space: the flat Box of discrete mode.
        action_space: Discrete(K).
        lr_schedule: learning rate as a function of the share of training that remains.
        layout: where things stand in an observation, as (candidate features, turn features, roles).
        network: units of the scorer's hidden layers, first to last.
        per_role: a network for each role instead of one for all.
        entropy_weights: by role, how much its entropy counts in the bonus; 1 for all where not given.
        **kwargs: as MaskableActorCriticPolicy takes them, e.g. the optimizer.

    Raises:
        ConfigError: the layout does not fit the spaces.
    """

    entropy_by_role: Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        layout: tuple[int, int, int] = (1, 0, 1),
        network: Sequence[int] = (64, 64),
        per_role: bool = False,
        entropy_weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        self._layout, self._network, self._per_role = Layout(*layout), tuple(network), per_role
        self._entropy_weights = tuple(entropy_weights or (1.0,) * self._layout.roles)
        size = spaces.utils.flatdim(observation_space)
        actions = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 0
        if actions * self._layout.width + self._layout.context != size:
            raise ConfigError(
                f"CandidatePolicy: a layout of {layout} (candidate features, turn features, roles) and {actions} actions "
                f"make {actions * self._layout.width + self._layout.context} numbers, the observation has {size}"
            )
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.net = CandidateNet(self._layout, self._network, self._per_role)
        self.register_buffer("entropy_by_role", torch.tensor(self._entropy_weights), persistent=False)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        layout = (self._layout.width, self._layout.turn_width, self._layout.roles)
        mine = {
            "layout": layout,
            "network": self._network,
            "per_role": self._per_role,
            "entropy_weights": self._entropy_weights,
        }
        return super()._get_constructor_parameters() | mine

    def _both(self, obs: Any, action_masks: Any) -> tuple[MaskableDistribution, Tensor]:
        logits, values = self.net(obs.float())
        distribution = self.action_dist.proba_distribution(action_logits=logits)
        if action_masks is not None:
            distribution.apply_masking(action_masks)
        return distribution, values.unsqueeze(1)

    def forward(
        self, obs: Tensor, deterministic: bool = False, action_masks: np.ndarray | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions, values and log-probabilities for a batch of observations."""
        distribution, values = self._both(obs, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, values, distribution.log_prob(actions)

    def evaluate_actions(
        self, obs: Tensor, actions: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, log-probabilities of given actions, and entropies times their roles' weights."""
        distribution, values = self._both(obs, action_masks)
        weights = obs[:, -self._layout.roles :].float() @ self.entropy_by_role
        entropy = distribution.entropy()
        return values, distribution.log_prob(actions), None if entropy is None else entropy * weights

    def get_distribution(self, obs: Any, action_masks: np.ndarray | None = None) -> MaskableDistribution:
        """The distribution over actions."""
        return self._both(obs, action_masks)[0]

    def predict_values(self, obs: Any) -> Tensor:
        """The critic's values, of shape (B, 1)."""
        return self._both(obs, None)[1]
