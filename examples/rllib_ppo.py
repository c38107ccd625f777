"""RLlib: PPO on the parallel environment, one module shared by all roles.

    pip install -r examples/requirements-rllib.txt        # in an environment of its own, then jade-env itself
    python examples/rllib_ppo.py 20                       # iterations

`ParallelPettingZooEnv` takes the environment as it is. RLlib's default module knows no masks, so a module of our own scores the
numbered candidates. An agent without a turn has one legal action, the no-op.
"""

import sys

import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env
from torch import nn

import jade_env
from jade_env.envs.features import CANDIDATE_FEATURES

WIDTH = len(CANDIDATE_FEATURES)


class Candidates(TorchRLModule, ValueFunctionAPI):
    """Scores each candidate by its own features and the turn's; the value is the mean over the legal ones."""

    def setup(self) -> None:
        inputs = self.observation_space["observation"].shape[0] - (self.action_space.n - 1) * WIDTH
        self.net = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def _forward(self, batch: dict, **_: object) -> dict:
        scores, _ = self.weigh(batch)
        return {Columns.ACTION_DIST_INPUTS: scores.masked_fill(batch[Columns.OBS]["action_mask"] == 0, -1e8)}

    def compute_values(self, batch: dict, embeddings: object = None) -> torch.Tensor:
        _, values = self.weigh(batch)
        mask = batch[Columns.OBS]["action_mask"]
        return (values * mask).sum(-1) / mask.sum(-1)

    def weigh(self, batch: dict) -> tuple[torch.Tensor, ...]:
        obs, rows = batch[Columns.OBS]["observation"], self.action_space.n
        turn = obs[..., None, rows * WIDTH :].expand(*obs.shape[:-1], rows, -1)
        candidates = obs[..., : rows * WIDTH].unflatten(-1, (rows, WIDTH))
        return self.net(torch.cat([candidates, turn], -1)).unbind(-1)


def main(iterations: int = 20, ticks: int = 1000) -> list[float]:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    register_env("jade", lambda _: ParallelPettingZooEnv(jade_env.parallel_env("cooperative")))
    config = (
        PPOConfig()
        .environment("jade")
        .env_runners(num_env_runners=0)
        .multi_agent(policies={"team"}, policy_mapping_fn=lambda *_, **__: "team")
        .rl_module(rl_module_spec=RLModuleSpec(module_class=Candidates))
        .training(train_batch_size_per_learner=ticks, minibatch_size=128, num_epochs=4, gamma=1.0, lr=1e-3)
        .debugging(seed=0, log_level="ERROR")
    )
    algorithm, curve = config.build_algo(), []
    for _ in range(iterations):
        results = algorithm.train()["env_runners"]
        curve.append(float(results["agent_episode_returns_mean"]["planner"]))  # every agent earns what the team does
        print(f"iteration {len(curve):3}: net score {curve[-1]:+.3f}")
    algorithm.stop()
    ray.shutdown()
    return curve


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
