"""The learning curve of a run as a picture: records of metrics in, PNG bytes out. Knows no file and no learner."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

Records = Sequence[Mapping[str, Any]]


def learning_curve(records: Records, title: str, unit: str = "turns") -> bytes:
    """Draw F1 and net score, the root workflows chosen, and the health of the learner, over what was trained on.

    Args:
        records: as in `metrics.jsonl`.
        title: above the picture.
        unit: of the time axis.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    scores, workflows, learner = figure.subplots(1, 3)
    _scores(scores, records)
    _workflows(workflows, records)
    _learner(learner, records)
    for axes in (scores, workflows, learner):
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _series(records: Records, *path: str) -> tuple[list[float], list[float]]:
    """The turns and values of the records that have a number at `path`."""
    turns, values = [], []
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            turns.append(float(record["timesteps"]))
            values.append(float(value))
    return turns, values


def _scores(axes: Axes, records: Records) -> None:
    axes.set_title("score", fontsize=9)
    axes.plot(*_series(records, "f1"), color="tab:blue", alpha=0.4, label="F1, train (sampled)")
    axes.plot(*_series(records, "net"), color="tab:orange", alpha=0.4, label="net, train (sampled)")
    for split, style in (("held_out", ":"), ("dev", "-")):
        name = split.replace("_", " ")
        axes.plot(*_series(records, split, "f1"), style, color="tab:blue", marker=".", label=f"F1, {name} (greedy)")
        axes.plot(*_series(records, split, "net"), style, color="tab:orange", marker=".", label=f"net, {name} (greedy)")


def _workflows(axes: Axes, records: Records) -> None:
    axes.set_title("first workflow (sampled)", fontsize=9)
    names = sorted({name for record in records for name in record.get("workflows") or {}})
    rows = [record for record in records if record.get("workflows")]
    turns = [float(record["timesteps"]) for record in rows]
    shares = [[float(record["workflows"].get(name, 0.0)) for record in rows] for name in names]
    if rows:
        axes.stackplot(turns, shares, labels=names, alpha=0.8)
        axes.set_ylim(0, 1)


def _learner(axes: Axes, records: Records) -> None:
    axes.set_title("learner", fontsize=9)
    for name, label in (
        ("entropy", "entropy, as weighted in the loss"),
        ("kl", "KL of an update (nats)"),
        ("clip_fraction", "clipped share"),
        ("explained_variance", "explained variance"),
    ):
        turns, values = _series(records, name)
        axes.plot(turns, [max(-1.0, value) for value in values], label=label)
