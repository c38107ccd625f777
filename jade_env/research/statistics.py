"""Means with confidence intervals by the bootstrap: numbers in, intervals out. Knows no run, metric or question.

All are percentile intervals. Those over questions are approximate, within the range of the data, and a little too narrow for
few values (under about 20). A handful of training runs is far too few for that, so the intervals over runs (`aggregate`,
`probability_of_improvement`, `nested_difference`) are stretched about the estimate to the width of Student's t; how often they
hold the truth is simulated by `benchmarks/interval_coverage.py`. The same values and seed give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jade_env.errors import ConfigError, DataError

Aggregate = Literal["mean", "median", "iqm", "optimality_gap"]
"""What several runs on several scenarios are summed up by (Agarwal et al., 2021): mean and median over scenarios of the mean over
runs, the mean of the middle half of all runs, and how far below the best possible score runs stay on average."""

_NUMBERS_AT_ONCE = 4_000_000  # 32 MB of float64: how much of the resampled data is held at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its confidence interval; the ends are nan where there is too little to tell."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `values` with its interval over resampled values.

    Args:
        values: one number a question, at least one; of a single one nothing is told but itself.
        confidence: share of such intervals that hold the true mean, between 0 and 1.
        resamples: how many times the values are drawn anew.
        seed: of the resampling.

    Raises:
        DataError: there are no values, or one is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    sample = _finite(values, "values")
    _check(confidence, resamples)
    mean = float(sample.mean())
    if len(sample) == 1:
        return Interval(mean, float("nan"), float("nan"))
    if np.ptp(sample) == 0:  # all the same: there is nothing to resample
        return Interval(mean, mean, mean)
    from scipy.stats import bootstrap

    interval = bootstrap(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _NUMBERS_AT_ONCE // len(sample)),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high))


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of `a - b` with its interval, where `a[i]` and `b[i]` belong to the same question.

    Raises:
        DataError: the two differ in length, are empty, or hold a number that is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    first, second = _finite(a, "a"), _finite(b, "b")
    if len(first) != len(second):
        raise DataError(
            f"statistics: a has {len(first)} values and b {len(second)}; give both for the same questions in one order"
        )
    return bootstrap_mean(first - second, confidence=confidence, resamples=resamples, seed=seed)


def nested_mean(values_WRQ: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean over warm starts, training runs and questions, with an interval that resamples all three.

    Warm starts are drawn anew, then runs within each one drawn, then questions, which all runs have in common. It answers
    "what if someone began from other warm starts, trained again and asked other questions?". For a comparison give the
    differences of two arms, run by run and question by question.

    Args:
        values_WRQ: [W, R, Q]: W warm starts, R runs from each, Q questions that every run was asked in the same order.
        confidence: share of such intervals that hold the true mean, between 0 and 1.
        resamples: how many times everything is drawn anew.
        seed: of the resampling.

    Raises:
        DataError: the array is empty or has not three axes, or a number is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    cube = np.asarray(values_WRQ, dtype=np.float64)
    if cube.ndim != 3:
        raise DataError(f"statistics: values: expected warm starts x runs x questions, found {cube.ndim} axes")
    _finite(cube, "values")
    _check(confidence, resamples)
    warm, runs, questions = cube.shape
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        chosen = rng.integers(warm, size=(warm,))
        rows = cube[chosen[:, None], rng.integers(runs, size=(warm, runs))]
        means[i] = rows.mean(axis=(0, 1))[rng.integers(questions, size=questions)].mean()
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Interval(float(cube.mean()), float(low), float(high))


# ---- over training runs, stratified by scenario ---------------------------------------------------------------------


def aggregate(
    scores: Sequence[ArrayLike],
    statistic: Aggregate = "iqm",
    *,
    target: float = 1.0,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return an aggregate of the scores of runs, with an interval that resamples the runs within each scenario.

    Args:
        scores: for each scenario, one number a run (a mean over its questions). Scenarios are strata: they are never resampled.
        statistic: which aggregate.
        target: for the optimality gap, the score beyond which more does not count.
        confidence: share of such intervals that hold the true value, between 0 and 1.
        resamples: how many times runs are drawn anew.
        seed: of the resampling.

    Returns:
        The aggregate; with nan for the ends where a scenario has a single run, as one run says nothing of others.

    Raises:
        DataError: there are no scenarios, one has no runs, or a number is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    strata = _strata(scores, "scores")
    _check(confidence, resamples)

    def found(*samples: NDArray[np.float64], axis: int = -1) -> Any:
        return _AGGREGATES[statistic](samples, axis, target)

    return _over_runs(strata, found, confidence, resamples, seed)


def probability_of_improvement(
    a: Sequence[ArrayLike],
    b: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return how likely a run of `a` scores above one of `b` on the same scenario, ties counted half, averaged over scenarios.

    Args:
        a, b: for each scenario, one number a run, scenarios in the same order; numbers of runs may differ.
        confidence, resamples, seed: as for `aggregate`.

    Raises:
        DataError: the two have not the same scenarios, or a scenario has no runs or a number that is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    ours, theirs = _strata(a, "a"), _strata(b, "b")
    if len(ours) != len(theirs):
        raise DataError(f"statistics: a has {len(ours)} scenarios and b {len(theirs)}; give both for the same ones")
    _check(confidence, resamples)

    def wins(*samples: NDArray[np.float64], axis: int = -1) -> Any:
        pairs = zip(samples[: len(ours)], samples[len(ours) :], strict=True)
        gaps = [np.moveaxis(x, axis, -1)[..., :, None] - np.moveaxis(y, axis, -1)[..., None, :] for x, y in pairs]
        return np.mean([(0.5 + 0.5 * np.sign(gap)).mean(axis=(-2, -1)) for gap in gaps], axis=0)

    found = _over_runs([*ours, *theirs], wins, confidence, resamples, seed)
    return Interval(found.mean, float(np.clip(found.low, 0, 1)), float(np.clip(found.high, 0, 1)))  # nan stays nan


def nested_difference(
    differences_SQ: Sequence[ArrayLike], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return a mean over scenarios, runs and questions with an interval that resamples runs, then questions they share.

    Meant for differences of two arms, seed by seed and question by question; it serves for the scores of one arm as well. Runs
    and questions are drawn as `nested_mean` draws them, scenario by scenario, and the interval is stretched to the standard
    error and Student's t. With one run it is an interval over questions alone.

    Args:
        differences_SQ: for each scenario [S, Q]: S runs, Q questions that every run was asked in the same order.
        confidence, resamples, seed: as for `aggregate`.

    Raises:
        DataError: there are no scenarios, an array is empty or has not two axes, or a number is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    tables = [np.asarray(table, dtype=np.float64) for table in differences_SQ]
    if not tables:
        raise DataError("statistics: there are no scenarios; give the differences on at least one")
    _check(confidence, resamples)
    rng = np.random.default_rng(seed)
    mean, drawn = 0.0, np.zeros(resamples)
    for number, table in enumerate(tables):
        if table.ndim != 2:
            raise DataError(f"statistics: differences {number}: expected runs x questions, found {table.ndim} axes")
        _finite(table, f"differences {number}")
        runs, questions = table.shape
        runs_BS = rng.multinomial(runs, np.full(runs, 1 / runs), size=resamples) / runs
        asked_BQ = rng.integers(questions, size=(resamples, questions))
        drawn += np.take_along_axis(runs_BS @ table, asked_BQ, axis=1).mean(axis=1) / len(tables)
        mean += float(table.mean()) / len(tables)
    low, high = np.percentile(drawn, [50 * (1 - confidence), 50 * (1 + confidence)])
    spread = float(drawn.std())
    stretch = _nested_width(tables, confidence) / spread if spread > 0 else 1.0
    return Interval(mean, mean + stretch * (float(low) - mean), mean + stretch * (float(high) - mean))


def _nested_width(tables_SQ: Sequence[NDArray[np.float64]], confidence: float) -> float:
    """The standard error of a mean over scenarios, runs and questions, times how much wider than the normal's its t is.

    Runs and questions are crossed, so what is left when both are accounted for stands in the variance of either and is taken
    off once; degrees of freedom are Satterthwaite's.
    """
    from scipy.stats import norm, t

    variance = uncertainty = 0.0
    for table in tables_SQ:
        runs, questions = table.shape
        of_runs, of_questions = table.mean(axis=1), table.mean(axis=0)
        rest = table - of_runs[:, None] - of_questions + table.mean()
        parts = [means.var(ddof=1) / len(means) if len(means) > 1 else 0.0 for means in (of_runs, of_questions)]
        twice = (rest**2).sum() / max(1, (runs - 1) * (questions - 1)) / table.size
        variance += max(sum(parts) - twice, *parts)
        uncertainty += sum(part**2 / max(1, n - 1) for part, n in zip(parts, table.shape, strict=True))
    free = variance**2 / uncertainty if uncertainty > 0 else math.inf
    tail = (1 + confidence) / 2
    return float(math.sqrt(variance) / len(tables_SQ) * t.ppf(tail, free) / norm.ppf(tail))


def _mean(samples: Sequence[NDArray[np.float64]], axis: int, target: float) -> Any:
    return np.mean([sample.mean(axis=axis) for sample in samples], axis=0)


def _median(samples: Sequence[NDArray[np.float64]], axis: int, target: float) -> Any:
    return np.median([sample.mean(axis=axis) for sample in samples], axis=0)


def _iqm(samples: Sequence[NDArray[np.float64]], axis: int, target: float) -> Any:
    from scipy.stats import trim_mean

    return trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)


def _optimality_gap(samples: Sequence[NDArray[np.float64]], axis: int, target: float) -> Any:
    return target - np.minimum(np.concatenate(samples, axis=axis), target).mean(axis=axis)


_AGGREGATES = {"mean": _mean, "median": _median, "iqm": _iqm, "optimality_gap": _optimality_gap}


def _over_runs(
    strata: Sequence[NDArray[np.float64]], statistic: Any, confidence: float, resamples: int, seed: int
) -> Interval:
    """A statistic of the strata, with its interval over the values within each, stretched."""
    estimate = float(statistic(*strata))
    sizes = [len(stratum) for stratum in strata]
    if min(sizes) < 2:
        return Interval(estimate, math.nan, math.nan)
    from scipy.stats import bootstrap

    found = bootstrap(
        tuple(strata),
        statistic,
        n_resamples=resamples,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    stretch = _stretch(sizes, confidence)
    low, high = (estimate + stretch * (float(end) - estimate) for end in (found.low, found.high))
    return Interval(estimate, low, high)


def _stretch(sizes: Sequence[int], confidence: float) -> float:
    """How much wider than the bootstrap's an interval over so few values must be.

    Drawing n of n values understates the variance by (n - 1) / n, and it has to be estimated: hence Student's t.
    """
    from scipy.stats import norm, t

    tail, free = (1 + confidence) / 2, sum(sizes) - len(sizes)
    return float(math.sqrt(sum(sizes) / free) * t.ppf(tail, free) / norm.ppf(tail))


def _strata(values: Sequence[ArrayLike], name: str) -> list[NDArray[np.float64]]:
    if not len(values):
        raise DataError(f"statistics: {name}: there are no scenarios; give the runs on at least one")
    return [_finite(stratum, f"{name} {number}") for number, stratum in enumerate(values)]


# ---- shared ---------------------------------------------------------------------------------------------------------


def _finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return the values as a flat array of finite numbers, at least one."""
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not len(array):
        raise DataError(f"statistics: {name}: there are none; give at least one number")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(f"statistics: {name}: number {bad[0]} is {array[bad[0]]}; leave such questions out first")
    return array


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"statistics: confidence is {confidence}; it must be between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ConfigError(f"statistics: resamples is {resamples}; it must be at least 1 (2000 is usual)")
