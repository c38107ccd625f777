"""TorchRL: MAPPO over the parallel environment, wrapped as it is.

    pip install "torchrl>=0.14"                           # beside jade-env[train]
    python examples/torchrl_mappo.py 40                   # updates

`PettingZooWrapper` finds the spaces, the masks and the infos by itself. All agents are one group that shares an actor; the critic
sees them all. An agent without a turn has one legal action, the no-op, so it is part of the batch and teaches the actor nothing.
"""

import sys

import torch
from tensordict.nn import TensorDictModule
from torchrl.collectors import Collector
from torchrl.envs import MarlGroupMapType
from torchrl.envs.libs.pettingzoo import PettingZooWrapper
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MaskedCategorical, MultiAgentMLP, ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss, ValueEstimators

import jade_env

SEEN, MASK, LOGITS, VALUE = (
    ("agents", *key) for key in (("observation", "observation"), ("action_mask",), ("logits",), ("state_value",))
)


def main(updates: int = 20, ticks: int = 512) -> list[float]:
    torch.manual_seed(0)
    game = jade_env.parallel_env("cooperative")
    env = PettingZooWrapper(game, group_map=MarlGroupMapType.ALL_IN_ONE_GROUP, use_mask=False, seed=0)
    check_env_specs(env)
    size, actions = game.observation_space("planner")["observation"].shape[0], int(game.action_space("planner").n)
    shape = {"n_agent_inputs": size, "n_agents": len(game.possible_agents), "share_params": True, "num_cells": [64, 64]}
    actor = ProbabilisticActor(
        TensorDictModule(
            MultiAgentMLP(n_agent_outputs=actions, centralized=False, **shape), in_keys=[SEEN], out_keys=[LOGITS]
        ),
        in_keys={"logits": LOGITS, "mask": MASK},
        out_keys=[env.action_key],
        distribution_class=MaskedCategorical,
        return_log_prob=True,
        log_prob_key=("agents", "log_prob"),
    )
    critic = ValueOperator(
        MultiAgentMLP(n_agent_outputs=1, centralized=True, **shape), in_keys=[SEEN], out_keys=[VALUE]
    )
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01, normalize_advantage=True)
    loss.set_keys(
        reward=env.reward_key,
        action=env.action_key,
        sample_log_prob=("agents", "log_prob"),
        value=VALUE,
        done=("agents", "done"),
        terminated=("agents", "terminated"),
    )
    loss.make_value_estimator(ValueEstimators.GAE, gamma=1.0, lmbda=0.95)
    optimizer = torch.optim.Adam(loss.parameters(), 3e-4)
    curve = []
    for batch in Collector(env, actor, frames_per_batch=ticks, total_frames=ticks * updates):
        with torch.no_grad():
            loss.value_estimator(
                batch, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        for rows in (rows for _ in range(4) for rows in torch.randperm(ticks).split(128)):
            terms = loss(batch[rows])
            optimizer.zero_grad()
            sum(terms[name] for name in ("loss_objective", "loss_critic", "loss_entropy")).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
            optimizer.step()
        over = batch["next", "done"].squeeze(-1)
        curve.append(batch["next", "agents", "info", "f1"][over].mean().item())
        print(f"update {len(curve):3}: F1 {curve[-1]:.3f} over {int(over.sum())} episodes")
    return curve


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
