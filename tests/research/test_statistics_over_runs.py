"""Aggregates over runs: each agrees with plain loops on a small table, and its intervals hold the truth as often as they say."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import t

from jade_env.errors import DataError
from jade_env.research.frontier import Point, pareto
from jade_env.research.statistics import (
    Aggregate,
    aggregate,
    nested_difference,
    probability_of_improvement,
)  # fmt: skip

ONE = [[0.2, 0.5, 0.3, 0.9, 0.4], [0.6, 0.1, 0.7, 0.8, 1.2]]
TWO = [[0.1, 0.5, 0.2, 0.3], [0.7, 0.2, 0.4, 0.9]]


def by_hand(scores: Sequence[Sequence[float]], statistic: str) -> float:
    means = [sum(runs) / len(runs) for runs in scores]
    everything = sorted(score for runs in scores for score in runs)
    if statistic == "mean":
        return sum(means) / len(means)
    if statistic == "median":
        return statistics.median(means)
    if statistic == "iqm":
        cut = len(everything) // 4
        middle = everything[cut : len(everything) - cut]
        return sum(middle) / len(middle)
    return 1 - sum(min(score, 1.0) for score in everything) / len(everything)


@pytest.mark.parametrize("statistic", ["mean", "median", "iqm", "optimality_gap"])
def test_aggregates_agree_with_plain_loops(statistic: Aggregate) -> None:
    assert aggregate(ONE, statistic).mean == pytest.approx(by_hand(ONE, statistic), abs=1e-12)


def test_the_probability_of_improvement_counts_pairs_and_halves_ties() -> None:
    shares = []
    for ours, theirs in zip(ONE, TWO, strict=True):
        pairs = list(itertools.product(ours, theirs))
        shares.append(sum((x > y) + 0.5 * (x == y) for x, y in pairs) / len(pairs))
    found = probability_of_improvement(ONE, TWO)
    assert found.mean == pytest.approx(sum(shares) / 2, abs=1e-12)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert probability_of_improvement(TWO, ONE).mean == pytest.approx(1 - found.mean)


def test_the_interval_over_runs_resamples_within_scenarios_and_is_stretched_to_students_t() -> None:
    rng, drawn = np.random.default_rng(5), []
    for _ in range(4000):
        resampled = [[runs[i] for i in rng.integers(len(runs), size=len(runs))] for runs in ONE]
        drawn.append(by_hand(resampled, "mean"))
    drawn.sort()
    estimate = by_hand(ONE, "mean")
    stretch = math.sqrt(10 / 8) * 2.306004135 / 1.959963985  # t with 5 + 5 - 2 = 8 degrees of freedom, by the normal's
    ends = [estimate + stretch * (drawn[int(share * 4000)] - estimate) for share in (0.025, 0.975)]
    found = aggregate(ONE, "mean", resamples=4000)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.02)


def test_the_nested_interval_has_the_standard_error_of_crossed_runs_and_questions() -> None:
    table = np.random.default_rng(0).normal(size=(4, 30)) + np.arange(4)[:, None]
    runs, questions = 4, 30
    grand = sum(table[i][j] for i in range(runs) for j in range(questions)) / 120
    rows = [sum(table[i]) / questions for i in range(runs)]
    columns = [sum(table[i][j] for i in range(runs)) / runs for j in range(questions)]
    rest = sum((table[i][j] - rows[i] - columns[j] + grand) ** 2 for i in range(runs) for j in range(questions))
    of_runs, of_questions = statistics.variance(rows) / runs, statistics.variance(columns) / questions
    variance = of_runs + of_questions - rest / (3 * 29) / 120
    free = variance**2 / (of_runs**2 / 3 + of_questions**2 / 29)
    found = nested_difference([table], resamples=4000)
    assert found.mean == pytest.approx(grand)
    width = (found.high - found.low) / 2 / math.sqrt(variance)
    assert width == pytest.approx(
        t.ppf(0.975, free), rel=0.08
    )  # the shape is the bootstrap's, which is not quite normal


def test_scenarios_weigh_the_same_however_many_runs_and_questions_they_have() -> None:
    found = nested_difference([np.full((2, 10), 0.2), np.full((5, 300), 0.6)])
    assert (found.mean, found.low, found.high) == pytest.approx((0.4, 0.4, 0.4))


def test_one_run_says_nothing_of_others() -> None:
    found = aggregate([[0.5], [0.2, 0.4]], "mean")
    assert found.mean == pytest.approx(0.4) and math.isnan(found.low) and math.isnan(found.high)
    assert math.isnan(probability_of_improvement([[0.5]], [[0.2]]).low)
    alone = nested_difference([np.arange(40)[None] / 40])
    assert alone.low < alone.mean < alone.high  # over questions


def test_what_cannot_be_summed_up_is_one_sentence() -> None:
    with pytest.raises(DataError, match="there are no scenarios"):
        aggregate([])
    with pytest.raises(DataError, match="scores 1: there are none"):
        aggregate([[1.0], []])
    with pytest.raises(DataError, match="a has 2 scenarios and b 1"):
        probability_of_improvement(ONE, TWO[:1])
    with pytest.raises(DataError, match="differences 0: expected runs x questions, found 1 axes"):
        nested_difference([[1.0, 2.0]])


def test_five_runs_hold_the_truth_in_about_95_of_100_intervals() -> None:
    rng = np.random.default_rng(0)
    studies = [[rng.normal(0.5, 0.1, 5)] for _ in range(500)]
    held = [not aggregate(scores, "mean", resamples=400).excludes(0.5) for scores in studies]
    assert 0.92 < np.mean(held) < 0.98  # benchmarks/interval_coverage.py has the figures


def test_nested_intervals_hold_the_truth_in_about_95_of_100() -> None:
    rng = np.random.default_rng(0)
    parts = [
        rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.3, (1, 80)) + rng.normal(0, 0.3, (5, 80)) for _ in range(400)
    ]
    held = [not nested_difference([table], resamples=400).excludes(0.0) for table in parts]
    assert 0.92 < np.mean(held) < 0.98


def test_the_frontier_is_whom_nobody_beats_at_their_price() -> None:
    points = [
        Point("cheap", 0.0, 0.1), Point("fair", 1.0, 0.4), Point("dear", 3.0, 0.5), Point("worse", 2.0, 0.4),
        Point("worst", 4.0, 0.1), Point("twin", 3.0, 0.5),
    ]  # fmt: skip
    assert pareto(points) == ["cheap", "fair", "dear", "twin"]
    assert pareto([]) == []
