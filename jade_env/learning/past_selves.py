"""Past selves of a learner, frozen on its way: whom a side of a duel plays against while it learns. Knows no learner.

One of them plays each game from its beginning to its end, drawn by the game's number from those that were there when it began,
the network at the start among them. They are files of the run folder, so that a run that is gone on with meets the same opponents.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from jade_env import streams
from jade_env.envs.turn import Action, Turn
from jade_env.errors import DataError
from jade_env.files import write_whole
from jade_env.learning.candidate_net import CandidateNet
from jade_env.learning.player import NetworkPolicy, network_of

FOLDER = "past"
BEGINS = "first_game"
"""Beside a network's tensors: the first game that it may play."""


class PastSelves:
    """A policy made of frozen networks.

    Args:
        run: the run folder; what was frozen in it up to `timesteps` is met again, anything later is forgotten.
        recipe: the resolved recipe, which the networks are made by.
        agents: the roles of the networks, in order.
        seed: of who plays which game.
        timesteps: how far the run is.
    """

    def __init__(
        self, run: Path, recipe: Mapping[str, object], agents: Sequence[str], seed: int, timesteps: int
    ) -> None:
        self._folder, self._recipe, self._agents, self._seed = run / FOLDER, recipe, tuple(agents), seed
        self.selves: dict[int, NetworkPolicy] = {}
        self._begins: list[int] = []
        for file in sorted(self._folder.glob("*.safetensors")):
            if (number := int(file.stem)) > timesteps:
                file.unlink()
            else:
                tensors = _read(file)
                self._begins.append(int(tensors.pop(BEGINS, torch.zeros(()))))
                self.selves[number] = self._policy(tensors)

    def freeze(self, timesteps: int, net: CandidateNet, game: int) -> None:
        """Keep the network as it is now; it plays `game` and later ones, those that have not begun."""
        tensors = {name: tensor.detach().clone().contiguous() for name, tensor in net.state_dict().items()}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(
            self._folder / f"{timesteps:09d}.safetensors",
            safetensors.torch.save(tensors | {BEGINS: torch.tensor(game)}),
        )
        self._begins.append(game)
        self.selves[timesteps] = self._policy(tensors)

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return one action a turn, drawn by the past self that plays its game."""
        known = list(self.selves.values())
        shares: dict[int, list[int]] = {}
        for place, turn in enumerate(turns):
            game = turn.episode // turn.game.rules.rivals
            there = bisect_right(self._begins, game)
            shares.setdefault(streams.bits("past", self._seed, game) % there, []).append(place)
        actions: list[Action] = [0] * len(turns)
        for number, places in shares.items():
            for place, action in zip(places, known[number].act([turns[p] for p in places]), strict=True):
                actions[place] = action
        return actions

    def _policy(self, tensors: Mapping[str, Tensor]) -> NetworkPolicy:
        net = network_of(self._recipe, len(self._agents))
        net.load_state_dict(dict(tensors))
        return NetworkPolicy(net, self._agents, greedy=False, name="a past self")


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(file.read_bytes())
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
