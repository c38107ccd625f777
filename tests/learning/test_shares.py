"""From experience to what PPO learns from: shared plans count once, coefficients go to whom they belong, files keep every bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from jade_env.envs.pool import Pool
from jade_env.errors import DataError
from jade_env.game.episode import Episode
from jade_env.language_recipe import KlSettings, PpoRecipe
from jade_env.learning.experience import Experience, Transition
from jade_env.learning.shares import kl_now, knob, part_of, shares
from jade_env.policy.sampling import Sample
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario

PLANS, EXECUTIONS, QUESTIONS = 2, 3, 2


@pytest.fixture(scope="module")
def experience() -> Experience:
    """Two questions, two plans each, three executions of each plan; the answers tell the executions apart."""
    game = load_scenario("small_world", {"data.passages": 200, "data.train": 20})
    count = QUESTIONS * PLANS * EXECUTIONS
    pool = Pool(game, count, (PLANS, EXECUTIONS), seed=1)
    done: dict[int, Episode] = {}
    samples = {}
    while len(done) < count:
        actions = {}
        for turn in [turn for turn in pool.turns() if turn.episode < count]:
            plan = turn.episode // EXECUTIONS
            said = {"workflow": f"<workflow>{'R,AG' if plan % 2 else 'AG'}</workflow>"}
            gold = turn.game.question.golden_answers[0] if turn.episode % 3 == 0 else f"nothing {turn.episode}"
            text = said.get(turn.kind, f"<answer>{gold}</answer>" if turn.episode % 3 != 1 else gold)
            actions[turn.id] = text
            samples[turn.id] = Sample(
                (1, 2, turn.episode),
                (3, 4),
                np.array([-0.1, -1 / 3], np.float32),
                value=0.25,
                text=text,
                temperature=1.3 if turn.kind == "workflow" else 1.0,
            )
        done |= {episode.index: episode for episode in pool.step(actions)}
    found = Experience()
    found.add(done.values(), 7, samples)
    return found


def recipe(**changes: object) -> PpoRecipe:
    found = load_recipe("jade_joint", {"plans": PLANS, "executions": EXECUTIONS, "normalize": "none", **changes})
    assert isinstance(found, PpoRecipe)
    return found


def test_a_shared_plan_is_in_every_episode_and_has_its_tokens_once(experience: Experience) -> None:
    roots = [row for row in experience if row.planning_root]
    assert len(roots) == QUESTIONS * PLANS * EXECUTIONS
    assert sum(row.sample is not None for row in roots) == QUESTIONS * PLANS
    assert {row.plan for row in experience} == set(range(QUESTIONS * PLANS))
    assert {row.question for row in experience} == set(range(QUESTIONS))


def test_tied_groups_compare_plans_with_plans_and_answers_with_siblings(experience: Experience) -> None:
    found = shares(experience, recipe(), ["planner", "answer_generator"], 0.0)
    outcome = {row.episode: row.outcome for row in experience}
    plan_mean = {p: np.mean([outcome[p * EXECUTIONS + e] for e in range(EXECUTIONS)]) for p in range(QUESTIONS * PLANS)}
    for share in found:
        row = experience[share.place]
        if row.planning_root:
            other = row.plan + 1 if row.plan % 2 == 0 else row.plan - 1
            wanted = plan_mean[row.plan] - plan_mean[other]
        else:
            siblings = [outcome[e] for e in range(row.plan * 3, row.plan * 3 + 3) if e != row.episode]
            wanted = row.outcome - np.mean(siblings) + row.penalty
        assert share.advantage == pytest.approx([wanted] * 2, abs=1e-6)


@pytest.mark.parametrize("rule", ["group", "leave_one_out"])
def test_under_other_rules_a_shared_plan_gets_the_mean_of_its_executions(rule: str, experience: Experience) -> None:
    found = shares(experience, recipe(credit=rule), ["planner"], 0.0)
    executed: Mapping[int, list[float]] = {p: [] for p in range(QUESTIONS * PLANS)}
    for share in found:
        row = experience[share.place]
        if not row.planning_root:
            executed[row.plan].append(float(share.advantage[0]) - row.penalty)
    for share in found:
        row = experience[share.place]
        if row.planning_root:
            assert share.advantage[0] == pytest.approx(np.mean(executed[row.plan]), abs=1e-6)


def test_agents_that_do_not_learn_stay_in_the_sequence_with_weight_zero(experience: Experience) -> None:
    plan = recipe(
        loss_weights={"default": 0.5, "planner": 2.0}, entropy={"planner": 0.1}, kl={"planner": {"start": 1.0}}
    )
    found = shares(experience, plan, ["planner"], 0.0)
    assert len(found) == sum(row.sample is not None for row in experience)
    assert {(share.role, share.weight, share.entropy, share.kl) for share in found} == {
        ("planner", 2.0, 0.1, 1.0),
        ("answer_generator", 0.0, 0.0, 0.0),
    }


def test_advantages_with_a_baseline_of_their_own_are_scaled_in_each_part_and_zeros_stay(experience: Experience) -> None:
    plain = shares(experience, recipe(normalize="none"), ["planner", "answer_generator"], 0.0)
    found = shares(experience, recipe(normalize="per_part"), ["planner", "answer_generator"], 0.0)
    for agent in ("planner", "answer_generator"):
        values = np.array([float(share.advantage[0]) for share in found if share.role == agent])
        before = np.array([float(share.advantage[0]) for share in plain if share.role == agent])
        assert np.sqrt(np.mean(values**2)) == pytest.approx(1, abs=1e-3)
        assert np.array_equal(np.sign(values), np.sign(before))


def test_turns_whose_siblings_did_as_well_teach_nothing(experience: Experience) -> None:
    found = shares(experience, recipe(kl={"planner": {"start": 1.0}}), ["planner", "answer_generator"], 0.0)
    for share in found:
        assert share.teaches == (share.role == "planner" or bool(share.advantage.any()))
    assert not any(share.teaches for share in shares(experience, recipe(), [], 0.0))


def test_broadcast_gives_every_turn_the_outcome_and_a_number_a_token(experience: Experience) -> None:
    plan = recipe(credit="broadcast", critic="head", gae_lambda=1.0)
    sampled = [row for row in experience if row.sample is not None]
    found = shares(experience, plan, ["planner"], 0.0, [np.array([0.5, 0.25], np.float32)] * len(sampled))
    for share in found:
        row = experience[share.place]
        alike = [r for r in experience if r.planning_root and r.plan == row.plan] if row.planning_root else [row]
        reward = np.mean([r.outcome + r.penalty for r in alike])  # of a plan, over its executions
        assert share.advantage == pytest.approx([reward - 0.5, reward - 0.25], abs=1e-6)
        assert np.mean(share.return_) == pytest.approx(reward, abs=1e-6)


def test_the_kl_coefficient_falls_along_a_geometric_line_and_stays() -> None:
    settings = KlSettings(start=0.5, end=0.005, until=0.5)
    assert [kl_now(settings, at) for at in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.5, 0.05, 0.005, 0.005])
    assert kl_now(KlSettings(start=1.0, end=0.0, until=1.0), 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("agent", "team", "path", "expected"),
    [
        ("red_planner", "red", (), 1.0),  # by its own name, which stands before its role's
        ("red_answer_generator", "red", (), 2.0),  # by its team's
        ("blue_planner", "blue", (), 3.0),  # by its role's
        ("blue_planner", "blue", (0,), 4.0),  # for its plans of sub-questions
        ("blue_answer_generator", "blue", (), 5.0),  # by nothing
    ],
)
def test_a_coefficient_is_that_of_the_closest_name_an_agent_answers_to(
    agent: str, team: str, path: tuple[int, ...], expected: float
) -> None:
    table = {"red_planner": 1.0, "red": 2.0, "planner": 3.0, "sub_planner": 4.0, "default": 5.0}
    kind = "workflow" if agent.endswith("planner") else "answer"
    row = Transition(0, team, agent, 0, 0, path, None, True, 0.0, False, 1, kind=kind)
    assert knob(table, row) == expected
    assert part_of(row) == ("blue_sub_planner" if path else agent)
    assert knob({"red_sub_planner": 7.0, "blue_sub_planner": 8.0}, row, 9.0) == (8.0 if path else 9.0)


def test_experience_comes_back_from_a_file_as_it_was(experience: Experience, tmp_path: Path) -> None:
    experience.save(tmp_path / "experience.jsonl")
    again = Experience.load(tmp_path / "experience.jsonl")
    assert list(again) == list(experience)
    for one, other in zip(again, experience, strict=True):
        if other.sample is not None and one.sample is not None:
            assert one.sample.logprobs.dtype == np.float32
            assert (one.sample.logprobs == other.sample.logprobs).all()
    assert {(row.agent, row.sample.temperature) for row in again if row.sample} == {
        ("planner", 1.3),
        ("answer_generator", 1.0),
    }
    assert experience.table()[0]["agent"] == "planner"
    lines = (tmp_path / "experience.jsonl").read_text().splitlines()
    (tmp_path / "broken.jsonl").write_text("\n".join([lines[0], lines[1][:50]]))
    with pytest.raises(DataError, match=r"broken.jsonl:2: not a transition"):
        Experience.load(tmp_path / "broken.jsonl")
    old = json.loads(lines[0])
    del old["sample"]["temperature"]
    (tmp_path / "old.jsonl").write_text(json.dumps(old))
    with pytest.raises(DataError, match=r"old.jsonl:1: not a transition: 'temperature'"):
        Experience.load(tmp_path / "old.jsonl")
