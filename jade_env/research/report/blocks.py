"""What a report's overview is made of: tables and charts as JSON values, which the page draws without knowing what they mean.

    section  {title, note, blocks, wide}
    table    {type: table, title, columns, rows}            a cell: text, a number, or {mean, low, high}
    chart    {type, title, x, y, series: [{name, points, dashed}]}                  by type, a point is
             lines, shares: [x, y] or [x, y, low, high]; scatter: [x, y, x low, x high, y low, y high]; forest: [x, low, high]

Knows records of metrics and rows of episodes; knows no page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jade_env.learning.evaluation import EpisodeRow, by_kind
from jade_env.research.report.run import Run
from jade_env.research.statistics import Interval, paired_difference
from jade_env.research.summary import MEANS, METRICS, Figure, figures

if TYPE_CHECKING:
    from jade_env.research.report.episodes import Play

Block = dict[str, Any]
Points = list[list[float]]

MOST_POINTS = 600
OF_ROLES = (
    ("entropy", "Entropy", "nats a token"),
    ("kl", "KL to the first policy", "nats a token"),
    ("malformed", "Malformed outputs", "share of outputs"),
    ("clip_fraction", "Clipped ratios", "share of tokens"),
    ("length", "Output length", "tokens"),
    ("advantage", "Size of the advantage", "mean absolute, normalised"),
)
"""Metrics of roles, with the title and unit that each is shown by."""
OF_LEARNERS = (
    ("explained_variance", "Explained variance", "of the critic; 1 is perfect"),
    ("entropy", "Entropy", "nats, as weighted in the loss"),
    ("kl", "KL of an update", "nats"),
    ("clip_fraction", "Clipped ratios", "share"),
    ("policy_loss", "Policy loss", ""),
    ("value_loss", "Value loss", ""),
    ("learning_rate", "Learning rate", ""),
    ("loss", "Loss", "nats a token"),
)


def section(title: str, blocks: Iterable[Block | None], note: str = "") -> Block | None:
    """A section of the blocks that there are; None without any."""
    present = [block for block in blocks if block]
    return {"title": title, "note": note, "blocks": present} if present else None


# ---- tables ----------------------------------------------------------------------------------------------------------


def results(before: Sequence[EpisodeRow], after: Sequence[EpisodeRow], side: str = "") -> list[Block | None]:
    """Every metric with its interval, before and after and the paired difference; then the same by kind of question.

    Args:
        before, after: rows of one team, of the same questions.
        side: its name, where there are two.
    """
    columns = ["metric", "before", "after", "difference"] if before else ["metric", "after"]
    old, new = figures(before) if before else {}, figures(after)
    rows: list[list[Any]] = []
    for name in METRICS:
        row: list[Any] = [name.replace("_", " ")]
        if before:
            row.append(_cell(old[name]))
        row.append(_cell(new[name]))
        if before:
            row.append(_difference(before, after, MEANS.get(name)))
        rows.append(row)
    title = f"All questions, {side}" if side else "All questions"
    return [{"type": "table", "title": title, "columns": columns, "rows": rows}, _kinds(before, after)]


def _kinds(before: Sequence[EpisodeRow], after: Sequence[EpisodeRow]) -> Block | None:
    kinds = by_kind(after)
    if len(kinds) < 2:
        return None
    old = by_kind(before)
    rows: list[list[Any]] = []
    for kind, own in kinds.items():
        row: list[Any] = [kind or "(none)", len(own)]
        if before:
            row += [_cell(figures(old[kind])["f1"])]
        row += [_cell(figures(own)["f1"])]
        if before:
            row += [_difference(old[kind], own, "f1")]
        row += [_mean([float(one.rounds) for one in own]), _mean([float(one.retrievals) for one in own])]
        rows.append(row)
    pair = ["F1 before", "F1 after", "difference"] if before else ["F1"]
    return {
        "type": "table",
        "title": "By kind of question",
        "columns": ["kind", "n", *pair, "rounds", "retrievals"],
        "rows": rows,
    }


def roles_played(plays: Sequence[Play]) -> Block | None:
    """What each role did in the episodes that were played greedily: how often, how well-formed, how sure, how long."""
    chosen = [play for play in plays if not play.first_of]
    names = sorted({heard.turn.agent for play in chosen for heard in play.heard.values()})
    measures = ("turns an episode", "malformed", "log p", "tokens")
    rows: list[list[Any]] = []
    for name in names:
        columns = [_role(play, name) for play in chosen]
        rows.append([name.replace("_", " "), *(column[place] for place in range(len(measures)) for column in columns)])
    heads = [f"{measure}, {play.name.lower()}" for measure in measures for play in chosen]
    used = [i for i in range(len(heads)) if any(row[i + 1] is not None for row in rows)]
    return {
        "type": "table",
        "title": "In the episodes played here (means)",
        "columns": ["role", *(heads[i] for i in used)],
        "rows": [[row[0], *(row[i + 1] for i in used)] for row in rows],
    }


def _role(play: Play, agent: str) -> tuple[float | None, ...]:
    """Turns an episode; the share that is malformed, the log-probability and the tokens of a turn."""
    own = [heard for heard in play.heard.values() if heard.turn.agent == agent]
    turns = [turn for episode in play.episodes.values() for turn in episode.trace.played if turn.agent == agent]
    if not turns:
        return (0.0, None, None, None)
    return (
        rounded(len(turns) / sum(agent in episode.rules.agents for episode in play.episodes.values())),
        _mean([float(not turn.output.valid) for turn in turns]),
        _mean([heard.logprob for heard in own if heard.logprob is not None]),
        _mean([float(heard.tokens) for heard in own if heard.tokens]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return rounded(sum(values) / len(values)) if values else None


def headline(before: Sequence[EpisodeRow], after: Sequence[EpisodeRow], side: str = "") -> list[Block]:
    """The figures that a reader wants first, of a side where there are two."""
    new, old = figures(after), figures(before) if before else None
    found = []
    for name, label in (
        ("f1", "F1"),
        ("em", "Exact match"),
        ("net", "Net reward"),
        ("retrievals", "Retrievals"),
        ("rounds", "Rounds"),
    ):
        card: Block = {"label": f"{label} of {side}" if side else label, "after": _cell(new[name])}
        if old:
            card |= {"before": _cell(old[name]), "difference": _difference(before, after, MEANS[name])}
        found.append(card)
    return found


def _difference(before: Sequence[EpisodeRow], after: Sequence[EpisodeRow], field: str | None) -> Any:
    """The mean of after - before by question; nothing for a rate that is not a mean over questions."""
    if field is None:
        return None
    pairs = [(float(getattr(b, field)), float(getattr(a, field))) for b, a in zip(before, after, strict=True)]
    known = [(b, a) for b, a in pairs if b == b and a == a]
    if not known:
        return None
    return interval(paired_difference([a for _, a in known], [b for b, _ in known])) | {"signed": True}


def interval(found: Interval) -> dict[str, Any]:
    """An interval as a cell; without its ends where there is too little to tell."""
    ends = {name: getattr(found, name) for name in ("mean", "low", "high")}
    return {name: rounded(end) for name, end in ends.items() if not math.isnan(end)}


def _cell(figure: Figure) -> dict[str, float] | None:
    ends = (figure["mean"], figure["low"], figure["high"])
    return {n: rounded(end) for n, end in zip(("mean", "low", "high"), ends, strict=True) if end is not None} or None


# ---- charts ----------------------------------------------------------------------------------------------------------


def curves(run: Run) -> list[Block | None]:
    """Scores and costs over the training, on train questions (sampled) and held-out ones (greedy)."""
    found: list[Block | None] = []
    for name, label in (("f1", "F1"), ("net", "Net reward"), ("rounds", "Rounds"), ("retrievals", "Retrievals")):
        series = [
            curve(run, "dev, greedy", ("dev", name)),
            curve(run, "held-out train, greedy", ("held_out", name)),
            curve(run, "train, sampled", ("played", name), (name,), dashed=True),
        ]
        found.append(lines(label, run.unit, "", series))
    return found


def workflow_shares(run: Run) -> list[Block | None]:
    """Which workflows were chosen, over the training."""
    return [
        _shares(run, "Original questions", ("played", "workflows"), ("workflows",)),
        _shares(run, "Sub-questions", ("played", "sub_workflows"), ("sub_workflows",)),
    ]


def role_charts(run: Run) -> list[Block | None]:
    """What the records say of each role."""
    found: list[Block | None] = []
    for name, title, unit in OF_ROLES:
        by_role = _names(run, ("roles",))
        series = [curve(run, role, ("roles", role, name)) for role in by_role]
        if name == "malformed" and not by_role:  # a run of networks keeps it flat
            series = [curve(run, role, ("malformed", role)) for role in _names(run, ("malformed",))]
        found.append(lines(title, run.unit, unit, series, roles=True))
    return found


def learner_charts(run: Run) -> list[Block | None]:
    """What the records say of the update as a whole."""
    found: list[Block | None] = []
    for name, title, unit in OF_LEARNERS:
        own = curve(run, "all", ("learner", name), (name,))
        series = [
            own if own and any(y for _, y in own["points"]) else None
        ]  # without a critic its loss is 0 throughout
        if name == "explained_variance":
            series.append(curve(run, "a table of means", ("learner", f"table_{name}"), dashed=True))
        found.append(lines(title, run.unit, unit, series))
    return found


def lines(title: str, x: str, y: str, series: Sequence[Block | None], roles: bool = False) -> Block | None:
    """A chart of the series that have points; None without any."""
    present = [one for one in series if one]
    if not present:
        return None
    return {"type": "lines", "title": title, "x": x, "y": y, "roles": roles, "series": present}


def curve(run: Run, name: str, *paths: tuple[str, ...], dashed: bool = False, scale: float = 1.0) -> Block | None:
    """The numbers at the first path that has any, times `scale`, thinned to what a screen can show."""
    for path in paths:
        points: Points = []
        for record in run.records:
            value = _at(record, path)
            if isinstance(value, int | float) and not isinstance(value, bool):
                points.append([record["timesteps"], rounded(scale * value)])
        if points:
            return {"name": name, "points": thinned(points)} | ({"dashed": True} if dashed else {})
    return None


def _shares(run: Run, title: str, *paths: tuple[str, ...]) -> Block | None:
    for path in paths:
        rows = [(record["timesteps"], found) for record in run.records if (found := _at(record, path))]
        names = sorted({name for _, found in rows for name in found}, key=lambda name: (name.count(","), name))
        if len(rows) > 1:
            series = [
                {"name": name, "points": thinned([[at, rounded(float(found.get(name, 0.0)))] for at, found in rows])}
                for name in names
            ]
            return {"type": "shares", "title": title, "x": run.unit, "y": "share", "series": series}
    return None


def thinned(points: Points) -> Points:
    """Every n-th point, and the last one, where there are more than a screen can show."""
    every = -(-len(points) // MOST_POINTS)
    return points if every < 2 else [*points[:-1:every], points[-1]]


def _names(run: Run, path: tuple[str, ...]) -> list[str]:
    return sorted({name for record in run.records if isinstance(found := _at(record, path), Mapping) for name in found})


def _at(record: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def rounded(value: float) -> float:
    """Five digits, which is more than a screen shows."""
    return round(float(f"{value:.5g}"), 9)
