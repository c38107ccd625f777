"""The report of a study: its arms with intervals, what differs from the baseline, what costs what, and how they learned.

Reads what `jade compare` leaves in its folder (`study.json`, `summary.json`, `runs.jsonl`); computes nothing but means over seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jade_env
from jade_env.errors import DataError
from jade_env.files import read
from jade_env.research.report.blocks import Block, lines, rounded, section, thinned
from jade_env.show import as_yaml

STUDY, SUMMARY, RUNS = "study.json", "summary.json", "runs.jsonl"
SCORES, COSTS = ("f1", "em", "net"), ("rounds", "retrievals", "turns", "latency", "malformed", "failed")
OF_DUELS = ("won", "payoff")
NAMES = {
    "f1": "F1",
    "em": "EM",
    "net": "net",
    "won": "wins",
    "iqm": "interquartile mean",
    "optimality_gap": "optimality gap",
}
CHANCE = "probability_of_improvement"

Tree = Mapping[str, Any]


def is_study(folder: Path) -> bool:
    """Whether a folder is a study's."""
    return (folder / STUDY).is_file()


def study_tree(folder: Path) -> dict[str, Any]:
    """The data of the page.

    Raises:
        DataError: a file is missing or damaged, or no run is done.
    """
    study, summary = _json(folder / STUDY), _json(folder / SUMMARY)
    try:
        stories = [json.loads(line) for line in read(folder / RUNS).splitlines()] if (folder / RUNS).exists() else []
        return _tree(folder, study, summary, stories)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{folder / SUMMARY}: {error!r}: this is not a summary as this version writes it; jade compare "
            f"{study.get('name')} --out {folder} --table-only writes it anew"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(read(path))
    except ValueError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(tree).__name__}")
    return tree


def _tree(folder: Path, study: Tree, summary: Tree, stories: Sequence[Tree]) -> dict[str, Any]:
    runs = summary["runs"]
    facts = [
        ["study", f"{summary['study']}: {summary['summary']}"],
        ["scenarios", ", ".join(summary["scenarios"])],
        ["arms", ", ".join(summary["arms"])],
        ["baseline", summary["baseline"]],
        ["seeds", ", ".join(map(str, summary["seeds"]))],
        ["runs", f"{runs['done']} of {runs['wanted']} done"],
    ]
    views = [_view(summary, view) for view in summary["views"]]
    sections = [*views, _curves(summary), _runs(stories, runs["failed"])]
    return {
        "title": folder.resolve().name,
        "facts": facts,
        "setup": [
            {"title": "Study", "text": as_yaml(study)},
            {"title": "Version of this report", "text": as_yaml({"jade-env": jade_env.__version__})},
        ],
        "cards": [],
        "names": list(summary["arms"]),
        "sections": [one for one in sections if one],
        "traces": None,
    }


# ---- one split, played in one mode -----------------------------------------------------------------------------------


def _view(summary: Tree, view: Tree) -> Block | None:
    arms: Tree = view["arms"]
    scores = (*SCORES, *(name for name in OF_DUELS if all(name in part["metrics"] for part in arms.values())))
    by_scenario = len(summary["scenarios"]) > 1
    return section(
        f"{view['split']}, {view['mode']}",
        [
            _table("Scores", arms, lambda part: [part["metrics"][name] for name in scores], scores, count=True),
            _against(summary, arms),
            _table("Costs of a question", arms, lambda part: [part["metrics"][name] for name in COSTS], COSTS),
            _aggregates(arms),
            _groups("F1 by kind of question", arms, lambda part: {k: v["f1"] for k, v in part["by_kind"].items()}),
            _groups("Net reward by kind", arms, lambda part: {k: v["net"] for k, v in part["by_kind"].items()}),
            _groups(
                "F1 by scenario", arms, lambda part: {k: v["metrics"]["f1"] for k, v in part["by_scenario"].items()}
            )
            if by_scenario
            else None,
            _forest("F1", arms, "f1"),
            _forest("Net reward", arms, "net"),
            *(_frontier(view, cost) for cost in view["frontiers"]),
        ],
        "Means with 95 % intervals over runs and questions. Differences are paired by run and question; a marked one "
        "excludes 0. In the last two pictures nobody beats the arms on the dashed line at their price.",
    )


def _table(
    title: str, arms: Tree, cells: Callable[[Tree], Sequence[Any]], heads: Sequence[str], count: bool = False
) -> Block:
    rows = [[arm, *([part["runs"]] if count else []), *map(_cell, cells(part))] for arm, part in arms.items()]
    columns = ["arm", *(["runs"] if count else []), *(NAMES.get(name, name.replace("_", " ")) for name in heads)]
    return {"type": "table", "title": title, "columns": columns, "rows": rows}


def _against(summary: Tree, arms: Tree) -> Block | None:
    rows: list[list[Any]] = []
    compared = [part["against"] for part in arms.values() if part["against"] is not None]
    duels = [name for name in OF_DUELS if all(name in found for found in compared)]
    names = [*SCORES, *duels]
    for arm, part in arms.items():
        if (found := part["against"]) is not None:
            differences = [cell | {"signed": True} if (cell := _cell(found[name])) else None for name in names]
            rows.append([arm, found["pairs"], *differences, _cell(found[CHANCE])])
    chance = "chance of more wins" if duels else "chance of a better F1"
    columns = ["arm", "pairs", *(NAMES.get(name, name) for name in names), chance]
    title = f"Difference from {summary['baseline']}"
    return {"type": "table", "title": title, "columns": columns, "rows": rows} if rows else None


def _aggregates(arms: Tree) -> Block | None:
    names = list(next(iter(arms.values()))["aggregates"]["f1"])
    return _table("F1 over runs", arms, lambda part: [part["aggregates"]["f1"][name] for name in names], names)


def _groups(title: str, arms: Tree, cells: Callable[[Tree], Tree]) -> Block | None:
    names = list(dict.fromkeys(name for part in arms.values() for name in cells(part)))
    if not names:
        return None
    return _table(title, arms, lambda part: [cells(part).get(name) for name in names], names)


def _forest(title: str, arms: Tree, metric: str) -> Block:
    series = [{"name": arm, "points": [_ends(part["metrics"][metric])]} for arm, part in arms.items()]
    return {"type": "forest", "title": title, "x": NAMES[metric], "y": "", "series": series}


def _frontier(view: Tree, cost: str) -> Block:
    at = {arm: (_ends(part["metrics"][cost]), _ends(part["metrics"]["f1"])) for arm, part in view["arms"].items()}
    return {
        "type": "scatter",
        "title": f"F1 against {cost}",
        "x": f"{cost} a question",
        "y": "F1",
        "series": [{"name": arm, "points": [[x[0], f1[0], *x[1:], *f1[1:]]]} for arm, (x, f1) in at.items()],
        "stairs": [[at[arm][0][0], at[arm][1][0]] for arm in view["frontiers"][cost]],
    }


def _cell(figure: Any) -> dict[str, float] | None:
    """A figure as a table shows it; without ends where there is too little to tell."""
    if figure is None or figure["mean"] is None:
        return None
    return {name: rounded(figure[name]) for name in ("mean", "low", "high") if figure[name] is not None}


def _ends(figure: Any) -> list[float]:
    """Mean, low and high; the mean three times where there is too little to tell."""
    mean = rounded(figure["mean"])
    return [mean, *(mean if figure[name] is None else rounded(figure[name]) for name in ("low", "high"))]


# ---- learning curves, and runs ---------------------------------------------------------------------------------------


def _curves(summary: Tree) -> Block | None:
    """The mean over seeds, with the lowest and the highest of them; one chart for each scenario, unit and score."""
    panels = dict.fromkeys((curve["scenario"], curve["unit"]) for curve in summary["curves"])
    blocks = [
        lines(
            f"{scenario}: {NAMES[metric]}",
            unit,
            "",
            [_mean(summary, scenario, unit, arm, metric) for arm in summary["arms"]],
        )
        for scenario, unit in panels
        for metric in ("f1", "net")
    ]
    return section(
        "Learning curves", blocks, "On dev, greedy: the mean over seeds, between the lowest and the highest of them."
    )


def _mean(summary: Tree, scenario: str, unit: str, arm: str, metric: str) -> Block | None:
    own = [
        {point["timesteps"]: point[metric] for point in curve["points"] if metric in point}
        for curve in summary["curves"]
        if (curve["scenario"], curve["unit"], curve["arm"]) == (scenario, unit, arm)
    ]
    common = sorted(set.intersection(*map(set, own))) if own else []
    values = [(at, [one[at] for one in own]) for at in common]
    points = [[at, rounded(sum(v) / len(v)), rounded(min(v)), rounded(max(v))] for at, v in values]
    return {"name": arm, "points": thinned(points)} if points else None


def _runs(stories: Sequence[Tree], failed: Sequence[Tree]) -> Block | None:
    """How each run went; the folder of a training has a report of its own."""
    columns = ["scenario", "arm", "seed", "state", "training, s", "judging, s", "folder"]
    rows = [
        [
            *(str(story[name]) for name in ("scenario", "arm", "seed", "state")),
            *(story.get(name) and round(story[name]) for name in ("seconds_training", "seconds_judging")),
            story["folder"],
        ]
        for story in stories
    ]
    reasons = [[f"{one['scenario']}/{one['arm']}/{one['seed']}", one["reason"]] for one in failed]
    return section(
        "Runs",
        [
            {"type": "table", "title": "All runs", "columns": columns, "rows": rows} if rows else None,
            {"type": "table", "title": "Failed", "columns": ["run", "reason"], "rows": reasons} if reasons else None,
        ],
        "jade report FOLDER shows a training of its own, turn by turn.",
    )
