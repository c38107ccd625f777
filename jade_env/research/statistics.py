"""Means with confidence intervals by the bootstrap: numbers in, intervals out. Knows no run, metric or question.

All are percentile intervals: approximate, within the range of the data, and a little too narrow for few values (under
about 20 questions, or under about 10 runs). The same values and seed give the same interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jade_env.errors import ConfigError, DataError

_NUMBERS_AT_ONCE = 4_000_000  # 32 MB of float64: how much of the resampled data is held at a time


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    def excludes(self, value: float = 0.0) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def bootstrap_mean(values: ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `values` with its interval over resampled values.

    Args:
        values: one number a question, at least one.
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
    if np.ptp(sample) == 0:  # one value, or all the same: there is nothing to resample
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


def hierarchical_mean(
    values_by_seed: Mapping[int, ArrayLike] | Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean over training runs with an interval that resamples runs, then questions within each run drawn.

    It answers "what if someone trained again and asked other questions?", so it is wider than an interval over the
    pooled values where the runs disagree. Every run weighs the same, however many questions it has.

    Args:
        values_by_seed: for each training seed, one number a question; numbers of questions may differ.
        confidence: share of such intervals that hold the true mean, between 0 and 1.
        resamples: how many times runs and questions are drawn anew.
        seed: of the resampling.

    Raises:
        DataError: there are no runs, a run is empty, or a number is not finite.
        ConfigError: `confidence` or `resamples` is out of range.
    """
    items = values_by_seed.items() if isinstance(values_by_seed, Mapping) else enumerate(values_by_seed)
    runs = [_finite(values, f"the values of run {name}") for name, values in items]
    if not runs:
        raise DataError("statistics: there are no runs; give the values of at least one")
    _check(confidence, resamples)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(runs), size=(resamples, len(runs)))
    means = np.empty(drawn.shape)
    for number, run in enumerate(runs):
        chosen = drawn == number
        means[chosen] = _resampled_means(run, int(chosen.sum()), rng)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means.mean(axis=1), [tail, 100 - tail])
    return Interval(float(np.mean([run.mean() for run in runs])), float(low), float(high))


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


def _resampled_means(sample: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return `count` means of samples drawn with replacement, a block at a time."""
    means = np.empty(count)
    block = max(1, _NUMBERS_AT_ONCE // len(sample))
    for start in range(0, count, block):
        rows = min(block, count - start)
        means[start : start + rows] = sample[rng.integers(len(sample), size=(rows, len(sample)))].mean(axis=1)
    return means


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
