"""Intervals: right on average, the same under a seed, and clear about what cannot be averaged."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from jade_env.errors import ConfigError, DataError
from jade_env.research.statistics import Interval, bootstrap_mean, nested_mean, paired_difference


@pytest.mark.parametrize("kind", ["f1", "em"])
def test_a_95_percent_interval_holds_the_true_mean_about_95_times_in_100(kind: str) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for repeat in range(300):
        values = rng.beta(0.5, 0.5, 120) if kind == "f1" else (rng.random(120) < 0.5).astype(float)
        held += not bootstrap_mean(values, resamples=400, seed=repeat).excludes(0.5)
    assert 0.90 <= held / 300 <= 0.985


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    interval = bootstrap_mean(values, resamples=4000)
    width = 2 * 1.96 * values.std() / np.sqrt(1000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(width, rel=0.08)
    assert bootstrap_mean(values, confidence=0.5).high < interval.high


def test_one_seed_gives_one_interval() -> None:
    values = np.random.default_rng(2).random(50)
    runs = [[values], [values / 2]]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)
    assert nested_mean(runs, seed=3) == nested_mean(runs, seed=3)
    assert nested_mean(runs, seed=3) != nested_mean(runs, seed=4)


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [0, 0]])
def test_constant_values_have_an_interval_of_no_width_and_no_warning(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bootstrap_mean(values) == Interval(values[0], values[0], values[0])
        assert nested_mean([[values, values]]) == Interval(values[0], values[0], values[0])
        assert paired_difference(values, values) == Interval(0.0, 0.0, 0.0)


def test_of_one_value_there_is_no_interval() -> None:
    for interval in (bootstrap_mean([0.25]), paired_difference([1.0], [0.75])):
        assert interval.mean == 0.25 and np.isnan([interval.low, interval.high]).all()


def test_pairing_finds_a_small_gain_that_the_two_intervals_hide() -> None:
    rng = np.random.default_rng(5)
    before = rng.random(200)
    after = before + rng.normal(0.02, 0.03, 200)
    assert paired_difference(after, before).excludes(0.0)
    assert bootstrap_mean(after).low < bootstrap_mean(before).high
    assert not paired_difference(before, rng.permutation(before)).excludes(0.0)


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="a has 2 values and b 3"):
        paired_difference([1, 2], [1, 2, 3])


@pytest.mark.parametrize("axis", ["warm starts", "runs"])
def test_warm_starts_and_runs_that_disagree_widen_the_nested_interval(axis: str) -> None:
    agreeing = np.random.default_rng(6).normal(0.5, 0.1, (5, 3, 100))
    steps = 0.2 * (np.arange(5)[:, None, None] if axis == "warm starts" else np.arange(3)[:, None])
    narrow, wide = nested_mean(agreeing), nested_mean(agreeing + steps)
    pooled = bootstrap_mean(agreeing + steps)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert wide.high - wide.low > 1.5 * (pooled.high - pooled.low)
    assert wide.mean == pytest.approx(narrow.mean + steps.mean())


def test_questions_are_shared_by_all_runs_of_the_nested_interval() -> None:
    asked = np.random.default_rng(7).normal(size=100)
    alike = nested_mean(np.tile(asked, (4, 3, 1)))  # twelve times the same answers tell no more than once
    once = bootstrap_mean(asked)
    assert alike.high - alike.low == pytest.approx(once.high - once.low, rel=0.1)


def test_the_nested_interval_holds_the_true_mean() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for repeat in range(200):
        runs = rng.normal(0, 1, (12, 1, 1)) + rng.normal(0, 1, (1, 1, 30)) + rng.normal(0, 1, (12, 2, 30))
        held += not nested_mean(runs, resamples=300, seed=repeat).excludes(0.0)
    assert 0.87 <= held / 200 <= 0.99


def test_many_values_are_resampled_in_blocks() -> None:
    values = np.random.default_rng(8).random(50_000)
    assert bootstrap_mean(values, resamples=200).excludes(0.45)


def test_what_cannot_be_averaged_is_named() -> None:
    with pytest.raises(DataError, match="values: there are none"):
        bootstrap_mean([])
    with pytest.raises(DataError, match="number 1 is nan"):
        bootstrap_mean([0.5, float("nan")])
    with pytest.raises(DataError, match="values: there are none"):
        nested_mean(np.empty((2, 0, 3)))
    with pytest.raises(DataError, match="expected warm starts x runs x questions, found 2 axes"):
        nested_mean([[0.5, 0.25]])


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="confidence is 95"):
        bootstrap_mean([0, 1], confidence=95)
    with pytest.raises(ConfigError, match="resamples is 0"):
        nested_mean([[[0, 1]]], resamples=0)
