"""What a step's figures say of roles, and when they say that something collapses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import jade_env
from jade_env.envs.turn import TurnId
from jade_env.game.episode import Episode
from jade_env.learning.experience import Experience
from jade_env.learning.health import critic_figures, episode_figures, planned, role_figures, warnings
from jade_env.learning.rollout import Rollout
from jade_env.learning.shares import Share, part_of
from jade_env.policy import make_policy
from jade_env.policy.sampling import Sample


def test_entropy_is_that_of_all_that_was_sampled_even_if_nothing_of_it_teaches() -> None:
    pool = jade_env.make_pool("small_world", n=2, mode="text", overrides={"data.passages": 200, "data.train": 20})
    said = {"workflow": "<workflow>AG</workflow>", "answer": "<answer>nobody</answer>"}
    samples: dict[TurnId, Sample] = {}
    done: list[Episode] = []
    while len(done) < 2:
        turns = [turn for turn in pool.turns() if turn.episode < 2]
        for turn in turns:
            surprise = np.full(1 + turn.episode, -0.5 if turn.kind == "workflow" else 0.0, np.float32)
            samples[turn.id] = Sample((1,), (2,) * len(surprise), surprise, text=said[turn.kind])
        done += pool.step({turn.id: said[turn.kind] for turn in turns})
    figures = role_figures(Rollout(done, samples), {"roles": {}})
    assert figures["planner"]["entropy"] == pytest.approx(0.5)
    assert figures["answer_generator"] == {
        "turns": 2.0, "malformed": 0.0, "penalty": 0.0, "length": 1.5, "cut": 0.0, "entropy": 0.0
    }  # fmt: skip


def record(**roles: float) -> dict[str, Any]:
    """A step in which nothing is wrong but for the entropies given."""
    return {
        "roles": {role: {"malformed": 0.0, "entropy": entropy} for role, entropy in roles.items()},
        "played": {"workflows": {"AG": 0.5, "R,AG": 0.5}},
    }


def test_a_planner_without_entropy_is_warned_of_if_it_learns() -> None:
    collapsed = record(planner=0.001, sub_planner=0.002, answer_generator=0.0)
    said = warnings(collapsed, ["planner", "answer_generator"])
    assert [sentence.split(":")[0] for sentence in said] == ["planner", "sub_planner"]
    assert not warnings(collapsed, ["answer_generator"])
    assert not warnings(record(planner=0.2), ["planner"])
    (blue,) = warnings(record(red_planner=0.2, blue_planner=0.0), ["red_planner", "blue_planner"])
    assert blue.startswith("blue_planner")
    below = record(red_sub_planner=0.0, blue_sub_planner=0.0, blue_planner=0.2, red_planner=0.2)
    (red,) = warnings(below, ["red_planner", "red_answer_generator"])
    assert red.startswith("red_sub_planner")


def test_one_workflow_is_a_collapse_only_of_a_planner_that_learns_and_may_choose() -> None:
    always, shares = record(planner=0.2), {"planner": {"QDP": 1.0}}
    (said,) = warnings(always, ["planner"], shares=shares)
    assert said.startswith("planner: 100% of the questions are planned as QDP")
    assert not warnings(always, ["answer_generator"], shares={})  # a fixed plan
    assert not warnings(always, ["planner"], workflows=1, shares=shares)
    assert not warnings(always, ["planner"], plans=4, shares=shares)  # so few are alike by chance


def test_the_planners_of_two_sides_are_judged_apart_and_only_those_who_learn() -> None:
    pool = jade_env.make_pool("duel", n=8, seed=0, mode="text", overrides={"data.passages": 300, "data.train": 60})
    policy, done = make_policy("random", "duel"), list[Episode]()
    while len(done) < 40:
        turns = pool.turns()
        drawn = zip(turns, policy.act(turns), strict=True)
        done += pool.step(
            {t.id: "<workflow>AG</workflow>" if t.agent == "red_planner" and not t.node.path else a for t, a in drawn}
        )
    found = planned(done, ["red_planner", "blue_planner", "red_answer_generator"])
    assert found["red_planner"] == {"AG": 1.0} and len(found["blue_planner"]) > 3
    assert set(planned(done, ["blue_planner"])) == {"blue_planner"} and not planned(done, ["red_answer_generator"])
    (said,) = warnings(record(red_planner=0.2, blue_planner=0.2), ["red_planner", "blue_planner"], shares=found)
    assert said.startswith("red_planner: 100%")


@pytest.mark.parametrize("name", ["cooperative", "duel", "adversarial_retrieval"])
def test_penalties_are_told_also_where_they_are_in_the_score(name: str) -> None:
    pool = jade_env.make_pool(name, n=8, seed=0, overrides={"data.passages": 300, "data.train": 60})
    done = list[Episode]()
    while len(done) < 16:
        done += pool.step({turn.id: 0 if turn.agent != "adversary" else 1 for turn in pool.turns()})
    broken = np.mean([episode.ledger.malformed for episode in done])
    assert episode_figures(done)["penalty"] == -broken < 0


def test_a_retriever_that_fails_is_named_and_not_the_planner_that_is_left_with_one_workflow() -> None:
    collapsed = record(planner=0.2)
    collapsed["played"] = {"workflows": {"AG": 1.0}, "failed": 0.4}
    (said,) = warnings(collapsed, ["planner"])
    assert "40% of its episodes were cut short, as the retriever failed" in said


def test_a_role_whose_outputs_are_mostly_malformed_is_warned_of_whether_it_learns_or_not() -> None:
    broken = record(planner=0.2, answer_generator=0.3)
    broken["roles"]["answer_generator"]["malformed"] = 0.5
    assert not warnings(broken, ["planner"])
    broken["roles"]["answer_generator"]["malformed"] = 0.51
    (said,) = warnings(broken, ["planner"], began=record(answer_generator=0.3)["roles"])
    assert said == "answer_generator: 51% of its outputs are malformed: raise kl or lower learning_rate"
    for began in (None, broken["roles"], {}):
        (said,) = warnings(broken, ["planner"], began=began)
        assert "as they were when training began" in said


def test_the_figures_of_a_step_are_means_over_its_episodes() -> None:
    pool = jade_env.make_pool("small_world", n=4, mode="text", overrides={"data.passages": 200, "data.train": 20})
    plans = ["AG", "R,AG", "R,DS,AG", "R,DS,AG"]
    texts = {"answer": "<answer>nobody</answer>", "document_ids": "no ids at all"}
    done: list[Episode] = []
    while len(done) < 4:
        turns = [turn for turn in pool.turns() if turn.episode < 4]
        says = {t.id: texts.get(t.kind, f"<workflow>{plans[t.episode]}</workflow>") for t in turns}
        done += [episode for episode in pool.step(says) if episode.index < 4]
    found = episode_figures(done)
    assert found["ds_use"] == pytest.approx(2 / 3)  # of the rounds that retrieved
    assert found["workflows"] == {"AG": 0.25, "R,AG": 0.25, "R,DS,AG": 0.5} and found["sub_workflows"] == {}
    assert (found["rounds"], found["retrievals"], found["turns"], found["malformed"]) == (1.0, 0.75, 2.5, 0.2)
    assert found["penalty"] == pytest.approx(2 * done[0].rules.reward.format_penalty / 4)
    assert found["net"] == pytest.approx(found["outcome"] - found["cost"]) and found["cost"] > 0


def test_what_a_critic_explains_is_told_beside_what_a_table_does() -> None:
    pool = jade_env.make_pool("small_world", n=6, mode="text", overrides={"data.passages": 200, "data.train": 20})
    experience, samples, done = Experience(), dict[TurnId, Sample](), list[Episode]()
    while len(done) < 6:
        turns = [turn for turn in pool.turns() if turn.episode < 6]
        says = {t.id: "<workflow>AG</workflow>" if t.kind == "workflow" else "<answer>no</answer>" for t in turns}
        samples |= {t.id: Sample((1,), (2,), np.zeros(1, np.float32), text=says[t.id]) for t in turns}
        done += [episode for episode in pool.step(says) if episode.index < 6]
    experience.add(done, samples=samples)
    returns = np.arange(len(experience)) / 7.0

    def told(value: Any, part: str = "") -> float:
        rows = zip(experience, returns, value, strict=True)
        found = [
            Share(i, row.sample, row.role, part_of(row), np.zeros(1, np.float32), r, v, 1.0, 0.0, 0.0)
            for i, (row, r, v) in enumerate(rows)
            if row.sample
        ]
        figures = critic_figures(experience, found, {})
        assert np.isfinite(figures["table_explained_variance"])
        return figures[f"{part}explained_variance"]

    assert told(returns) == 1.0 and told(np.zeros(len(returns))) == 0.0
    planners = np.array([row.kind == "workflow" for row in experience])
    assert (
        told(np.where(planners, returns, 0.0), "planner/") == 1.0 == 1.0 - told(returns * planners, "answer_generator/")
    )
    assert told(returns / 2) == pytest.approx(0.75)
