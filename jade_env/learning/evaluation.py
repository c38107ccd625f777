"""How good a policy is: it plays each question of a split once, and every episode becomes a row of numbers.

Plays by the parallel view's rule (a tick plays the oldest open turn of every role), many episodes side by side, so that
one call of the policy serves them all. Knows no statistics and no learner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from jade_env import metrics
from jade_env.envs.pool import make_pool
from jade_env.envs.source import open_source
from jade_env.envs.turn import Turn
from jade_env.errors import ConfigError
from jade_env.game.episode import Episode, Rules
from jade_env.policy.base import actions_of
from jade_env.retrieval import Retriever
from jade_env.scenario import Mode, Scenario, as_scenario

if TYPE_CHECKING:
    from jade_env.policy.base import Policy

SLOTS = 64
"""Episodes in play at once; results do not depend on it."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeRow:
    """One question, played.

    Attributes:
        question_id: of the question.
        kind: its kind in the data set; "" where there is none.
        f1: of the answer, by the scenario's rule, as are `em`, `cover_em`, `precision` and `recall`; 0 if `failed`.
        net: R_global, the outcome minus the costs; 0 if `failed`.
        return_: `net` plus all format penalties.
        rounds: workflows run.
        retrievals: queries answered.
        turns: outputs of agents.
        ticks: steps of `parallel_env` that the episode took.
        latency: the longest chain of dependent turns and retrievals.
        malformed: outputs that broke their format.
        failed: 1 where the episode was truncated by an outside cause, else 0.
        support_recall: share of the supporting passages that were retrieved; nan for a question without any.
        answer: of the team.
        workflow: of the original question, codes joined by commas; "" where the episode ended before there was one.
        team: the side of a duel that played it; "" where there is one team.
        payoff: what each member of the team receives at the end, with private rewards on average; 0 if `failed`.
        reason: why it `failed`.
        payoffs: what each agent receives at the end, where they do not all receive the same.
    """

    question_id: str
    kind: str
    f1: float
    em: float
    cover_em: float
    precision: float
    recall: float
    net: float
    return_: float
    rounds: int
    retrievals: int
    turns: int
    ticks: int
    latency: int
    malformed: int
    failed: int
    support_recall: float
    answer: str
    workflow: str
    team: str = ""
    payoff: float = 0.0
    reason: str = ""
    payoffs: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __eq__(self, other: object) -> bool:
        """Whether they say the same, nan and nan among it."""
        if not isinstance(other, EpisodeRow):
            return NotImplemented
        pairs = ((getattr(self, part.name), getattr(other, part.name)) for part in fields(self))
        return all(mine == theirs or (mine != mine and theirs != theirs) for mine, theirs in pairs)

    def __hash__(self) -> int:
        """Of the question and the answer."""
        return hash((self.question_id, self.team, self.answer))


def evaluate(
    policy: Policy,
    scenario: str | Path | Scenario,
    split: str = "dev",
    episodes: int | None = None,
    seed: int = 0,
    mode: Mode | None = None,
    data: str | Path | None = None,
    progress: Progress | None = None,
    retriever: Retriever | None = None,
    first: int = 0,
) -> list[EpisodeRow]:
    """Play questions of a split, each exactly once, in the seeded order.

    Args:
        policy: plays every agent.
        scenario: a shipped name, a path, or a loaded scenario.
        split: `train`, `dev`, `test`, or any file stem of the data folder.
        episodes: how many questions, the first ones of the order; all of the split where not given.
        seed: of the order, and of the random streams the policy draws from.
        mode: replaces the scenario's mode for all agents.
        data: the data location for scenarios with files; else JADE_DATA.
        progress: called with (episodes done, episodes in all) whenever some have ended.
        retriever: one of your own in place of the scenario's, with `search` and `identity` (`jade_env.retrieval.Retriever`).
        first: the question of the order to begin with.

    Returns:
        A row for each question, in the order played: row j is question `perm(seed)[first + j]`. In a duel two for each, one a side.

    Raises:
        ConfigError: the scenario or an argument is not valid, or the split has fewer questions than `episodes`.
        DataError: the split does not exist or cannot be read.
    """
    loaded = as_scenario(scenario, mode)
    available = len(open_source(loaded, data).questions(split))
    if not 0 <= first < max(available, 1):
        raise ConfigError(f"first: {first} is none of the {available} questions of split {split!r}, counted from 0")
    left, each = available - first, len(loaded.teams) or 1
    if episodes is not None and not 1 <= episodes <= left:
        raise ConfigError(f"episodes: {episodes} is not between 1 and {left}, the questions of split {split!r}")
    count, begin = (episodes or left) * each, first * each
    pool = make_pool(loaded, min(SLOTS, count), 1, seed, split, data=data, overlap=True, retriever=retriever)
    if begin:
        pool.seek(begin)
    numbers = range(begin, begin + count)
    ticks = dict.fromkeys(numbers, 0)
    rows: dict[int, EpisodeRow] = {}
    while len(rows) < count:
        due = _due(turn for turn in pool.turns() if turn.episode in ticks)
        for number in dict.fromkeys(turn.episode for turn in due):
            ticks[number] += 1
        actions = dict(zip((turn.id for turn in due), actions_of(policy, due), strict=True)) if due else {}
        finished = pool.step(actions)
        rows |= {e.index: _row(e, ticks[e.index]) for e in finished if e.index in ticks}
        if progress and finished:
            progress(len(rows), count)
    return [rows[number] for number in numbers]


def by_kind(rows: Iterable[EpisodeRow]) -> dict[str, list[EpisodeRow]]:
    """Rows by the kind of their question, kinds in alphabetical order."""
    groups: dict[str, list[EpisodeRow]] = {}
    for row in rows:
        groups.setdefault(row.kind, []).append(row)
    return dict(sorted(groups.items()))


def means(rows: Sequence[EpisodeRow]) -> dict[str, float]:
    """The figures that a curve is drawn from, and how many `episodes` they are of; `malformed` is a share of outputs."""
    names = ("f1", "em", "net", "rounds", "retrievals", "failed")
    found = {name: float(np.mean([getattr(row, name) for row in rows])) for name in names}
    malformed = sum(row.malformed for row in rows) / max(1, sum(row.turns for row in rows))
    return found | {"malformed": malformed, "episodes": float(len(rows))}


def means_of(rows: Sequence[EpisodeRow], game: Scenario, learned: Sequence[str]) -> dict[str, float]:
    """`means` of the side that learns, of both where both do; with `reward` where not all receive the same.

    `reward` is what those who learn receive at the end, on average over them and over all episodes: 0 of one that was cut short.
    """
    teams = {rules.team for rules in Rules.sides(game) if not learned or set(learned).intersection(rules.agents)}
    own = [row for row in rows if row.team in teams]
    if game.reward.sharing == "team":
        return means(own)
    return means(own) | {"reward": float(np.mean([_received(row, learned) for row in own]))}


def _received(row: EpisodeRow, agents: Sequence[str]) -> float:
    theirs = [row.payoffs[agent] for agent in agents if agent in row.payoffs]
    return sum(theirs) / len(theirs) if theirs else row.payoff


def chosen_by(game: Scenario, learned: Sequence[str], best: Mapping[str, float]) -> Literal["net", "reward"]:
    """By which figure a run's best checkpoint is chosen: what those who learn receive; net where they play against each other.

    Args:
        game: the scenario.
        learned: who learns.
        best: the figures of the best one so far; empty before there is one. Of a run begun before `reward` was told, net it stays.
    """
    if best and "reward" not in best:
        return "net"
    sides = Rules.sides(game)
    teams = [rules.team for rules in sides if set(learned).intersection(rules.agents)]
    against = {rules.agent(rules.adversary) for rules in sides if rules.adversary}
    if game.reward.sharing == "team" or len(teams) > 1 or (against & set(learned) and set(learned) - against):
        return "net"
    return "reward"


def is_better(figures: Mapping[str, float], best: Mapping[str, float], by: str) -> bool:
    """Whether figures make a checkpoint the best one: never where episodes were cut short, which count as 0."""
    if figures["failed"]:
        return False
    return bool(best.get("failed")) or figures[by] > best.get(by, -math.inf)


def _due(turns: Iterable[Turn]) -> list[Turn]:
    """The oldest open turn of every role in every episode."""
    oldest: dict[tuple[int, str], Turn] = {}
    for turn in turns:
        oldest.setdefault((turn.episode, turn.agent), turn)
    return list(oldest.values())


def _row(episode: Episode, ticks: int) -> EpisodeRow:
    question, ledger, result = episode.question, episode.ledger, episode.result
    scores = result.scores if result else metrics.Scores(0.0, 0.0, 0.0, 0.0, 0.0)
    net = result.value if result else 0.0
    return EpisodeRow(
        question_id=question.id,
        kind=question.kind,
        f1=scores.f1,
        em=scores.em,
        cover_em=scores.cover_em,
        precision=scores.precision,
        recall=scores.recall,
        net=net,
        return_=net + episode.penalties,
        rounds=ledger.rounds,
        retrievals=ledger.retrievals,
        turns=ledger.turns,
        ticks=ticks,
        latency=ledger.latency,
        malformed=ledger.malformed,
        failed=int(bool(episode.truncated)),
        support_recall=metrics.support_recall(episode.support_ids(), question.supporting_ids),
        answer=episode.answer,
        workflow=",".join(episode.trace.root.workflow or ()),
        team=episode.rules.team,
        payoff=_payoff(episode),
        reason=episode.truncated,
        payoffs=dict(episode.payoffs) if _paid_apart(episode) else {},
    )


def _paid_apart(episode: Episode) -> bool:
    return bool(episode.adversaries) or episode.rules.reward.sharing == "private"


def _payoff(episode: Episode) -> float:
    own = [value for agent, value in episode.payoffs.items() if agent not in episode.adversaries]
    return sum(own) / len(own) if own else 0.0
