"""What tests of policies share: playing the first questions of a split, once each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jade_env.envs.pool import Pool
from jade_env.game.episode import Episode
from jade_env.policy import Policy
from jade_env.scenario import Scenario

Play = Callable[..., list[Episode]]


@pytest.fixture(scope="session")
def play() -> Play:
    """Plays a number of questions of a split with a policy; all open turns are given at once, or one by one."""

    def played(
        policy: Policy,
        scenario: Scenario,
        split: str,
        count: int,
        data: Path | None = None,
        one_by_one: bool = False,
    ) -> list[Episode]:
        pool = Pool(scenario, count, seed=1, split=split, data=data)
        episodes = {episode.index: episode for episode in pool.episodes[: len(pool.questions)]}
        while turns := [turn for turn in pool.turns() if turn.episode in episodes]:
            given = turns[-1:] if one_by_one else turns
            pool.step({turn.id: action for turn, action in zip(given, policy.act(given), strict=True)})
        return list(episodes.values())

    return played


def _f1(episodes: list[Episode]) -> float:
    return sum(episode.result.scores.f1 for episode in episodes if episode.result) / len(episodes)


@pytest.fixture(scope="session")
def mean_f1() -> Callable[[list[Episode]], float]:
    return _f1
