"""A PPO loop in CleanRL's manner, on the parallel environment: plain torch, one file, nothing hidden.

    python examples/cleanrl_ppo.py 60                     # updates; needs torch

In a tick several agents may act at once; one network plays them all. A masked action is never malformed, so every agent gets the
same reward, and advantages are the team's: what a tick is worth is the mean over the agents that act in it.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import jade_env
from jade_env.envs.features import CANDIDATE_FEATURES

ENVS, TICKS, EPOCHS, MINIBATCH = 16, 32, 4, 256
GAMMA, LAMBDA, CLIP, ENTROPY, LEARNING_RATE, WIDTH = 1.0, 0.95, 0.2, 0.01, 1e-3, len(CANDIDATE_FEATURES)


def weigh(net: nn.Module, obs: torch.Tensor, mask: torch.Tensor) -> tuple[Categorical, torch.Tensor]:
    """Score every candidate by its own features and the turn's; the value is the mean over the legal ones."""
    rows, turn = obs[:, : mask.shape[1] * WIDTH].unflatten(1, (-1, WIDTH)), obs[:, mask.shape[1] * WIDTH :]
    scores, values = net(torch.cat([rows, turn[:, None].expand(-1, rows.shape[1], -1)], 2)).unbind(2)
    return Categorical(logits=scores.masked_fill(mask == 0, -1e8)), (values * mask).sum(1) / mask.sum(1)


def main(updates: int = 40) -> list[float]:
    torch.manual_seed(0)
    envs = [jade_env.parallel_env("cooperative") for _ in range(ENVS)]
    seen = [env.reset(seed=number)[0] for number, env in enumerate(envs)]
    inputs = seen[0]["planner"]["observation"].size - (seen[0]["planner"]["action_mask"].size - 1) * WIDTH
    net = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer, curve = torch.optim.Adam(net.parameters(), LEARNING_RATE, eps=1e-5), []
    while len(curve) < updates:
        steps, scores = [], []
        rewards, dones, values, advantages = np.zeros((4, TICKS + 1, ENVS), np.float32)
        for tick in range(TICKS + 1):  # the last one only tells what the present is worth
            acting = [(n, a) for n, o in enumerate(seen) for a in o if not o[a]["action_mask"][0]]  # 0 is the no-op
            at = [seen[n][a] for n, a in acting]
            obs, mask = (torch.from_numpy(np.stack([o[key] for o in at])) for key in ("observation", "action_mask"))
            who = np.array([n for n, _ in acting])
            with torch.no_grad():
                policy, value = weigh(net, obs, mask)
                action = policy.sample()
            values[tick] = np.bincount(who, value.numpy(), ENVS) / np.bincount(who, minlength=ENVS)
            if tick < TICKS:
                steps.append((obs, mask, action, policy.log_prob(action), torch.from_numpy(who + tick * ENVS)))
                for n, env in enumerate(envs):
                    chosen = {a: int(action[i]) for i, (m, a) in enumerate(acting) if m == n}
                    seen[n], earned, over, _, infos = env.step(chosen)
                    rewards[tick, n], dones[tick, n] = earned["planner"], over["planner"]
                    if over["planner"]:
                        scores.append(infos["planner"]["f1"])
                        seen[n], _ = env.reset()
        for t in reversed(range(TICKS)):
            delta = rewards[t] + GAMMA * values[t + 1] * (1 - dones[t]) - values[t]
            advantages[t] = delta + GAMMA * LAMBDA * (1 - dones[t]) * advantages[t + 1]
        obs, mask, action, old, place = map(torch.cat, zip(*steps, strict=True))
        advantage, target = (torch.from_numpy(x).flatten()[place] for x in (advantages, advantages + values))
        gain = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        for batch in (rows for _ in range(EPOCHS) for rows in torch.randperm(len(obs)).split(MINIBATCH)):
            policy, value = weigh(net, obs[batch], mask[batch])
            ratio = (policy.log_prob(action[batch]) - old[batch]).exp()
            surrogate = torch.min(ratio * gain[batch], ratio.clamp(1 - CLIP, 1 + CLIP) * gain[batch]).mean()
            loss = 0.5 * (value - target[batch]).pow(2).mean() - surrogate - ENTROPY * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
        curve.append(float(np.mean(scores)))
        print(f"update {len(curve):3}: F1 {curve[-1]:.3f} over {len(scores)} episodes")
    return curve


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
