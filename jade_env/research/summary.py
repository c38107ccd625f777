"""The figures of an evaluation: rows of episodes in, one JSON object or one table out, each mean with its interval.

All intervals are 95 % bootstrap intervals over questions. Knows no policy and no game.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from jade_env.errors import DataError
from jade_env.game.rewards import won
from jade_env.learning.evaluation import EpisodeRow, by_kind
from jade_env.research.statistics import bootstrap_mean

if TYPE_CHECKING:
    from rich.table import Table


class Figure(TypedDict):
    """A mean with its 95 % interval; null where no question has the quantity."""

    mean: float | None
    low: float | None
    high: float | None


class KindSummary(TypedDict):
    """The figures of one kind of question."""

    episodes: int
    metrics: dict[str, Figure]


class TeamSummary(TypedDict):
    """The figures of one side of a duel; a game is won by whoever receives more, and a draw is half a win."""

    wins: Figure
    payoff: Figure
    metrics: dict[str, Figure]


class Summary(TypedDict):
    """What `jade eval --json` prints.

    `by_team` is empty where there is one team; `by_agent`, what each receives at the end, where all receive the same.
    """

    scenario: str
    policy: str
    split: str
    episodes: int
    metrics: dict[str, Figure]
    by_kind: dict[str, KindSummary]
    by_team: dict[str, TeamSummary]
    by_agent: dict[str, Figure]


MEANS = {
    "f1": "f1",
    "em": "em",
    "cover_em": "cover_em",
    "net": "net",
    "rounds": "rounds",
    "retrievals": "retrievals",
    "turns": "turns",
    "ticks": "ticks",
    "latency": "latency",
    "return": "return_",
    "failed": "failed",
    "support_recall": "support_recall",
}
"""Metrics that are means over episodes, with the field of `EpisodeRow` that each reads."""

METRICS = (*list(MEANS)[:-2], "malformed", "failed", "support_recall")
"""Every metric, in the order shown."""
SHOWN_BY_KIND = ("f1", "em", "net", "rounds", "retrievals", "turns")


def summarize(rows: Sequence[EpisodeRow], scenario: str, policy: str, split: str) -> Summary:
    """Summarise an evaluation, over all questions and by their kind.

    `malformed` is a rate: malformed outputs per turn. `support_recall` is over the questions with supporting passages.

    Raises:
        DataError: there are no rows.
    """
    if not rows:
        raise DataError("an evaluation without episodes has no figures; give at least one row")
    kinds = by_kind(rows)
    return {
        "scenario": scenario,
        "policy": policy,
        "split": split,
        "episodes": len(_by_question(rows)),
        "metrics": figures(rows),
        "by_kind": {
            kind: {"episodes": len(_by_question(group)), "metrics": figures(group)}
            for kind, group in kinds.items()
            if kind or len(kinds) > 1
        },
        "by_team": {team: _team(rows, team) for team in dict.fromkeys(row.team for row in rows) if team},
        "by_agent": {
            agent: _figure([row.payoffs.get(agent, 0.0) for row in rows], -math.inf)  # 0 of what was cut short
            for agent in dict.fromkeys(agent for row in rows for agent in row.payoffs)
        },
    }


def _team(rows: Sequence[EpisodeRow], team: str) -> TeamSummary:
    own = [row for row in rows if row.team == team]
    wins = [won(row.payoff) for row in own]
    payoff = [row.payoff for row in own]
    return {"wins": _figure(wins, 0.0), "payoff": _figure(payoff, -math.inf), "metrics": figures(own)}


def figures(rows: Sequence[EpisodeRow]) -> dict[str, Figure]:
    """Each metric over the questions: of one that both sides of a duel have played, its mean over the two."""
    questions = _by_question(rows)
    values = {
        name: [sum(float(getattr(row, field)) for row in played) / len(played) for played in questions]
        for name, field in MEANS.items()
    }
    malformed = [sum(row.malformed for row in played) for played in questions]
    values["malformed"] = _rate(malformed, [sum(row.turns for row in played) for played in questions])
    return {name: _figure(values[name], lowest=0.0 if name == "malformed" else -math.inf) for name in METRICS}


def _by_question(rows: Sequence[EpisodeRow]) -> list[list[EpisodeRow]]:
    found: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        found.setdefault(row.question_id, []).append(row)
    return list(found.values())


def _rate(counts: Sequence[int], sizes: Sequence[int]) -> list[float]:
    """Numbers, one a question, with the mean sum(counts) / sum(sizes) and that ratio's spread (delta method)."""
    total = sum(sizes)
    if not total:
        return [0.0 for _ in sizes]
    rate, mean_size = sum(counts) / total, total / len(sizes)
    return [rate + (count - rate * size) / mean_size for count, size in zip(counts, sizes, strict=True)]


def _figure(values: Sequence[float], lowest: float) -> Figure:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return {"mean": None, "low": None, "high": None}
    interval = bootstrap_mean(known)
    if math.isnan(interval.low):
        return {"mean": interval.mean, "low": None, "high": None}
    return {"mean": interval.mean, "low": max(lowest, interval.low), "high": interval.high}


def table(summary: Summary) -> Table:
    """The figures over all questions as a table for `rich.print`."""
    title = f"{summary['policy']} on {summary['scenario']}, {summary['split']}, {summary['episodes']} questions"
    title += f", the mean of {' and '.join(summary['by_team'])}" if summary["by_team"] else ""
    shown = _table(title, ("metric", "mean", "95 % interval"))
    for name, figure in summary["metrics"].items():
        shown.add_row(name, _number(figure["mean"]), _ends(figure))
    return shown


def kinds_table(summary: Summary) -> Table:
    """The main figures of each kind of question; no row where questions have no kinds."""
    shown = _table("by kind of question", ("kind", "n", *SHOWN_BY_KIND))
    for kind, part in summary["by_kind"].items():
        means = [_number(part["metrics"][name]["mean"]) for name in SHOWN_BY_KIND]
        shown.add_row(_literal(kind or "(none)"), str(part["episodes"]), *means)
    return shown


def teams_table(summary: Summary) -> Table:
    """The sides of a duel beside each other."""
    shown = _table("by team", ("team", "wins", "95 % interval", "payoff", *SHOWN_BY_KIND))
    for team, part in summary["by_team"].items():
        wins, means = part["wins"], [_number(part["metrics"][name]["mean"]) for name in SHOWN_BY_KIND]
        shown.add_row(_literal(team), _number(wins["mean"]), _ends(wins), _number(part["payoff"]["mean"]), *means)
    return shown


def agents_table(summary: Summary) -> Table:
    """What each agent receives; no row where all receive the same."""
    shown = _table("by agent", ("agent", "payoff", "95 % interval"))
    for agent, figure in summary["by_agent"].items():
        shown.add_row(_literal(agent), _number(figure["mean"]), _ends(figure))
    return shown


def _table(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table

    shown = Table(title=_literal(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i else "left", no_wrap=not i)
    return shown


def _literal(text: str) -> str:
    """Text in which rich finds no markup."""
    from rich.markup import escape

    return escape(text)


def _ends(figure: Figure) -> str:
    return "" if figure["low"] is None else f"{_number(figure['low'])} to {_number(figure['high'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
