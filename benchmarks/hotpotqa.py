"""Real questions: a team learns HotpotQA's train questions under three seeds and is compared on the dev questions.

    python benchmarks/hotpotqa.py [--data ../shared/data] [--out runs/hotpotqa] [--seeds 0 1 2] [--last] [--as-shipped]

Every seed is `jade train hotpotqa --policy sb3_shared` with the settings of FEW_QUESTIONS: for 476 questions a smaller
network, a shorter run and more questions held out to choose the checkpoint by. Finished runs are kept, a stopped one goes
on. Prints F1 of random play, the heuristic, each seed and the ceiling, and paired differences on the same questions with
95 % bootstrap intervals.
A run is judged by the checkpoint that did best on train questions held out; `--last` judges it by its last one.
`--as-shipped` leaves the recipe as it is (in a folder of its own, `--out` and `-as-shipped`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jade_env.errors import JadeError
from jade_env.learning.evaluation import evaluate
from jade_env.learning.player import load_policy
from jade_env.learning.trainer import train
from jade_env.policy import make_policy
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import load_scenario

SCENARIO, RECIPE = "hotpotqa", "sb3_shared"
FEW_QUESTIONS = {
    "network": [32, 32],
    "weight_decay": 0.3,
    "held_out": 0.2,
    "total_timesteps": 200_000,
    "n_steps": 16,
    "eval_every": 20_000,
    "checkpoint_every": 20_000,
}
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def learn(out: Path, seed: int, data: Path, overrides: Mapping[str, Any], console: Console) -> tuple[Path, float]:
    """Train one seed; returns its run folder and the seconds it took."""
    folder = out / f"seed-{seed}"
    columns = (TextColumn(f"seed {seed}"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} turns"))
    bar = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )
    with bar:
        task = bar.add_task("training", total=1)
        resume = (folder / "config.json").exists()
        run = train(
            SCENARIO,
            RECIPE,
            folder,
            seed,
            resume=resume,
            data=data,
            overrides=overrides,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return folder, run.seconds


def main() -> int:
    """Train what is missing, play the dev questions, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("JADE_DATA", SHARED)))
    parser.add_argument("--out", type=Path, default=Path("runs/hotpotqa"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--last", action="store_true", help="judge runs by their last checkpoint")
    parser.add_argument("--as-shipped", action="store_true", help="train with the recipe's own settings")
    args = parser.parse_args()
    out, overrides = args.out, FEW_QUESTIONS
    if args.as_shipped:
        out, overrides = out.with_name(f"{out.name}-as-shipped"), {}
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        scenario = load_scenario(SCENARIO)
        runs = {seed: learn(out, seed, args.data, overrides, console) for seed in args.seeds}
        players = {name: make_policy(name, scenario, data=args.data) for name in ("random", "heuristic", "ceiling")}
        for seed, (folder, _) in runs.items():
            which = "last" if args.last else "best"
            players[f"trained, seed {seed}"] = load_policy(folder, scenario, which=which, data=args.data)
        f1 = {
            name: np.array([row.f1 for row in evaluate(player, scenario, data=args.data)])
            for name, player in players.items()
        }
    except JadeError as error:
        console.print(f"hotpotqa: {error}", markup=False)
        return 2
    table = Table(title=f"HotpotQA, {len(f1['random'])} dev questions")
    table.add_column("policy")
    table.add_column("F1, mean and 95 % interval", justify="right")
    for name, values in f1.items():
        interval = bootstrap_mean(values)
        table.add_row(name, f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})")
    console.print(table)
    trained = np.mean([values for name, values in f1.items() if name.startswith("trained")], axis=0)
    for other in ("random", "heuristic"):
        gain = paired_difference(trained, f1[other])
        console.print(
            f"trained, mean of {len(runs)} seeds, above {other}: {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        )
    console.print("training took " + ", ".join(f"{seconds:.0f} s" for _, seconds in runs.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
