"""Parallel environments as one environment of TorchRL, for learners that want tensors of all agents side by side.

    env = ParallelEnvs([jade_env.parallel_env("cooperative", seed=seed) for seed in range(16)])

N environments, A agents, K actions, D numbers of an observation, S of the central state. TorchRL's own wrapper takes one
environment at a time, some milliseconds a step; here a step is a loop over environments and one array of each kind. Knows
PettingZoo's parallel interface and nothing of the game. Needs torchrl, which no extra of this package installs.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from jade_env.envs.parallel import ParallelEnv
from jade_env.errors import JadeError

GROUP = "agents"
MAX_EPISODES_WITHOUT_A_TURN = 1000


class ParallelEnvs(EnvBase):  # type: ignore[misc]
    """N parallel environments of one scenario, in discrete mode, stepped together.

    Keys: `(agents, observation)` [N, A, D], `(agents, action_mask)` [N, A, K], `(agents, action)` [N, A], `(agents, reward)`
    [N, A, 1], `state` [N, S], and `done`, `terminated`, `truncated` [N, 1]. Whoever collects resets what has ended.

    Args:
        envs: the environments, each with a seed of its own.

    Attributes:
        finished: the numeric infos of every episode that has ended, for whoever clears the list.
    """

    def __init__(self, envs: Sequence[ParallelEnv]) -> None:
        count, first = len(envs), envs[0]
        super().__init__(device=torch.device("cpu"), batch_size=torch.Size([count]))
        self.envs, self.agents = list(envs), list(first.possible_agents)
        self.finished: list[dict[str, float]] = []
        self._seeds: list[int | None] = [None] * count
        space = first.observation_space(self.agents[0])
        seats, size = len(self.agents), space["observation"].shape[0]
        actions, states = space["action_mask"].shape[0], first.state_space.shape[0]
        self._vectors = np.zeros((count, seats, size), np.float32)
        self._masks = np.zeros((count, seats, actions), bool)
        self._states = np.zeros((count, states), np.float32)
        each = {
            "observation": Unbounded((count, seats, size)),
            "action_mask": Binary(actions, (count, seats, actions), dtype=torch.bool),
        }
        self.observation_spec = Composite(
            {GROUP: Composite(each, shape=(count, seats)), "state": Unbounded((count, states))}, shape=(count,)
        )
        chosen = Composite({"action": Categorical(actions, (count, seats))}, shape=(count, seats))
        self.action_spec = Composite({GROUP: chosen}, shape=(count,))
        earned = Composite({"reward": Unbounded((count, seats, 1))}, shape=(count, seats))
        self.reward_spec = Composite({GROUP: earned}, shape=(count,))
        flag = Categorical(2, (count, 1), dtype=torch.bool)
        self.done_spec = Composite(
            {"done": flag, "terminated": flag.clone(), "truncated": flag.clone()}, shape=(count,)
        )

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDictBase:
        asked = None if tensordict is None else tensordict.get("_reset", None)
        again = range(len(self.envs)) if asked is None else asked.reshape(-1).nonzero().reshape(-1).tolist()
        for place in again:
            self._open(place)
        none = torch.zeros((len(self.envs), 1), dtype=torch.bool)
        return self._tensors({"done": none, "terminated": none.clone(), "truncated": none.clone()})

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        chosen = tensordict[GROUP, "action"].tolist()
        earned = np.zeros((len(self.envs), len(self.agents), 1), np.float32)
        ends = np.zeros((2, len(self.envs), 1), bool)  # terminated, truncated
        for place, env in enumerate(self.envs):
            seen, rewards, terminated, truncated, infos = env.step(dict(zip(self.agents, chosen[place], strict=True)))
            self._see(place, seen)
            earned[place, :, 0] = [rewards[agent] for agent in self.agents]
            ends[:, place] = [[any(terminated.values())], [any(truncated.values())]]
            if not env.agents:
                self.finished.append({key: float(value) for key, value in infos[self.agents[0]].items()})
        done = {"done": ends.any(0), "terminated": ends[0], "truncated": ends[1]}
        found = self._tensors({key: torch.from_numpy(value.copy()) for key, value in done.items()})
        found[GROUP, "reward"] = torch.from_numpy(earned)
        return found

    def _open(self, place: int) -> None:
        """Open an episode that somebody can play: one whose retriever is down ends before it has begun."""
        seed, self._seeds[place] = self._seeds[place], None
        for _ in range(MAX_EPISODES_WITHOUT_A_TURN):
            seen, infos = self.envs[place].reset(seed)
            if self.envs[place].agents:
                self._see(place, seen)
                return
            seed = None
        failed = infos[self.agents[0]]["failed"]
        raise JadeError(
            f"{MAX_EPISODES_WITHOUT_A_TURN} episodes ended before anybody had a turn"
            + ("; is the retriever down?" if failed else "")
        )

    def _set_seed(self, seed: int | None) -> None:
        """Restart every environment's order of questions, each by a seed of its own, at its next reset."""
        if seed is not None:
            self._seeds = [seed + place for place in range(len(self.envs))]

    def _see(self, place: int, seen: Mapping[str, Any]) -> None:
        for seat, agent in enumerate(self.agents):
            self._vectors[place, seat] = seen[agent]["observation"]
            self._masks[place, seat] = seen[agent]["action_mask"]
        self._states[place] = self.envs[place].state()

    def _tensors(self, ends: Mapping[str, Tensor]) -> TensorDictBase:
        """What is seen now, copied."""
        each = {
            "observation": torch.from_numpy(self._vectors.copy()),
            "action_mask": torch.from_numpy(self._masks.copy()),
        }
        seats = torch.Size([len(self.envs), len(self.agents)])
        return TensorDict(
            {GROUP: TensorDict(each, seats), "state": torch.from_numpy(self._states.copy()), **ends}, self.batch_size
        )
