"""Plays the questions of a report: each once and greedily by the first and by the trained team, and some as in training.

Knows pools and teams; knows no page.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jade_env.envs.pool import make_pool
from jade_env.envs.source import open_source
from jade_env.game.episode import Episode
from jade_env.learning.evaluation import SLOTS, EpisodeRow, evaluate
from jade_env.policy import Policy
from jade_env.research.report.advantages import advantages, needs_groups, why_none
from jade_env.research.report.episodes import Play
from jade_env.research.report.listener import Listener
from jade_env.research.report.run import Run
from jade_env.research.report.teams import checkpoint_played, first_team, trained_team

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Played:
    """What was played for a report.

    Attributes:
        split: of the questions.
        before, after: a row for each question, in a duel two, in the same order; `before` is empty where it was not wanted.
        plays: the same as traces, and the sampled ones behind them.
    """

    split: str
    before: Sequence[EpisodeRow]
    after: Sequence[EpisodeRow]
    plays: Sequence[Play]


def play(
    run: Run,
    split: str,
    episodes: int,
    *,
    before: bool = True,
    groups: int = 0,
    seed: int = 0,
    data: str | Path | None = None,
    progress: Progress | None = None,
) -> Played:
    """Play the first questions of a split's seeded order.

    Args:
        run: whose teams play.
        split: `train`, `dev`, `test`, or any file stem of the data folder.
        episodes: how many questions; all of the split where it has fewer.
        before: whether the team plays as it was when the training began, too.
        groups: questions that are also played as in training, with sampled outputs, if the run's rule of credit compares
            the episodes of a question.
        seed: of the order.
        data: the data location; else the run's own, else JADE_DATA.
        progress: called with (episodes done, episodes in all).

    Raises:
        ConfigError, DataError: the split or the run cannot be played.
    """
    where = data if data is not None else run.config.get("data")
    count = min(episodes, len(open_source(run.game, where).questions(split)))
    sides = len(run.game.teams) or 1
    plans, executions = _group(run) if needs_groups(run) and groups and sides == 1 else (0, 0)
    sampled = min(groups, count)
    total = sides * count * (1 + before) + sampled * plans * executions
    done = 0

    def tell(now: int) -> None:
        if progress:
            progress(done + now, total)

    rival = f"; whoever did not learn: {run.rival}" if run.rival else ""
    rows_before: list[EpisodeRow] = []
    plays: list[Play] = []
    if before:
        listener = Listener(first_team(run, where))
        rows_before = evaluate(listener, run.game, split, count, seed, data=where, progress=lambda now, _: tell(now))
        plays.append(Play("Before", f"as training began, greedy{rival}", listener.episodes(), listener.heard))
        done += sides * count
    listener = Listener(trained_team(run, where))
    rows = evaluate(listener, run.game, split, count, seed, data=where, progress=lambda now, _: tell(now))
    done += sides * count
    credited = advantages(run, listener.episodes(), listener.heard)
    at = checkpoint_played(run)
    note = f"checkpoint of {run.unit[:-1]} {at}, greedy{rival}" + (f"; {reason}" if (reason := why_none(run)) else "")
    critic = run.learner == "sb3" or run.recipe.get("algorithm") == "ippo" or run.recipe.get("critic") == "head"
    plays.append(Play("After", note, listener.episodes(), listener.heard, credited, critic=critic))
    if plans:
        team = trained_team(run, where, greedy=False)
        plays += _sampled(run, team, split, sampled, (plans, executions), seed, where, tell)
    return Played(split, rows_before, rows, plays)


def _group(run: Run) -> tuple[int, int]:
    return int(run.recipe["plans"]), int(run.recipe["executions"])


def _sampled(
    run: Run,
    team: Policy,
    split: str,
    questions: int,
    group: tuple[int, int],
    seed: int,
    data: str | Path | None,
    tell: Callable[[int], None],
) -> list[Play]:
    """The first questions, each played by a whole group of episodes: one play for each place in the group."""
    size, executions = group[0] * group[1], group[1]
    count = questions * size
    pool = make_pool(run.game, min(SLOTS - SLOTS % size or size, count), group, seed, split, data=data)
    listener, done = Listener(team), dict[int, Episode]()
    while len(done) < count:
        turns = [turn for turn in pool.turns() if turn.episode < count]
        ended = pool.step(dict(zip([turn.id for turn in turns], listener.act(turns), strict=True)))
        done |= {episode.index: episode for episode in ended if episode.index < count}
        tell(len(done))
    found = advantages(run, done, listener.heard)
    first_of = {number: number // executions * executions for number in done}
    return [
        Play(
            f"Sample {place + 1}",
            f"sampled as in training: plan {place // executions + 1} of {group[0]}, "
            f"execution {place % executions + 1} of {executions}; {run.recipe['credit']}, before normalisation",
            {number: episode for number, episode in done.items() if number % size == place},
            listener.heard,
            found,
            first_of,
        )
        for place in range(size)
    ]
