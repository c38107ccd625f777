"""Ticks a second of many parallel environments under TorchRL: our `ParallelEnvs`, and TorchRL's wrapper around each of them.

    python benchmarks/torchrl_steps.py [--envs 16] [--ticks 60] [--repeats 5]     needs examples/requirements-benchmarl.txt

Random legal play of scenario `cooperative`, the same seeds, one thread, the ways in turn; medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torchrl.envs import EnvBase, MarlGroupMapType, PettingZooWrapper, SerialEnv

import jade_env
from jade_env.learning.torchrl_env import ParallelEnvs


def ours(count: int) -> EnvBase:
    return ParallelEnvs([jade_env.parallel_env("cooperative", seed=seed) for seed in range(count)])


def theirs(count: int) -> EnvBase:
    seeds = iter(range(count + 1))  # one more: SerialEnv makes one to look at

    def make() -> EnvBase:
        env = jade_env.parallel_env("cooperative", seed=next(seeds))
        group = MarlGroupMapType.ALL_IN_ONE_GROUP
        return PettingZooWrapper(env, return_state=True, group_map=group, use_mask=False, categorical_actions=True)

    return SerialEnv(count, make)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--ticks", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    ways: dict[str, Callable[[int], EnvBase]] = {"ParallelEnvs": ours, "SerialEnv of PettingZooWrapper": theirs}
    envs = {name: make(given.envs) for name, make in ways.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(given.repeats + 1):
        for name, env in envs.items():
            began = time.process_time()
            env.rollout(given.ticks, break_when_any_done=False)
            if repeat:  # the first one reads the world
                rates[name].append(given.envs * given.ticks / (time.process_time() - began))
    table = Table(title=f"{given.envs} environments, {given.ticks} ticks of each, {given.repeats} repeats")
    for column in ("way", "ticks / CPU s, median", "min - max"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, found in rates.items():
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} - {max(found):,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
