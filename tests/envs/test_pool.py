"""The pool's order, groups, refills and failures."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jade_env
from jade_env import streams
from jade_env.envs.pool import Pool
from jade_env.errors import ConfigError, DataError, JadeError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.questions.datasets import write_corpus, write_questions
from jade_env.questions.world import WorldSpec, make_world
from jade_env.scenario import Scenario, load_scenario

SMALL = {"data.passages": 300, "data.train": 60}


def play(pool: Pool, episodes: int, key: str = "") -> list[Episode]:
    done: list[Episode] = []
    while len(done) < episodes:
        turns = pool.turns()
        assert turns
        done += pool.step({t.id: 1 + streams.bits(key, t.id) % len(t.candidates) for t in turns})
    return done


def test_an_epoch_plays_every_question_once_in_the_seeded_order(small: Scenario) -> None:
    pool = jade_env.make_pool(small, n=8, seed=3)
    done = sorted(play(pool, 140), key=lambda e: e.index)
    count = len(pool.questions)
    first = [e.question.id for e in done if e.index < count]
    assert sorted(first) == sorted(q.id for q in pool.questions)
    second = [e.question.id for e in done if count <= e.index < 2 * count]
    assert len(second) > 20 and second != first[: len(second)]
    again = jade_env.make_pool(small, n=3, seed=3)
    assert [e.question.id for e in sorted(play(again, 30), key=lambda e: e.index)][:20] == first[:20]


def test_a_group_plays_a_question_several_times_in_a_row(small: Scenario) -> None:
    done = play(jade_env.make_pool(small, n=8, group_size=4, seed=0), 60)
    questions = defaultdict(set)
    for episode in done:
        questions[episode.index // 4].add(episode.question.id)
    assert all(len(ids) == 1 for ids in questions.values())


def test_a_plan_is_written_once_and_shared_by_its_executions(small: Scenario) -> None:
    pool = jade_env.make_pool(small, n=7, group_size=(2, 3), seed=0)
    asked: Counter[int] = Counter()
    done: list[Episode] = []
    while len(done) < 90:
        turns = pool.turns()
        for turn in turns:
            if turn.agent == "planner" and turn.node.parent is None:
                asked[turn.episode] += 1
                assert turn.episode % 3 == 0
        done += pool.step({t.id: 1 + streams.bits(t.id) % len(t.candidates) for t in turns})
    assert set(asked.values()) == {1}
    plans = defaultdict(list)
    for episode in done:
        plans[episode.index // 3].append(episode)
    complete = [group for group in plans.values() if len(group) == 3]
    assert len(complete) > 20
    for group in complete:
        assert len({e.trace.played[0].output.value for e in group}) == 1
        assert len({e.question.id for e in group}) == 1
    assert any(len({tuple(p.output.value for p in e.trace.played) for e in group}) > 1 for group in complete)


def test_reset_restarts_or_continues_the_order(small: Scenario) -> None:
    pool = jade_env.make_pool(small, n=4, seed=5)
    first = [t.id[0] for t in pool.turns()]
    assert first == [0, 1, 2, 3]
    assert [t.id[0] for t in pool.reset()] == [4, 5, 6, 7]
    assert [t.id[0] for t in pool.reset(5)] == first


def test_a_deep_copy_of_a_pool_branches_all_of_its_games(small: Scenario) -> None:
    def played(pool: Pool, seed: int) -> list[tuple[object, ...]]:
        rng, found = np.random.default_rng(seed), []
        for _ in range(40):
            turns = pool.turns()
            done = pool.step({turn.id: 1 + int(rng.integers(len(turn.candidates))) for turn in turns})
            found += [(e.index, e.question.id, e.answer, e.ledger.turns, e.result and e.result.value) for e in done]
        return found

    pool = jade_env.make_pool(small, n=6, group_size=(1, 3), seed=0)
    for _ in range(3):
        played(pool, 7)
        one, other, third = copy.deepcopy(pool), copy.deepcopy(pool), copy.deepcopy([pool, pool])
        assert third[0] is third[1] and one.questions is pool.questions
        assert played(one, 1) == played(other, 1) != played(third[0], 2)
        assert played(copy.deepcopy(pool), 1) == played(copy.deepcopy(pool), 1)
    assert played(copy.deepcopy(pool), 1) == played(pool, 1)


def test_actions_for_turns_that_are_not_open_change_nothing(small: Scenario) -> None:
    pool = jade_env.make_pool(small, n=2, seed=0)
    turn = pool.turns()[0]
    with pytest.raises(JadeError, match="is not open"):
        pool.step({turn.id: 1, (99, (), 0): 1})
    with pytest.raises(JadeError, match="at least one"):
        pool.step({})
    with pytest.raises(JadeError, match="an action is text or a candidate's number"):
        pool.step({turn.id: [1]})  # type: ignore[dict-item]
    for wrong in ({99999: 1}, {(): 1}):
        with pytest.raises(JadeError, match="is not open"):
            pool.step(wrong)  # type: ignore[arg-type]
    with pytest.raises(JadeError, match="step takes actions by turn id, .* not a list"):
        pool.step([1])  # type: ignore[arg-type]
    with pytest.raises(JadeError, match="a candidate's number, not 1.5"):
        pool.step({turn.id: 1.5})  # type: ignore[dict-item]
    assert [t.id for t in pool.turns()] == [(0, (), 0), (1, (), 0)]
    assert not pool.episodes[0].trace.played


def test_a_retriever_that_is_down_truncates_without_a_score(small: Scenario) -> None:
    class Down:
        identity = "down"

        def search(self, queries: Sequence[str], top_k: int) -> list[list[object]]:
            raise RetrievalError("the retriever does not answer")

    pool = jade_env.make_pool(small, n=2, seed=0)
    pool._table.retriever = Down()  # type: ignore[assignment]
    done: list[Episode] = []
    while len(done) < 4:
        done += pool.step({t.id: "<workflow>R,AG</workflow>" for t in pool.turns()})
    assert all(e.truncated == "the retriever does not answer" and e.result is None for e in done)
    env = jade_env.parallel_env(small)
    env._match.table.retriever = Down()  # type: ignore[assignment]
    env.reset(seed=0)
    _, rewards, terminations, truncations, infos = env.step({"planner": 3})
    assert all(truncations.values()) and not any(terminations.values())
    assert set(rewards.values()) == {0.0} and infos["planner"]["failed"] == 1.0


def test_a_retriever_that_is_down_before_anybody_has_a_turn_is_an_error_and_not_a_hang() -> None:
    scenario = load_scenario("cooperative", {**SMALL, "workflows": [["R", "AG"]]})
    pool = jade_env.make_pool(scenario, n=3, seed=0)

    class Down:
        identity = "down"

        def search(self, queries: Sequence[str], top_k: int) -> list[list[object]]:
            raise RetrievalError("the retriever does not answer")

    pool._table.retriever = Down()  # type: ignore[assignment]
    with pytest.raises(RetrievalError, match="no episode can begin: the retriever does not answer"):
        pool.step({t.id: "<answer>x</answer>" for t in pool.turns()})


@pytest.mark.parametrize(
    ("arguments", "message"), [({"n": 0}, "n >= 1"), ({"n": 2, "group_size": (0, 2)}, "group_size")]
)
def test_impossible_pools_are_refused(arguments: dict[str, object], message: str, small: Scenario) -> None:
    with pytest.raises(ConfigError, match=message):
        jade_env.make_pool(small, **arguments)  # type: ignore[arg-type]


def test_splits_and_questions_are_found_or_named(small: Scenario) -> None:
    env = jade_env.parallel_env(small)
    env.reset(seed=0, options={"split": "dev"})
    wanted = env._match.table.questions[7]
    env.reset(options={"question_id": wanted.id})
    assert env._match.episode.question == wanted
    with pytest.raises(DataError, match="has no question 'nope'"):
        env.reset(options={"question_id": "nope"})
    with pytest.raises(DataError, match="is not a name"):
        env.reset(options={"split": "../etc"})
    with pytest.warns(UserWarning, match="option 'colour' is not one of question_id, split"):
        env.reset(options={"colour": 1})


def test_the_next_worlds_have_other_facts(small: Scenario) -> None:
    train, dev = jade_env.make_pool(small, n=1), jade_env.make_pool(small, n=1, split="dev")
    texts = {d.text for d in train.source.documents("train")}
    assert not texts & {d.text for d in dev.source.documents("dev")}


@pytest.mark.parametrize("limit", ["limits.max_depth=0", "limits.max_rounds=1"])
def test_executions_do_not_wait_for_a_plan_that_nobody_is_asked_for(limit: str) -> None:
    key, value = limit.split("=")
    overrides = {**SMALL, "workflows": [["R", "AG"], ["QDS"]], key: int(value)}
    pool = jade_env.make_pool("cooperative", 4, (1, 2), overrides=overrides)
    assert "planner" not in pool.agents
    done: list[Episode] = []
    for _ in range(4):
        done += pool.step({turn.id: 1 for turn in pool.turns()})
    assert len(done) >= 12


def test_a_folder_s_data_is_read_again_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(WorldSpec(seed=1, passages=200), "train", 1)
    question = world.questions[0]
    for place in ("one", "other"):
        (tmp_path / place / "mine").mkdir(parents=True)
        write_corpus(tmp_path / place / "mine" / "corpus.jsonl", world.documents)
        write_questions(tmp_path / place / "mine" / "train.jsonl", [replace(question, text=f"What of {place}?")])
    scenario = load_scenario("hotpotqa", {"data.folder": "mine"})
    asked = []
    for place in ("one", "other"):
        monkeypatch.chdir(tmp_path / place)
        asked += [jade_env.make_pool(scenario, 1).questions[0].text]
    write_questions(tmp_path / "other" / "mine" / "train.jsonl", [replace(question, text="What now, then?")])
    asked += [jade_env.make_pool(scenario, 1).questions[0].text]
    assert asked == ["What of one?", "What of other?", "What now, then?"]
    with pytest.raises(DataError, match="no folder mine in the data location nowhere"):
        jade_env.make_pool(scenario, 1, data="nowhere")


@pytest.mark.parametrize("seed", [-1, 1.5, None, True])
def test_a_seed_that_is_none_is_refused(seed: Any, small: Scenario) -> None:
    with pytest.raises(ConfigError, match="seed: .* is not a whole number"):
        jade_env.env(small, seed=seed)


@pytest.mark.parametrize(("name", "group", "right", "wrong"), [("duel", 1, 4, 3), ("cooperative", (3, 2), 4, 5)])
def test_a_pool_goes_on_only_from_where_a_game_begins(name: str, group: Any, right: int, wrong: int) -> None:
    pool = jade_env.make_pool(name, n=4, group_size=group, overrides=SMALL)
    before = [turn.id for turn in pool.turns()]
    for place in (wrong, -2, 1.5, "x", None, True):
        with pytest.raises(JadeError, match=r"^seek: .* is not a whole number from 0 on at which a game begins"):
            pool.seek(place)  # type: ignore[arg-type]
    assert [turn.id for turn in pool.turns()] == before, "nothing was lost"
    assert next(turn.id[0] for turn in pool.seek(right)) == right and pool.turns()


def test_what_a_step_costs_does_not_grow_with_the_slots() -> None:
    """Counted, not timed: how often a step of one turn looks at the plans of other slots."""
    pool = jade_env.make_pool("cooperative", n=200, group_size=(2, 4), overrides=SMALL)
    looked = 0

    def counting(episode: Episode) -> int:
        nonlocal looked
        looked += 1
        return episode.place[1]

    pool._plan = counting  # type: ignore[method-assign]
    for turn in pool.turns()[:20]:
        pool.step({turn.id: 1})
    assert 0 < looked < 20 * 20
