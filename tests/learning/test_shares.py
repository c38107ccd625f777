"""From experience to what PPO learns from: shared plans count once, coefficients go to whom they belong, files keep every bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jade_env.envs.pool import Pool
from jade_env.errors import DataError
from jade_env.game.episode import Episode
from jade_env.language_recipe import KlSettings, PpoRecipe
from jade_env.learning.experience import Experience, Transition
from jade_env.learning.learner import _row as row_of
from jade_env.learning.ppo import Row, Settings, log_probs, update
from jade_env.learning.shares import Share, alike, kl_now, knob, shares
from jade_env.policy.backbone import load_backbone
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
    found.add(done.values(), 7, samples, (PLANS, EXECUTIONS))
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


def share_of(
    sample: Sample, advantage: float, weight: float = 1.0, part: str = "answer_generator", **other: Any
) -> Share:
    own = np.full(len(sample.output), advantage, np.float32)
    same = {"role": part, "return_": 0.0, "value": 0.0, "entropy": 0.0, "kl": 0.0}
    return Share(place=0, sample=sample, part=part, advantage=own, weight=weight, **{**same, **other})


def test_turns_alike_count_as_one_with_the_mean_of_their_advantages() -> None:
    one, other = Sample((1, 2), (3, 4)), Sample((1, 2), (3, 5))
    found = alike(
        [
            share_of(one, 1.0),
            share_of(other, -1.0),
            share_of(one, -0.25, weight=3.0),
            share_of(one, 9.0, part="rewriter"),
        ]
    )
    assert [(share.sample, share.part, share.weight) for share in found] == [
        (one, "answer_generator", 4.0),
        (other, "answer_generator", 1.0),
        (one, "rewriter", 1.0),
    ]
    assert [share.advantage.tolist() for share in found] == [[0.0625] * 2, [-1.0] * 2, [9.0] * 2]


def test_turns_alike_have_the_gradient_of_all_of_them(folders: dict[str, Path]) -> None:
    backbone = load_backbone(folders["llama"], device="cpu")
    texts = ((5, 6, 7), (8, 9)), ((5, 6, 7), (8, 10, 11)), ((4, 6), (12,))
    samples = [Sample(prompt, output, np.zeros(len(output), np.float32)) for prompt, output in texts]
    rows = [Row(sample, "", np.zeros(len(sample.output), np.float32)) for sample in samples]
    said = [replace(s, logprobs=own) for s, own in zip(samples, log_probs(backbone, rows), strict=True)]
    found = [share_of(said[i], a, w) for i, a, w in ((0, 1.0, 1.0), (1, -0.5, 1.0), (0, -0.25, 2.0), (2, 0.75, 1.0))]
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    steps = []
    for given in (found, alike(found)):
        backbone.load_state_dict(before)
        optimizer = torch.optim.SGD(backbone.parameters(), lr=1.0)
        how = Settings(minibatches=1, max_grad_norm=1e9)
        update(backbone, None, optimizer, [row_of(share, backbone) for share in given], how, np.random.default_rng(0))
        steps.append({name: before[name] - p.detach() for name, p in backbone.named_parameters()})
    assert len(alike(found)) == 3
    assert all(torch.allclose(steps[0][name], steps[1][name], atol=2e-6) for name in before)
    assert max(float(step.abs().max()) for step in steps[0].values()) > 1e-3


def test_what_three_executions_did_alike_teaches_nothing_in_spite_of_rounding() -> None:
    outcome = np.array([0.7, 0.1, 0.3])
    against_siblings = outcome - (outcome.sum() - outcome) / 2
    (share,) = alike([share_of(Sample((1,), (2, 3)), float(own)) for own in against_siblings])
    assert not share.teaches and share.weight == 3.0


def test_turns_of_other_distributions_coefficients_or_adapters_are_not_alike() -> None:
    plain = Sample((1,), (2,))
    kinds = [plain, Sample((1,), (2,), temperature=1.3), Sample((1,), (2,), allowed=((2, 3),))]
    assert len(alike([share_of(sample, 1.0) for sample in (*kinds, plain)])) == 3
    others = [share_of(plain, 1.0, kl=0.3), share_of(plain, 1.0, entropy=0.1), share_of(plain, 1.0, role="rewriter")]
    assert len(alike([share_of(plain, 1.0), *others])) == 4


def test_a_turn_that_a_frozen_side_played_lends_nothing_to_one_like_it() -> None:
    frozen = Sample((1,), (2,), np.array([-5.0], np.float32))
    own = Sample((1,), (2,), np.array([-0.1], np.float32))
    (share,) = alike([share_of(frozen, 1.0, weight=0.0), share_of(own, 0.5)])
    assert share.sample is own and share.weight == 1.0 and share.advantage.tolist() == [0.5]


def test_broadcast_gives_every_turn_the_outcome_and_a_number_a_token(experience: Experience) -> None:
    plan = recipe(credit="broadcast", critic="head", gae_lambda=1.0)
    sampled = [row for row in experience if row.sample is not None]
    found = shares(experience, plan, ["planner"], 0.0, [np.array([0.5, 0.25], np.float32)] * len(sampled))
    for share in found:
        row = experience[share.place]
        reward = row.outcome + row.penalty
        assert share.advantage == pytest.approx([reward - 0.5, reward - 0.25], abs=1e-6)


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
    assert knob(table, Transition(0, team, agent, 0, 0, path, None, True, 0.0, False, 1, kind=kind)) == expected


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
