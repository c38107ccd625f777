"""What a study comes to: rows of `results.jsonl` and learning curves in, one JSON object out. Knows no run and no file.

The object is `summary.json`; `docs/studies.md` describes it. Every figure is `{"mean", "low", "high"}` with a 95 % interval, and
null where there is nothing to tell it from: one run has no interval over runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jade_env.research.frontier import Point, pareto
from jade_env.research.statistics import Aggregate, Interval, aggregate, nested_difference, probability_of_improvement
from jade_env.research.study import Study
from jade_env.research.summary import Figure

METRICS = ("f1", "em", "net", "rounds", "retrievals", "turns", "latency", "malformed", "failed")
"""Columns of the results that are summed up, each a mean over questions."""
OF_DUELS = ("won", "payoff")
"""The same of duels."""
AGGREGATED = ("f1", "em", "net")
COMPARED = ("f1", "em", "net")
STATISTICS: tuple[Aggregate, ...] = ("mean", "median", "iqm", "optimality_gap")
COSTS = ("retrievals", "rounds")

Row = Mapping[str, Any]
Tables = dict[str, dict[int, dict[str, Row]]]
"""Of one arm: scenario -> seed -> question -> row."""


def summarize(study: Study, rows: Sequence[Row], curves: Sequence[Mapping[str, Any]], failed: Sequence[Any]) -> Any:
    """Sum a study up.

    Args:
        study: what was compared.
        rows: of `results.jsonl`.
        curves: learning curves, as `compare.curves_of` reads them.
        failed: what could not be run, as JSON.
    """
    done = {(row["scenario"], row["arm"], row["seed"]) for row in rows}
    return {
        "study": study.name,
        "summary": study.summary,
        "baseline": study.against,
        "scenarios": [item.label for item in study.scenarios],
        "arms": list(study.arms),
        "seeds": list(study.seeds),
        "runs": {
            "wanted": len(study.scenarios) * len(study.arms) * len(study.seeds),
            "done": len(done),
            "failed": list(failed),
        },
        "views": [
            view for split in study.splits for mode in study.modes if (view := _view(study, rows, split, mode))["arms"]
        ],
        "curves": list(curves),
    }


def _view(study: Study, rows: Sequence[Row], split: str, mode: str) -> dict[str, Any]:
    """All arms on one split, played in one manner."""
    arms: dict[str, Tables] = {}
    for row in rows:
        if row["split"] == split and row["mode"] == mode:
            scenarios = arms.setdefault(row["arm"], {})
            scenarios.setdefault(row["scenario"], {}).setdefault(row["seed"], {})[row["question"]] = row
    arms = {arm: arms[arm] for arm in study.arms if arm in arms}
    base = arms.get(study.against)
    found = {
        arm: _arm(tables) | {"against": None if base is None or arm == study.against else _against(tables, base)}
        for arm, tables in arms.items()
    }
    whole = max(map(len, arms.values()), default=0)
    points = {
        cost: [
            Point(arm, part["metrics"][cost]["mean"], part["metrics"]["f1"]["mean"])
            for arm, part in found.items()
            if len(arms[arm]) == whole  # while a study is at work, arms that lack a scenario are not compared
        ]
        for cost in COSTS
    }
    return {
        "split": split,
        "mode": mode,
        "arms": found,
        "frontiers": {cost: pareto(those) for cost, those in points.items()},
    }


def _arm(tables: Tables) -> dict[str, Any]:
    kinds = sorted({row["kind"] for seeds in tables.values() for asked in seeds.values() for row in asked.values()})
    return {
        **_metrics(list(tables.values())),
        "by_scenario": {scenario: _metrics([seeds]) for scenario, seeds in tables.items()},
        "by_kind": {kind: _of_kind(tables, kind) for kind in kinds if kind},
        "aggregates": {
            metric: {
                name: _figure(aggregate([_scores(seeds, metric) for seeds in tables.values()], name), *_range(metric))
                for name in STATISTICS
            }
            for metric in AGGREGATED
        },
    }


def _metrics(scenarios: Sequence[Mapping[int, Mapping[str, Row]]]) -> dict[str, Any]:
    """Runs, questions, and each metric over them; those of duels where all are."""
    duels = _duels(scenarios)
    return {
        "runs": sum(len(seeds) for seeds in scenarios),
        "questions": sum(len(next(iter(seeds.values()))) for seeds in scenarios),
        "metrics": {
            metric: _figure(nested_difference([_table(seeds, metric) for seeds in scenarios]), *_range(metric))
            for metric in (*METRICS, *duels)
        },
    }


def _duels(scenarios: Iterable[Mapping[int, Mapping[str, Row]]]) -> tuple[str, ...]:
    """The metrics of duels, where all scenarios are such."""
    asked = [row for seeds in scenarios for questions in seeds.values() for row in questions.values()]
    return OF_DUELS if all(name in row for row in asked for name in OF_DUELS) else ()


def _of_kind(tables: Tables, kind: str) -> dict[str, Any]:
    """Mean F1 and net score on one kind of question, over the scenarios that ask it."""
    asked = [
        [[row for row in questions.values() if row["kind"] == kind] for questions in seeds.values()]
        for seeds in tables.values()
    ]
    found = [table for table in asked if table[0]]
    return {"questions": sum(len(table[0]) for table in found)} | {
        metric: _figure(
            nested_difference([[[row[metric] for row in rows] for rows in table] for table in found]), *_range(metric)
        )
        for metric in ("f1", "net")
    }


def _against(tables: Tables, base: Tables) -> dict[str, Any] | None:
    """How an arm differs from the baseline, on the scenarios, seeds and questions that both have; a duel is better won."""
    common = {scenario: sorted(set(seeds) & set(base.get(scenario, ()))) for scenario, seeds in tables.items()}
    shared = {scenario: seeds for scenario, seeds in common.items() if seeds}
    if not shared:
        return None
    duels = _duels([table[scenario] for table in (tables, base) for scenario in shared])
    differences = {
        metric: nested_difference(
            [
                _table({seed: tables[scenario][seed] for seed in seeds}, metric)
                - _table({seed: base[scenario][seed] for seed in seeds}, metric)
                for scenario, seeds in shared.items()
            ]
        )
        for metric in (*COMPARED, *duels)
    }
    judged = "won" if duels else "f1"
    chance = probability_of_improvement(
        *([_scores(table[scenario], judged) for scenario in shared] for table in (tables, base))
    )
    return {
        "pairs": sum(map(len, shared.values())),
        **{
            m: _figure(interval, *((-1.0, 1.0) if m in ("f1", "em", "won") else ()))
            for m, interval in differences.items()
        },
        "probability_of_improvement": _figure(chance),
    }


def _range(metric: str) -> tuple[float, float]:
    """Between which ends the mean of a metric can lie."""
    low = -math.inf if metric in ("net", "payoff") else 0.0
    return (low, 1.0 if metric in ("f1", "em", "failed", "won") else math.inf)


def _table(seeds: Mapping[int, Mapping[str, Row]], metric: str) -> NDArray[np.float64]:
    """[S, Q] of one scenario: seeds ascending, questions in alphabetical order."""
    return np.array(
        [[seeds[seed][question][metric] for question in sorted(seeds[seed])] for seed in sorted(seeds)], float
    )


def _scores(seeds: Mapping[int, Mapping[str, Row]], metric: str) -> NDArray[np.float64]:
    """One number a run."""
    return np.asarray(_table(seeds, metric).mean(axis=1))


def _figure(interval: Interval, least: float = -math.inf, most: float = math.inf) -> Figure:
    """An interval as JSON, no wider than what is possible."""
    low, high = (None if math.isnan(end) else min(max(end, least), most) for end in (interval.low, interval.high))
    return {"mean": interval.mean, "low": low, "high": high}
