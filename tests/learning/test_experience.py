"""Every turn of every role becomes one transition, and an episode's rewards add up to its return."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import jade_env
from jade_env import streams
from jade_env.errors import DataError, JadeError
from jade_env.game.episode import Episode
from jade_env.learning import credit
from jade_env.learning.experience import Experience, transitions
from jade_env.policy.random_policy import RandomPolicy
from jade_env.policy.sampling import Sample

SMALL = {"data.passages": 300, "data.train": 60}


def episodes(count: int, malformed: int = 9) -> list[Episode]:
    pool = jade_env.make_pool("cooperative", n=6, seed=1, overrides=SMALL)
    done: list[Episode] = []
    while len(done) < count:
        actions: dict[object, int] = {}
        for turn in pool.turns():
            draw = streams.bits(turn.id)
            actions[turn.id] = 0 if draw % malformed == 0 else 1 + draw % len(turn.candidates)
        done += pool.step(actions)  # type: ignore[arg-type]
    return done


def test_rewards_are_penalties_and_r_global_once() -> None:
    experience = Experience()
    played = episodes(40)
    experience.add(played)
    returns = experience.returns()
    assert len(experience) == sum(e.ledger.turns for e in played)
    for episode in played:
        assert episode.result is not None
        assert returns[episode.index] == pytest.approx(episode.result.value - episode.ledger.malformed)
    assert sum(row.last for row in experience) == 40


def test_rows_stand_in_order_of_episode_and_carry_their_address() -> None:
    experience = Experience()
    played = episodes(40)
    experience.add(played, policy_version=3)
    rows = list(experience)
    assert [r.episode for r in rows] == sorted(r.episode for r in rows)
    assert {r.policy_version for r in rows} == {3} and {r.team for r in rows} == {"team"}
    assert len({(r.episode, r.path, r.step) for r in rows}) == len(rows)
    table = experience.table()
    asked = {episode.index: episode.question.id for episode in played}
    assert all(row["question_id"] == asked[row["episode"]] for row in table)
    assert all(
        row["text"] == f"<workflow>{','.join(row['value'])}</workflow>" for row in table if row["kind"] == "workflow"
    )
    assert all((r.round == 0) == (r.path == ()) for r in rows)


def test_a_role_keeps_its_name_where_that_begins_as_a_side_is_called() -> None:
    row = next(iter(transitions(episodes(1)[0])))
    assert replace(row, agent="team_reader").role == "team_reader"
    assert replace(row, team="red", agent="red_team_reader").role == "team_reader"


def test_a_truncated_episode_leaves_no_experience() -> None:
    episode = episodes(1)[0]
    episode.result, episode.payoffs = None, {}
    experience = Experience()
    experience.add([episode])
    assert len(experience) == 0


def test_episodes_know_which_of_them_are_of_one_question() -> None:
    pool, done = jade_env.make_pool("cooperative", 16, 4, seed=1, overrides=SMALL), list[Episode]()
    while len(done) < 80:
        done += pool.step({turn.id: 1 + streams.bits(turn.id) % len(turn.candidates) for turn in pool.turns()})
    experience = Experience()
    experience.add(done)
    assert all(row.question == row.episode // 4 and row.plan == row.episode for row in experience)
    assert len({row.question_id for row in experience if row.question == 2}) == 1
    assert repr(done[0]).startswith(f"Episode({done[0].index}, question='train_") and len(repr(done[0])) < 99


def test_a_plan_keeps_its_tokens_where_the_execution_that_had_them_is_cut_short() -> None:
    pool = jade_env.make_pool("cooperative", 6, (1, 3), seed=1, overrides=SMALL)
    played: list[Episode] = []
    sample = Sample((1, 2), (3,), np.zeros(1, np.float32))
    samples = {turn.id: sample for turn in pool.turns()}
    assert [number for number, _, _ in samples] == [0, 3]
    while len(played) < 6:
        played += pool.step({turn.id: 1 for turn in pool.turns()})
    leader = min(played, key=lambda episode: episode.index)
    leader.result, leader.payoffs = None, {}
    experience = Experience()
    experience.add([e for e in played if e.index < 6], samples=samples)
    plans = [row for row in experience if row.planning_root]
    assert [(row.episode, row.plan, row.sample) for row in plans] == [
        (1, 0, sample), (2, 0, None), (3, 1, sample), (4, 1, None), (5, 1, None),
    ]  # fmt: skip


def test_any_text_is_saved_and_read_back(tmp_path: Path) -> None:
    hostile = "caf\u2028\u2029\x85\n\r\x0b \ud800 \U0001f600"
    pool = jade_env.make_pool("cooperative", 2, mode="text", overrides={"data.passages": 200, "data.train": 20})
    played: list[Episode] = []
    while len(played) < 2:
        played += pool.step({turn.id: f"<answer>{hostile}</answer>" for turn in pool.turns()})
    experience = Experience()
    experience.add(played)
    experience.save(tmp_path / "any.jsonl")
    again = Experience.load(tmp_path / "any.jsonl")
    assert list(again) == list(experience) and len(again)
    Experience().save(tmp_path / "none.jsonl")
    assert len(Experience.load(tmp_path / "none.jsonl")) == 0


def test_two_files_put_together_and_damaged_rows_are_refused(tmp_path: Path) -> None:
    experience = Experience()
    experience.add(episodes(4))
    experience.save(tmp_path / "a")
    rows = (tmp_path / "a").read_text().splitlines()
    (tmp_path / "b").write_text("\n".join(rows + rows) + "\n")
    with pytest.raises(DataError, match=r"b: experience: an episode \d+ comes twice"):
        Experience.load(tmp_path / "b")
    first = [row for row in experience if row.episode == experience[0].episode]
    other = [replace(row, path=(*row.path, 7), question_id="another") for row in first]
    for twice in ([*experience, *first], [*first, *other]):
        with pytest.raises(JadeError, match=r"an episode \d+ comes twice"):
            Experience(twice)
    for name, wrong in {"reward": "abc", "episode": "x", "agent": 5, "valid": "no", "step": None, "path": "ab"}.items():
        (tmp_path / "c").write_text("\n".join([rows[0], json.dumps({**json.loads(rows[1]), name: wrong})]))
        with pytest.raises(DataError, match=f"c:2: not a transition: {name} is "):
            Experience.load(tmp_path / "c")


def test_games_of_two_orders_are_not_taken_for_one_another() -> None:
    experience, played = Experience(), episodes(5)
    experience.add(played)
    size = len(experience)
    with pytest.raises(JadeError, match=r"an episode \d+ is held already, or comes twice: keep that of other pools"):
        experience.add(episodes(5))
    with pytest.raises(JadeError, match="comes twice"):
        Experience().add([*played, played[0]])
    assert len(experience) == size
    experience.clear()
    experience.add(played)
    assert len(experience) == size


@pytest.mark.parametrize("name", ["path", "value", "sample"])
def test_what_is_no_number_is_no_column(name: str) -> None:
    experience = Experience()
    experience.add(episodes(3))
    with pytest.raises(JadeError, match=f"{name} is no number: read it from the transitions"):
        experience.column(name)


@pytest.mark.parametrize("name", ["adversarial_retrieval", "private_costs", "duel"])
def test_who_receives_different_things_is_compared_apart(name: str) -> None:
    pool = jade_env.make_pool(name, n=8, group_size=4, seed=1, overrides=SMALL)
    policy, done = RandomPolicy(0), list[Episode]()
    while len(done) < 80:
        turns = pool.turns()
        done += pool.step(dict(zip([turn.id for turn in turns], policy.act(turns), strict=True)))
    experience = Experience()
    experience.add(done)
    plain = [experience.column(column) for column in ("outcome", "penalty", "episode", "question")]
    if name != "duel":  # whose sides are episodes of their own
        with pytest.raises(ValueError, match=r"different outcomes: .* by_team \(Experience.by_team\)"):
            credit.leave_one_out(*plain)
    apart = credit.leave_one_out(*plain[:2], experience.by_team("episode"), experience.by_team("question"))
    for team in {row.team for row in experience}:
        own = {row.episode: row for row in experience if row.team == team}
        for place, row in enumerate(experience):
            if row.team == team:
                others = [r.outcome for r in own.values() if r.question == row.question and r.episode != row.episode]
                expected = row.outcome - float(np.mean(others)) if others else 0.0
                assert apart[place] - row.penalty == pytest.approx(expected)
    returns = experience.returns()
    if name == "adversarial_retrieval":
        team = {row.episode: row.outcome for row in experience if row.team == "team"}
        assert returns == pytest.approx(team), "format penalties are in the score of zero-sum games"
