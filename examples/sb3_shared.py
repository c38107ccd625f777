"""Stable-Baselines3: one network plays every role of the team.

    python examples/sb3_shared.py 100000                  # turns to train on; needs jade-env[train]

`make_vec_env` is an ordinary VecEnv with one row a turn, whoever's turn it is, so all roles share the parameters of one
MaskablePPO. `CandidatePolicy` scores each numbered candidate by itself; SB3's "MlpPolicy" works in its place, and learns less.
"""

import sys

import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import VecMonitor

from jade_env.learning.candidate_policy import CandidatePolicy
from jade_env.learning.sb3 import make_vec_env


def mean_f1(model: MaskablePPO, episodes: int) -> float:
    """Play questions that were not trained on; at an episode's end the info says how it went."""
    env = make_vec_env("cooperative", n=32, split="dev", seed=0)
    observations, scores = env.reset(), []
    while len(scores) < episodes:
        actions, _ = model.predict(observations, action_masks=env.action_masks(), deterministic=True)
        observations, _, dones, infos = env.step(actions)
        scores += [info["f1"] for info, done in zip(infos, dones, strict=True) if done]
    return float(np.mean(scores))


def main(turns: int = 50_000, episodes: int = 200) -> float:
    env = make_vec_env("cooperative", n=32, seed=0)
    model = MaskablePPO(
        CandidatePolicy,
        VecMonitor(env),
        policy_kwargs={"layout": env.layout},
        n_steps=64,
        batch_size=512,
        n_epochs=4,
        gamma=1.0,  # the reward comes at the end of a short episode
        ent_coef=0.01,
        learning_rate=1e-3,
        seed=0,
    )
    print(f"before: F1 {mean_f1(model, episodes):.3f}")
    model.learn(turns)
    trained = mean_f1(model, episodes)
    print(f"after {model.num_timesteps} turns: F1 {trained:.3f}")
    return trained


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
