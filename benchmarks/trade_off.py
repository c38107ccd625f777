"""What costs do: joint training under each cost alone at two levels and under none, three seeds (the paper's figure 3).

    python benchmarks/trade_off.py [--out runs/claim] [--hours 4]     runs what is not done
    python benchmarks/trade_off.py --table [--results DIR]            prints what there is, and draws a figure

Prints rounds, retrievals and F1 of each setting on the claim's test worlds, Spearman's rho between the round cost and rounds and
between the retrieval cost and retrievals (with intervals over resampled runs), and which kinds of question keep their
decomposition.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from claim import SCENARIO, TEST_QUESTIONS, TEST_WORLDS, trained
from jobs import Job, main, write_result
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from jade_env.scenario import Scenario, load_scenario

RESULTS = Path(__file__).parent / "results" / "trade_off"
STEPS, SEEDS = 65, (0, 1, 2)
SETTINGS = {
    "none": (0.0, 0.0),
    "rounds-.3": (0.3, 0.0),
    "rounds-.9": (0.9, 0.0),
    "retrievals-.3": (0.0, 0.3),
    "retrievals-.9": (0.0, 0.9),
}


def runs(results: Path) -> dict[str, Path]:
    """Every run and the file of its result."""
    names = [f"trade-{setting}-s{seed}" for seed in SEEDS for setting in SETTINGS]
    return {name: results / f"{name}.json" for name in names}


def jobs(out: Path) -> list[Job]:
    return [Job(name, file) for name, file in runs(RESULTS).items()]


def scenario_of(setting: str, world: int = 0, questions: int | None = None) -> Scenario:
    rounds, retrievals = SETTINGS[setting]
    overrides: dict[str, Any] = {"data.seed": world, "reward.round_cost": rounds, "reward.retrieval_cost": retrievals}
    return load_scenario(SCENARIO, overrides | ({"data.test": questions} if questions else {}))


def work(name: str, out: Path) -> None:
    from jade_env.recipe import load_recipe

    setting, seed = name.removeprefix("trade-").rsplit("-s", 1)
    began = time.monotonic()
    overrides = {"steps": STEPS, "eval_every": STEPS, "temperature": 1.0}
    worlds = [scenario_of(setting, world, TEST_QUESTIONS) for world in TEST_WORLDS]
    result = trained(scenario_of(setting), load_recipe("jade_joint", overrides), out / name, int(seed), worlds)
    result["wall_seconds"] = round(time.monotonic() - began, 1)
    write_result(RESULTS / f"{name}.json", {"job": name, "setting": setting, **result})


def rho(rows: list[dict[str, Any]], cost: int, field: str) -> tuple[float, float, float]:
    """Spearman's rho between a cost and what it charges, over the runs in which the other cost is 0; 95 % by resampling runs.

    Of one run a setting, resampling would give the same rho every time: there is no interval, but nan.
    """
    runs = [
        (SETTINGS[row["setting"]][cost], row["sampled"][field])
        for row in rows
        if not SETTINGS[row["setting"]][1 - cost]
    ]
    if any(len(set(column)) < 2 for column in zip(*runs, strict=True)) or not runs:  # nothing to be compared
        return float("nan"), float("nan"), float("nan")
    pairs, rng = np.array(runs), np.random.default_rng(0)
    estimate = float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
    if len(pairs) == len(set(pairs[:, 0])):
        return estimate, float("nan"), float("nan")
    found = []
    while len(found) < 2000:
        drawn = pairs[rng.integers(len(pairs), size=len(pairs))]
        if len(set(drawn[:, 0])) > 1 and len(set(drawn[:, 1])) > 1:
            found.append(float(spearmanr(drawn[:, 0], drawn[:, 1]).statistic))
    low, high = np.percentile(found, [2.5, 97.5])
    return estimate, float(low), float(high)


def decomposed(played: list[dict[str, Any]], kind: str) -> float:
    """Share of the questions of a kind that were decomposed."""
    chosen = [flow for run in played for flow, own in zip(run["workflow"], run["kind"], strict=True) if own == kind]
    return float(np.mean([flow in ("QDS", "QDP") for flow in chosen]))


def show(results: Path, console: Console) -> None:
    files = [file for file in runs(results).values() if file.exists()]
    rows = [json.loads(file.read_text()) for file in files]
    if not rows:
        console.print("nothing is done yet")
        return
    kinds = sorted(set(rows[0]["sampled"]["kind"]))
    table = Table(title="sampled play on test worlds; share of questions decomposed, by kind")
    for column in ("setting", "seeds", "rounds", "retrievals", "F1", *kinds):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for setting in SETTINGS:
        played = [row["sampled"] for row in rows if row["setting"] == setting]
        if not played:
            continue
        means = [f"{np.mean([run[field] for run in played]):.2f}" for field in ("rounds", "retrievals")]
        split = [f"{decomposed(played, kind):.2f}" for kind in kinds]
        table.add_row(
            setting, str(len(played)), *means, f"{np.mean([np.mean(run['f1']) for run in played]):.3f}", *split
        )
    console.print(table)
    for cost, field in enumerate(("rounds", "retrievals")):
        found, low, high = rho(rows, cost, field)
        interval = "one run a setting: no interval" if np.isnan(low) else f"{low:+.2f} to {high:+.2f}"
        console.print(f"Spearman's rho between the cost of {field} and {field}: {found:+.2f} ({interval})")
    console.print(f"figure: {draw(rows, results)}")


def draw(rows: list[dict[str, Any]], folder: Path) -> Path:
    """F1 over rounds and over retrievals, a point a run, as in the paper's figure 3."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, (cost, field) in zip(figure.subplots(1, 2), enumerate(("rounds", "retrievals")), strict=True):
        for row in rows:
            level = SETTINGS[row["setting"]][cost]
            if not SETTINGS[row["setting"]][1 - cost]:
                axes.scatter(
                    row["sampled"][field], np.mean(row["sampled"]["f1"]), label=f"{level}", c=[level], vmin=0, vmax=1
                )
        axes.set_xlabel(f"{field} an episode")
        axes.set_ylabel("F1")
        axes.set_title(f"cost of {field}: none to .9", fontsize=9)
        axes.grid(alpha=0.3)
    place = folder / "trade_off.png"
    figure.savefig(place, dpi=110)
    return place


if __name__ == "__main__":
    main(__doc__, __file__, jobs, work, show, RESULTS)
