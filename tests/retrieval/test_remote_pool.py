"""Retrieval that goes on while episodes play, over a real server: the same game whatever arrives when, and clean ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jade_env import streams
from jade_env.envs.pool import Pool
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.retrieval.cache import CachedRetriever
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.types import Document, Hit
from jade_env.scenario import Scenario, load_scenario

Start = Callable[..., Any]
SMALL = {"data.passages": 300, "data.train": 60}


class Here:
    """What the server would answer, at once and in this process."""

    identity = "here"

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        return [[Hit(Document(f"{q}#{r}", q, f"text {r}"), 1.0 / r) for r in range(1, top_k + 1)] for q in queries]


@pytest.fixture(scope="module")
def small() -> Scenario:
    return load_scenario("cooperative", SMALL)


def pool_over(retriever: Any, scenario: Scenario, n: int = 12, group: Any = 1, overlap: bool = True) -> Pool:
    pool = Pool(scenario, n, group, seed=3, overlap=overlap)
    pool._table.retriever = retriever
    pool.reset(3)
    return pool


def drawn(turn: Turn) -> int:
    return 1 + streams.bits("drawn", turn.id) % len(turn.candidates)


def in_parallel(turn: Turn) -> int | str:
    """Every question is split in two, so that one half may play while the other waits."""
    if turn.kind == "workflow" and not turn.view.depth:
        return "<workflow>QDP</workflow>"
    if turn.kind == "subquestions_parallel":
        return "<q1>Who founded it?</q1><q2>Where is it?</q2>"
    return drawn(turn)


def play(pool: Pool, episodes: int, act: Callable[[Turn], int | str] = drawn) -> dict[int, Episode]:
    """Play until the first `episodes` have ended."""
    done: dict[int, Episode] = {}
    while any(number not in done for number in range(episodes)):
        done |= {episode.index: episode for episode in pool.step({turn.id: act(turn) for turn in pool.turns()})}
    return done


def trace(episode: Episode) -> Any:
    played = [(turn.agent, turn.path, turn.step, turn.output.text, turn.penalty) for turn in episode.trace.played]
    found = [(node.path, node.query, [d.id for d in node.retrieved or ()]) for node in episode.trace.nodes]
    return played, found, episode.result, episode.truncated, episode.ledger


@pytest.mark.parametrize("group", [1, 4, (2, 3)])
@pytest.mark.parametrize("cached", [False, True])
def test_every_episode_goes_as_if_documents_came_at_once(
    faulty: Start, small: Scenario, group: Any, cached: bool
) -> None:
    server = faulty()
    server.plan(delay=0.03)
    remote = RemoteRetriever([server.url], batch=2, concurrency=8)
    there = play(pool_over(CachedRetriever(remote) if cached else remote, small, group=group), 36)
    here = play(pool_over(Here(), small, group=group), 36)
    for number in range(36):
        assert trace(there[number]) == trace(here[number])
    assert remote.stats.failures == 0


def test_what_is_played_in_a_sleeping_episode_is_applied_when_it_wakes(faulty: Start, small: Scenario) -> None:
    """A player that plays its turns one by one may play one after its episode has begun to wait."""
    server = faulty()
    server.plan(delay=0.1)
    pool = pool_over(RemoteRetriever([server.url]), small)
    taken: dict[Any, Turn] = {}
    done: dict[int, Episode] = {}
    slept = 0
    while any(number not in done for number in range(24)):
        taken |= {turn.id: turn for turn in pool.turns(block=not taken)}
        taken = {place: turn for place, turn in taken.items() if not turn.game.finished}
        sleeping = {place for place, turn in taken.items() if turn.game.pending_queries}
        place = max(taken, key=lambda place: (place in sleeping, streams.bits("pick", place)), default=None)
        turn = taken.pop(place) if place is not None else None
        slept += turn is not None and bool(turn.game.pending_queries)
        ended = pool.step({turn.id: in_parallel(turn)}) if turn else pool.step({}) if pool.waiting else []
        done |= {episode.index: episode for episode in ended}
    assert slept
    here = play(pool_over(Here(), small), 24, in_parallel)
    for number in range(24):
        mine, theirs = trace(done[number]), trace(here[number])
        assert sorted(mine[0]) == sorted(theirs[0]) and mine[1:] == theirs[1:]


def test_others_play_while_documents_are_on_their_way(faulty: Start, small: Scenario) -> None:
    server = faulty()
    server.plan(delay=2.0)
    pool = pool_over(RemoteRetriever([server.url]), small, n=4)
    first, *others = pool.turns()
    began = time.monotonic()
    assert pool.step({first.id: "<workflow>R,AG</workflow>"}) == []
    assert [turn.id for turn in pool.turns()] == [turn.id for turn in others]
    assert time.monotonic() - began < 0.3 and pool.waiting
    pool.step({turn.id: "<workflow>R,AG</workflow>" for turn in others})
    assert pool.turns(block=False) == []
    assert len(pool.turns()) >= 1  # blocks until documents have come
    with pytest.raises(JadeError, match="is not open"):
        pool.step({first.id: 1})


def test_overlapping_saves_the_time_that_players_need(faulty: Start, small: Scenario) -> None:
    server = faulty()
    server.plan(delay=0.15)

    def seconds(overlap: bool) -> float:
        pool = pool_over(RemoteRetriever([server.url]), small, n=8, overlap=overlap)
        began, done = time.monotonic(), 0
        while done < 16:
            turns = pool.turns()[:4]
            time.sleep(0.02 * len(turns))  # a player that takes its time
            done += len(pool.step({turn.id: drawn(turn) for turn in turns}))
        return time.monotonic() - began

    assert seconds(overlap=True) < 0.85 * seconds(overlap=False)


def test_a_local_retriever_is_asked_at_once(small: Scenario) -> None:
    pool = pool_over(Here(), small)
    assert not pool.overlaps
    turns = pool.turns()
    pool.step({turns[0].id: "<workflow>R,AG</workflow>"})
    assert len(pool.turns()) == len(turns) and not pool.waiting


def test_a_server_that_dies_ends_only_the_episodes_that_waited_and_says_why(faulty: Start, small: Scenario) -> None:
    server = faulty()
    remote = RemoteRetriever([server.url], retries=0, timeout=1.0)
    pool = pool_over(remote, small, n=6)
    done: dict[int, Episode] = {}
    for step in range(60):
        if step == 6:
            server.kill()
        turns = pool.turns()
        done |= {e.index: e for e in pool.step({turn.id: drawn(turn) for turn in turns})}
    cut = [episode for episode in done.values() if episode.truncated]
    assert cut and all(server.url in e.truncated and e.result is None for e in cut)
    assert any(not episode.truncated for episode in done.values())  # those that need no documents play on
    numbers = sorted({*done, *(episode.index for episode in pool.episodes)})
    assert numbers == list(range(len(numbers)))  # no question is lost
    remote.close()
    stats = remote.stats
    assert stats.failures == stats.lost and stats.requests == stats.failures + stats.latency.calls


def test_a_server_that_is_down_from_the_start_is_an_error_and_not_a_hang() -> None:
    scenario = load_scenario("cooperative", {**SMALL, "workflows": [["R", "AG"]]})
    pool = Pool(scenario, 3, seed=0, overlap=True)
    pool._table.retriever = RemoteRetriever(["http://127.0.0.1:9"], retries=0)
    with pytest.raises(RetrievalError, match="no episode can begin: http://127.0.0.1:9"):
        pool.step({turn.id: "<answer>x</answer>" for turn in pool.turns()})
        pool.turns()


@pytest.mark.parametrize("overlap", [False, True])
def test_a_scenario_may_have_a_failure_stop_the_run(small: Scenario, overlap: bool) -> None:
    settings = {"kind": "remote", "urls": ["http://127.0.0.1:9"], "retries": 0, "on_failure": "raise"}
    scenario = load_scenario("cooperative", {**SMALL, "retriever": settings})
    pool = Pool(scenario, 3, seed=0, overlap=overlap)
    with pytest.raises(RetrievalError, match="^http://127.0.0.1:9: "):
        pool.step({turn.id: "<workflow>R,AG</workflow>" for turn in pool.turns()})
        pool.turns()


def test_a_new_beginning_forgets_what_was_on_its_way(faulty: Start, small: Scenario) -> None:
    server = faulty()
    server.plan(delay=0.3)
    pool = pool_over(RemoteRetriever([server.url]), small, n=2)
    pool.step({turn.id: "<workflow>R,AG</workflow>" for turn in pool.turns()})
    openings = [turn.id for turn in pool.reset(3)]
    time.sleep(0.5)
    assert [turn.id for turn in pool.turns()] == openings and not pool.waiting


class Drawn:
    """Plays what `in_parallel` says."""

    def act(self, turns: Sequence[Turn]) -> list[int | str]:
        return [in_parallel(turn) for turn in turns]


def test_a_rollout_does_not_depend_on_when_documents_come(faulty: Start, small: Scenario) -> None:
    from jade_env.learning.rollout import collect

    server = faulty()
    server.plan(delay=0.03)
    rollouts = []
    for _ in range(2):
        pool = pool_over(RemoteRetriever([server.url], batch=1), small, n=12)
        players = dict.fromkeys(pool.agents, Drawn())
        rollouts.append([collect(pool, players, first, 12) for first in (0, 12)])
    for mine, theirs in zip(*rollouts, strict=True):
        assert [trace(episode) for episode in mine.episodes] == [trace(episode) for episode in theirs.episodes]
    here = play(pool_over(Here(), small), 24, in_parallel)
    for episode in (episode for rollout in rollouts[0] for episode in rollout.episodes):
        played, *rest = trace(episode)
        others, *others_rest = trace(here[episode.index])
        assert (sorted(played), rest) == (sorted(others), others_rest)


def test_rollouts_go_on_while_a_server_is_down_and_lose_no_episode(faulty: Start, small: Scenario) -> None:
    from jade_env.learning.rollout import collect

    server = faulty()
    pool = pool_over(RemoteRetriever([server.url], retries=0, timeout=1.0), small, n=8)
    players = dict.fromkeys(pool.agents, Drawn())
    cut = []
    for step, forever in enumerate((None, "error", None)):
        server.plan(forever=forever)
        episodes = collect(pool, players, 8 * step, 8).episodes
        assert [episode.index for episode in episodes] == list(range(8 * step, 8 * step + 8))
        cut.append(sum(bool(episode.truncated) for episode in episodes))
    assert cut[0] == 0 and cut[1] > 0 and cut[2] == 0
