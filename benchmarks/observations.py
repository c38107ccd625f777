"""A name for all that random play is shown in discrete mode, scenario by scenario: the same on every machine, Python and version.

python benchmarks/observations.py [--turns 3000] [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np

import jade_env
from jade_env.errors import DataError


def shown(scenario: str, turns: int, data: str | None) -> str:
    """The hash of every observation and reward of some turns of masked random play."""
    env = jade_env.env(scenario, "discrete", data=data)
    digest, rng, played = hashlib.sha256(), np.random.default_rng(0), 0
    while played < turns:
        env.reset(seed=None if played else 0)
        for _agent in env.agent_iter():
            observation, reward, terminated, truncated, _ = env.last()
            digest.update(observation["observation"].tobytes() + f"{reward:.9f}".encode())
            if terminated or truncated:
                env.step(None)
                continue
            legal = np.flatnonzero(observation["action_mask"])
            played += 1
            env.step(int(legal[rng.integers(len(legal))]))
    return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3000)
    parser.add_argument(
        "--data", help="where the files of scenarios with real questions are; without it they are left out"
    )
    args = parser.parse_args()
    for name in jade_env.list_scenarios():
        try:
            print(f"{name:<24}{shown(name, args.turns, args.data)}", flush=True)
        except DataError as error:
            print(f"{name:<24}left out: {error}")


if __name__ == "__main__":
    main()
