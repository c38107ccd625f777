"""What `make demo-sb3` runs: a team learns the embedded world, then plays questions of a world that nobody has seen.

    python benchmarks/demo_sb3.py [--out runs/demo_sb3] [--seed 0] [--questions 300] [--fast]

Prints random play, the best fixed workflow without learning (heuristic), the trained team and the gold-aware ceiling on the
same questions of the test world, with 95 % bootstrap intervals, and where the learning curve is. A demo that was stopped
goes on where it stopped; a finished one only plays.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jade_env.errors import JadeError
from jade_env.learning.evaluation import EpisodeRow, evaluate
from jade_env.learning.trainer import RunSummary, train
from jade_env.policy import make_policy
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import load_scenario

SCENARIO, RECIPE, SPLIT = "cooperative", "sb3_shared", "test"


def learn(out: Path, seed: int, fast: bool, console: Console) -> RunSummary:
    """Train, or go on with a run that was stopped."""
    overrides = {"total_timesteps": 8192, "eval_episodes": 20} if fast else {}
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} turns"))
    bar = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )
    with bar:
        task = bar.add_task("training", total=1)
        resume = (out / "config.json").exists()
        return train(
            SCENARIO,
            RECIPE,
            out,
            seed,
            resume=resume,
            overrides=overrides,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def play(run: RunSummary, questions: int) -> dict[str, list[EpisodeRow]]:
    """Each policy on the same questions of the test world."""
    scenario = load_scenario(SCENARIO)
    players = {"random": "random", "heuristic": "heuristic", "trained": str(run.folder), "ceiling": "ceiling"}
    return {
        name: evaluate(make_policy(player, scenario), scenario, split=SPLIT, episodes=questions)
        for name, player in players.items()
    }


def show(rows: dict[str, list[EpisodeRow]], console: Console) -> None:
    """The table and the two comparisons it is for."""
    count = len(next(iter(rows.values())))
    table = Table(title=f"{SCENARIO}: {count} questions of the test world, mean and 95 % interval")
    for column in ("policy", "F1", "net score", "EM", "rounds", "retrievals", "malformed"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for name, played in rows.items():
        f1, net = bootstrap_mean([row.f1 for row in played]), bootstrap_mean([row.net for row in played])
        plain = [sum(getattr(row, field) for row in played) / count for field in ("em", "rounds", "retrievals")]
        malformed = sum(row.malformed for row in played) / sum(row.turns for row in played)
        table.add_row(
            name,
            f"{f1.mean:.3f} ({f1.low:.3f} to {f1.high:.3f})",
            f"{net.mean:.3f} ({net.low:.3f} to {net.high:.3f})",
            *(f"{value:.2f}" for value in plain),
            f"{malformed:.3f}",
        )
    console.print(table)
    scores = {name: [row.f1 for row in played] for name, played in rows.items()}
    means = {name: sum(values) / count for name, values in scores.items()}
    gain = paired_difference(scores["trained"], scores["random"])
    console.print(
        f"trained F1 is {means['trained'] / means['ceiling']:.2f} of the ceiling's, "
        f"and {gain.mean:.3f} ({gain.low:.3f} to {gain.high:.3f}) above random play"
    )


def main() -> int:
    """Train, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo_sb3"), help="the run folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=300, help="questions of the test world")
    parser.add_argument("--fast", action="store_true", help="a few seconds of training, to see that everything works")
    args = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    start = time.monotonic()
    try:
        run = learn(args.out, args.seed, args.fast, console)
        trained = time.monotonic()
        rows = play(run, args.questions)
    except JadeError as error:
        console.print(f"demo: {error}", markup=False)
        return 2
    except KeyboardInterrupt as stop:
        console.print(f"demo: {stop or 'stopped'}", markup=False)
        return 130
    show(rows, console)
    console.print(f"training {trained - start:.0f} s, the rest {time.monotonic() - trained:.0f} s")
    console.print(f"learning curve: {run.picture}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
