"""The network of discrete mode: one scorer applied to every candidate of a turn, and a critic that reads the turn as a whole.

Knows tensors laid out as `envs/encoding.py` writes them. Knows no game, no learner, and not what any feature means.
Shapes: B turns, K actions, F candidate features, C context features (the turn's and the role one-hot), N candidates in all.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

ILLEGAL = -1e8
"""The logit of an action that is not a candidate."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in an observation vector: K rows of `width` features, then `turn_width`, then `roles`."""

    width: int
    turn_width: int
    roles: int

    @property
    def context(self) -> int:
        """C, the features of the turn and the role one-hot."""
        return self.turn_width + self.roles

    def actions(self, size: int) -> int:
        """K of an observation vector of `size` numbers."""
        return (size - self.context) // self.width


class CandidateNet(nn.Module):
    """Logits of all actions and a value for a batch of turns, from one network or from one for each role.

    K is read off the length of the vectors, so a network plays scenarios of different K.

    Args:
        layout: of the observation vectors.
        hidden: units of the scorer's hidden layers.
        per_role: a scorer and critic for each role, instead of one that is told the role.
    """

    def __init__(self, layout: Layout, hidden: Sequence[int], per_role: bool) -> None:
        super().__init__()
        self.layout = layout
        self.players = nn.ModuleList(_Player(layout, hidden) for _ in range(layout.roles if per_role else 1))

    def forward(self, obs_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of shape (B, K), `ILLEGAL` where there is no candidate, and values of shape (B,)."""
        if len(self.players) == 1:
            return self.players[0](obs_BD)  # type: ignore[no-any-return]
        role_B = obs_BD[:, -self.layout.roles :].argmax(1)
        logits_BK = obs_BD.new_full((len(obs_BD), self.layout.actions(obs_BD.shape[1])), ILLEGAL)
        values_B = obs_BD.new_zeros(len(obs_BD))
        for role, player in enumerate(self.players):
            own = (role_B == role).nonzero().squeeze(1)
            if len(own):
                logits, values = player(obs_BD[own])
                logits_BK, values_B = logits_BK.index_copy(0, own, logits), values_B.index_copy(0, own, values)
        return logits_BK, values_B


class _Player(nn.Module):
    """A scorer and a critic. Only rows that hold a candidate are computed: most turns have far fewer than K.

    The same column means different things for different roles, so each role has input layers of its own; what is above them
    is common.
    """

    def __init__(self, layout: Layout, hidden: Sequence[int]) -> None:
        super().__init__()
        self.layout = layout
        first = hidden[0]
        self.row = nn.ModuleList(nn.Linear(layout.width, first) for _ in range(layout.roles))
        self.context = nn.Linear(layout.context, first, bias=False)
        self.deeper = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.score = nn.Linear(hidden[-1], 1)
        self.critic_row = nn.ModuleList(nn.Linear(layout.width, first) for _ in range(layout.roles))
        value = nn.Linear(first, 1)
        self.critic = nn.Sequential(nn.Linear(layout.context + 2 * first, first), nn.ReLU(), value)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 2**0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.orthogonal_(self.score.weight, 0.01)
        nn.init.orthogonal_(value.weight, 0.1)

    def forward(self, obs_BD: Tensor) -> tuple[Tensor, Tensor]:
        turns, actions, width = len(obs_BD), self.layout.actions(obs_BD.shape[1]), self.layout.width
        order_B = obs_BD[:, -self.layout.roles :].argmax(1).argsort(stable=True)  # turns of one role stand together
        obs_BD = obs_BD.index_select(0, order_B)
        rows_BKF = obs_BD[:, : actions * width].reshape(turns, actions, width)
        context_BC = obs_BD[:, actions * width :]
        there_BK = (rows_BKF != 0).any(2)
        owner_N, rows_NF = there_BK.nonzero()[:, 0], rows_BKF[there_BK]
        role_N = context_BC[:, -self.layout.roles :].argmax(1).index_select(0, owner_N)
        counts = torch.bincount(role_N, minlength=self.layout.roles).tolist()
        rows: tuple[Tensor, ...] = rows_NF.split(counts)  # type: ignore[no-untyped-call]
        logits_BK = obs_BD.new_full((turns, actions), ILLEGAL)
        logits_BK[there_BK] = self._scores(rows, owner_N, context_BC)
        values_B = self._values(rows, owner_N, context_BC)
        back_B = order_B.argsort()
        return logits_BK.index_select(0, back_B), values_B.index_select(0, back_B)

    def _scores(self, rows_RNF: Sequence[Tensor], owner_N: Tensor, context_BC: Tensor) -> Tensor:
        read_NH = torch.cat([layer(rows) for layer, rows in zip(self.row, rows_RNF, strict=True)])
        hidden_NH = torch.relu(read_NH + self.context(context_BC).index_select(0, owner_N))
        for layer in self.deeper:
            hidden_NH = torch.relu(layer(hidden_NH))
        return self.score(hidden_NH).squeeze(1)  # type: ignore[no-any-return]

    def _values(self, rows_RNF: Sequence[Tensor], owner_N: Tensor, context_BC: Tensor) -> Tensor:
        """From the context and the mean and maximum over the candidates, which the critic reads for itself."""
        read_NH = torch.cat([layer(rows) for layer, rows in zip(self.critic_row, rows_RNF, strict=True)])
        hidden_NH = torch.relu(read_NH)
        empty_BH = hidden_NH.new_zeros(len(context_BC), hidden_NH.shape[1])
        count_B = torch.bincount(owner_N, minlength=len(context_BC)).clamp(min=1)
        mean_BH = empty_BH.index_add(0, owner_N, hidden_NH) / count_B.unsqueeze(1)
        largest_BH = empty_BH.scatter_reduce(0, owner_N.unsqueeze(1).expand_as(hidden_NH), hidden_NH, "amax")
        return self.critic(torch.cat((context_BC, mean_BH, largest_BH), 1)).squeeze(1)  # type: ignore[no-any-return]
