"""What selfishness costs: agents that pay for their own turns and tokens, against a team that shares the same costs.

    python benchmarks/welfare.py [--out runs/welfare] [--steps 40] [--questions 200] [--seed 0]
                                 [--turn-cost 0.02] [--token-cost 0.002]

The language model of recipe `jade_joint` learns twice from the same warm start in small worlds, for as many episodes: once each
agent is charged for what it spends (`reward.sharing: private`), once the team is (`team`: what approximates the cooperative
optimum). Both are judged by the same welfare, R_global minus everybody's own costs, sampled, on questions of the test world; the
loss is the paired difference. A run that is complete is not repeated, and one that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jade_env.learning.evaluation import evaluate
from jade_env.learning.joint import train_language
from jade_env.policy import make_policy
from jade_env.recipe import PpoRecipe, load_recipe
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import load_scenario


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/welfare"))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--turn-cost", type=float, default=0.02)
    parser.add_argument("--token-cost", type=float, default=0.002)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 120)
    if not 1 <= given.questions <= (most := load_scenario("small_world").data.test):
        parser.error(f"--questions: {given.questions} is not between 1 and {most}, the questions of the test world")
    costs = {"reward.turn_cost": given.turn_cost, "reward.token_cost": given.token_cost}
    recipe = load_recipe("jade_joint", {"steps": given.steps, "temperature": 1.0})
    assert isinstance(recipe, PpoRecipe)
    rows = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    for sharing in ("team", "private"):
        game, run = load_scenario("small_world", {**costs, "reward.sharing": sharing}), given.out / sharing
        if not (run / "run.json").is_file():
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(sharing)
                resume = (run / "config.json").is_file()
                train_language(
                    game, recipe, run, given.seed, resume=resume,
                    progress=lambda now, total, bar=bar, task=task: bar.update(task, completed=now, total=total),
                )  # fmt: skip
        rows[sharing] = evaluate(make_policy(str(run), game, greedy=False), game, "test", given.questions)
    table = Table(title=f"small_world, test world, {given.questions} questions, sampled; costs {costs}")
    for i, name in enumerate(("rewards", "welfare", "95 % interval", "F1", "rounds", "turns")):
        table.add_column(name, justify="right" if i else "left")
    for sharing, found in rows.items():
        welfare = bootstrap_mean([row.net for row in found])
        means = [f"{np.mean([getattr(row, key) for row in found]):.2f}" for key in ("f1", "rounds", "turns")]
        table.add_row(sharing, f"{welfare.mean:.3f}", f"{welfare.low:.3f} to {welfare.high:.3f}", *means)
    console.print(table)
    loss = paired_difference([row.net for row in rows["team"]], [row.net for row in rows["private"]])
    console.print(
        f"private costs lose {loss.mean:+.3f} ({loss.low:+.3f} to {loss.high:+.3f}) of the shared team's welfare"
    )


if __name__ == "__main__":
    main()
