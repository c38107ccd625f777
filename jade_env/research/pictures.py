"""The pictures of a comparison: `summary.json` in, PNG bytes out. Computes nothing but means over seeds; knows no file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jade_env.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Summary = Mapping[str, Any]


def pictures(summary: Summary) -> dict[str, bytes]:
    """All pictures of a study by file name; curves only where something was trained.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib", "report")
    found = {"scores.png": _scores(summary), "frontier.png": _frontier(summary)}
    return found | ({"curves.png": _curves(summary)} if summary["curves"] else {})


def _scores(summary: Summary) -> bytes:
    """Means of F1 and net with their intervals, arm by arm."""
    views = summary["views"]
    figure = _figure(9.0, 1.0 + (0.8 + 0.32 * len(summary["arms"])) * len(views))
    grid = figure.subplots(len(views), 2, squeeze=False, sharey="row")
    for row, view in zip(grid, views, strict=True):
        for axes, metric in zip(row, ("f1", "net"), strict=True):
            for place, arm in enumerate(view["arms"]):
                found = view["arms"][arm]["metrics"][metric]
                axes.errorbar(found["mean"], place, xerr=_ends(found), fmt="o", capsize=3, color=_color(summary, arm))
            axes.set_yticks(range(len(view["arms"])), list(view["arms"]))
            axes.set_title(f"{'F1' if metric == 'f1' else metric}: {view['split']}, {view['mode']}", fontsize=9)
            axes.grid(axis="x", alpha=0.3)
        row[0].invert_yaxis()
    return _png(figure)


def _frontier(summary: Summary) -> bytes:
    """F1 against each cost; a stair joins the arms that nobody beats at their price."""
    views = summary["views"]
    figure = _figure(10.0, 4.0 * len(views))
    for row, view in zip(figure.subplots(len(views), 2, squeeze=False), views, strict=True):
        for axes, (cost, best) in zip(row, view["frontiers"].items(), strict=True):
            at = {arm: (part["metrics"][cost]["mean"], part["metrics"]["f1"]) for arm, part in view["arms"].items()}
            for arm, (x, f1) in at.items():
                axes.errorbar(x, f1["mean"], yerr=_ends(f1), fmt="o", capsize=3, color=_color(summary, arm), label=arm)
            axes.plot(
                [at[arm][0] for arm in best],
                [at[arm][1]["mean"] for arm in best],
                "--",
                color="0.6",
                zorder=0,
                drawstyle="steps-post",
            )
            axes.set_xlabel(f"{cost} per question")
            axes.set_ylabel("F1")
            axes.set_title(f"{view['split']}, {view['mode']}", fontsize=9)
            axes.grid(alpha=0.3)
        row[0].legend(fontsize=7)
    return _png(figure)


def _curves(summary: Summary) -> bytes:
    """F1 on dev while learning: each seed thin, their mean thick; one panel for each scenario and unit of length."""
    panels = list(dict.fromkeys((curve["scenario"], curve["unit"]) for curve in summary["curves"]))
    figure = _figure(5.5 * len(panels), 4.0)
    for axes, (scenario, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for arm in summary["arms"]:
            mine = [c for c in summary["curves"] if (c["scenario"], c["unit"], c["arm"]) == (scenario, unit, arm)]
            if mine:
                _curve(axes, mine, _color(summary, arm), arm)
        axes.set_title(f"{scenario}, dev, greedy", fontsize=9)
        axes.set_xlabel(unit)
        axes.set_ylabel("F1")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return _png(figure)


def _curve(axes: Axes, curves: Sequence[Mapping[str, Any]], color: str, label: str) -> None:
    series = [{point["timesteps"]: point["f1"] for point in curve["points"]} for curve in curves]
    for one in series:
        axes.plot(list(one), list(one.values()), color=color, alpha=0.25, linewidth=0.8)
    common = sorted(set.intersection(*(set(one) for one in series)))
    means = [sum(one[at] for one in series) / len(series) for at in common]
    axes.plot(common, means, color=color, marker=".", label=label)


def _ends(figure: Mapping[str, Any]) -> list[list[float]] | None:
    """How far an interval reaches below and above its mean, as error bars want it."""
    if figure["low"] is None:
        return None
    return [[max(0.0, figure["mean"] - figure["low"])], [max(0.0, figure["high"] - figure["mean"])]]


def _color(summary: Summary, arm: str) -> str:
    """One color for an arm in all pictures."""
    return f"C{list(summary['arms']).index(arm) % 10}"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
