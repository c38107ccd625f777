"""The tables of a comparison, for a terminal: `summary.json` in, rich tables out. Computes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Summary = Mapping[str, Any]
_COSTS = ("rounds", "retrievals", "turns", "malformed", "failed")


def tables(summary: Summary) -> list[Table]:
    """All tables of a study, for each split and mode: scores, costs, differences, aggregates, kinds and scenarios if several."""
    return [table for view in summary["views"] for table in _of_view(summary, view)]


def _of_view(summary: Summary, view: Mapping[str, Any]) -> list[Table]:
    found = [_scores(summary, view), _costs(summary, view)]
    if any(arm["against"] for arm in view["arms"].values()):
        found.append(_differences(summary, view))
    if any(_told(arm["aggregates"]["f1"]["iqm"]) for arm in view["arms"].values()):
        found.append(_aggregates(summary, view))
    if len(kinds := list(dict.fromkeys(kind for arm in view["arms"].values() for kind in arm["by_kind"]))) > 1:
        found.append(_kinds(view, kinds))
    if len(summary["scenarios"]) > 1:
        found.append(_scenarios(summary, view))
    return found


def _named(summary: Summary, view: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The arms, those that lack scenarios marked: their means are over fewer."""
    there = len(summary["scenarios"])
    return [
        (name if len(arm["by_scenario"]) == there else f"{name} ({len(arm['by_scenario'])} of {there} scenarios)", arm)
        for name, arm in view["arms"].items()
    ]


def _scores(summary: Summary, view: Mapping[str, Any]) -> Table:
    """Means with their intervals over runs and questions."""
    title = f"{summary['study']}: {view['split']}, {view['mode']}; mean and 95 % interval over runs and questions"
    duels = {"won": "wins", "payoff": "payoff"} if all("won" in arm["metrics"] for arm in view["arms"].values()) else {}
    shown = _table(title, ("arm", "runs", "F1", "EM", "net", *duels.values()))
    for name, arm in _named(summary, view):
        f1, em, net = (arm["metrics"][metric] for metric in ("f1", "em", "net"))
        own = [_with_interval(arm["metrics"][metric]) for metric in duels]
        shown.add_row(name, str(arm["runs"]), _with_interval(f1), _number(em["mean"]), _with_interval(net), *own)
    return shown


def _costs(summary: Summary, view: Mapping[str, Any]) -> Table:
    """What the arms pay for a question, and which of them nobody beats at their price."""
    titles = {cost: f"F1/{cost}" for cost in view["frontiers"]}
    shown = _table(
        "cost of a question; x: on the frontier, as no arm has as much F1 for less", ("arm", *_COSTS, *titles.values())
    )
    for name, (marked, arm) in zip(view["arms"], _named(summary, view), strict=True):
        means = [f"{arm['metrics'][cost]['mean']:.2f}" for cost in _COSTS]
        shown.add_row(marked, *means, *("x" if name in best else "" for best in view["frontiers"].values()))
    return shown


def _differences(summary: Summary, view: Mapping[str, Any]) -> Table:
    """Against the baseline, question by question."""
    compared = [arm["against"] for arm in view["arms"].values() if arm["against"]]
    duels = {"won": "wins", "payoff": "payoff"} if all("won" in found for found in compared) else {}
    shown = _table(
        f"minus {summary['baseline']}, seed by seed and question by question",
        ("arm", "F1", "net", *duels.values(), "P(better)"),
    )
    for name, arm in view["arms"].items():
        if found := arm["against"]:
            gains = [_with_interval(found[metric], "+.3f") for metric in ("f1", "net", *duels)]
            better = found["probability_of_improvement"]
            shown.add_row(name, *gains, _with_interval(better, ".2f") if _told(better) else "-")
    return shown


def _aggregates(summary: Summary, view: Mapping[str, Any]) -> Table:
    """Over runs alone, as Agarwal et al. (2021) report them."""
    names = {"mean": "mean", "median": "median", "iqm": "IQM", "optimality_gap": "optimality gap"}
    if len(summary["scenarios"]) == 1:
        del names["median"]  # over scenarios: with one it is the mean
    shown = _table("F1 over runs, stratified by scenario (intervals over runs alone)", ("arm", *names.values()))
    for name, arm in _named(summary, view):
        shown.add_row(name, *(_with_interval(arm["aggregates"]["f1"][key]) for key in names))
    return shown


def _kinds(view: Mapping[str, Any], kinds: Sequence[str]) -> Table:
    """Net score by kind of question: where an arm wins, and where it pays for nothing."""
    shown = _table("net by kind of question", ("arm", *kinds))
    for name, arm in view["arms"].items():
        parts = arm["by_kind"]
        shown.add_row(name, *(_number(parts[kind]["net"]["mean"]) if kind in parts else "-" for kind in kinds))
    return shown


def _scenarios(summary: Summary, view: Mapping[str, Any]) -> Table:
    """F1 scenario by scenario."""
    labels = summary["scenarios"]
    shown = _table("F1 by scenario", ("arm", *labels))
    for name, arm in view["arms"].items():
        parts = arm["by_scenario"]
        shown.add_row(name, *(_with_interval(parts[at]["metrics"]["f1"]) if at in parts else "-" for at in labels))
    return shown


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    for number, column in enumerate(columns):
        shown.add_column(escape(column), justify="right" if number else "left", no_wrap=not number)
    return shown


def _told(figure: Mapping[str, Any]) -> bool:
    return figure["low"] is not None


def _with_interval(figure: Mapping[str, Any], style: str = ".3f") -> str:
    ends = f" ({_number(figure['low'], style)} to {_number(figure['high'], style)})" if _told(figure) else ""
    return f"{_number(figure['mean'], style)}{ends}"


def _number(value: float, style: str = ".3f") -> str:
    """A number without the 0 before its point."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{style}}")
