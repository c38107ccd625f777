"""Where a trained team loses: each role in turn is replaced by the gold-aware ceiling, the others stay as trained.

    python benchmarks/roles.py RUN [--scenario cooperative] [--split dev] [--questions 300] [--data DIR]

Prints F1 with each role replaced and the paired difference to the team as it is, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console
from rich.progress import track
from rich.table import Table

from jade_env.errors import JadeError
from jade_env.game.episode import Rules
from jade_env.learning.evaluation import evaluate
from jade_env.policy import MixedPolicy, make_policy
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import load_scenario


def main() -> int:
    """Replace, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--scenario", default="cooperative")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--questions", type=int)
    parser.add_argument("--data")
    args = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    try:
        scenario = load_scenario(args.scenario)
        trained = make_policy(args.run, scenario, data=args.data)
        ceiling = make_policy("ceiling", scenario, data=args.data)
        f1: dict[str, list[float]] = {}
        for role in track(("nobody", *Rules.of(scenario).agents), "playing", console=Console(stderr=True)):
            team = MixedPolicy({"default": trained} | ({} if role == "nobody" else {role: ceiling}))
            rows = evaluate(team, scenario, split=args.split, episodes=args.questions, data=args.data)
            f1[role] = [row.f1 for row in rows]
    except JadeError as error:
        console.print(f"roles: {error}", markup=False)
        return 2
    table = Table(title=f"{args.run} on {args.scenario}, {args.split}, {len(f1['nobody'])} questions")
    for column in ("replaced by the ceiling", "F1", "gained"):
        table.add_column(column, justify="left" if column.startswith("replaced") else "right")
    for role, values in f1.items():
        gain = paired_difference(values, f1["nobody"])
        gained = "" if role == "nobody" else f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        table.add_row(role, f"{bootstrap_mean(values).mean:.3f}", gained)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
