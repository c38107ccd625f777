"""How often the 95 % intervals of `jade compare` hold the truth, on simulated studies whose truth is known.

    python benchmarks/interval_coverage.py [--studies 2000]

Runs of a study differ by a normal or a skewed (beta) draw; in the second table questions differ too, and what is left is noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from jade_env.research.statistics import Aggregate, Interval, aggregate, nested_difference

RESAMPLES = 600
RUNS: tuple[tuple[int, int, str, Aggregate], ...] = (
    (3, 1, "normal", "mean"), (5, 1, "normal", "mean"), (5, 1, "skewed", "mean"), (5, 3, "skewed", "mean"),
    (10, 1, "normal", "mean"), (5, 1, "normal", "iqm"), (5, 3, "normal", "iqm"),
)  # fmt: skip
NESTED = (
    (5, 300, 0.03, 0.3, 0.3), (5, 300, 0.1, 0.3, 0.3), (5, 300, 0.0, 0.3, 0.3), (3, 300, 0.03, 0.3, 0.3), (1, 300, 0.0, 0.3, 0.3),
)  # fmt: skip


def coverage(interval: Callable[[], Interval], truth: float, studies: int) -> float:
    return float(np.mean([not interval().excludes(truth) for _ in range(studies)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated for each row")
    studies = parser.parse_args().studies
    rng, console = np.random.default_rng(0), Console(width=110)
    table = Table("runs", "scenarios", "scores of runs", "aggregate", "95 % intervals that hold the truth")
    for runs, scenarios, shape, statistic in RUNS:

        def over_runs(n: int = runs, k: int = scenarios, s: str = shape, a: Aggregate = statistic) -> Interval:
            scores = [rng.normal(0.5, 0.1, n) if s == "normal" else rng.beta(6, 2, n) for _ in range(k)]
            return aggregate(scores, a, resamples=RESAMPLES)

        share = coverage(over_runs, 0.5 if shape == "normal" else 0.75, studies)
        table.add_row(str(runs), str(scenarios), shape, statistic, f"{100 * share:.1f} %")
    console.print(table)
    table = Table(
        "runs", "questions", "sd of runs", "of questions", "of the rest", "95 % intervals that hold the truth"
    )
    for runs, questions, run_sd, question_sd, rest in NESTED:

        def nested(
            n: int = runs, q: int = questions, a: float = run_sd, b: float = question_sd, c: float = rest
        ) -> Interval:
            parts = rng.normal(0, a, (n, 1)) + rng.normal(0, b, (1, q)) + rng.normal(0, c, (n, q))
            return nested_difference([parts], resamples=RESAMPLES)

        share = coverage(nested, 0.0, studies)
        table.add_row(str(runs), str(questions), str(run_sd), str(question_sd), str(rest), f"{100 * share:.1f} %")
    console.print(table)


if __name__ == "__main__":
    main()
