"""Credit rules: numbers checked by hand on small trees of turns, slow definitions, and what must never change them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jade_env.learning import credit

# One question, two plans with two executions each. Plan 0 decomposes in parallel, plan 1 searches once.
#
#   plan 0 (episodes 0 and 1):  planner -> parallel_decomposer -> [planner -> answer_generator] x 2 -> summarizer
#   plan 1 (episodes 2 and 3):  planner -> answer_generator
#
# The first sub-question's answer of episode 1 broke its format.
TURNS = [7, 7, 2, 2]
EPISODE = np.repeat([0, 1, 2, 3], TURNS)
OUTCOME = np.repeat([1.0, 0.0, 0.5, 0.2], TURNS)
PLAN = np.repeat([0, 0, 1, 1], TURNS)
QUESTION = np.zeros(18, int)
STEP = np.concatenate([np.arange(n) for n in TURNS])
ROOT = STEP == 0
PENALTY = np.where((EPISODE == 1) & (STEP == 3), -1.0, 0.0)
LAST = np.append(np.diff(EPISODE) > 0, True)
REWARD = PENALTY + np.where(LAST, OUTCOME, 0.0)


def of(advantage: np.ndarray, episode: int) -> list[float]:
    return [float(a) for a in advantage[episode == EPISODE].round(6)]


def test_gae_passes_the_terminal_reward_back_through_all_branches_of_a_decomposition() -> None:
    advantage, returns = credit.episode_gae(REWARD, np.zeros(18), EPISODE, gamma=1.0, lam=1.0)
    assert of(advantage, 0) == [1.0] * 7
    assert of(advantage, 1) == [-1.0] * 4 + [0.0] * 3  # the penalty is seen by those who played before it
    assert of(advantage, 3) == [0.2, 0.2] and np.array_equal(advantage, returns)


def test_gae_with_a_critic_by_hand() -> None:
    advantage, returns = credit.episode_gae([0.0, -1.0, 1.0], [0.5, 0.25, 0.75], [4, 4, 4], gamma=0.5, lam=0.5)
    third = 1.0 - 0.75
    second = -1.0 + 0.5 * 0.75 - 0.25 + 0.25 * third
    first = 0.5 * 0.25 - 0.5 + 0.25 * second
    assert advantage == pytest.approx([first, second, third])
    assert returns == pytest.approx([first + 0.5, second + 0.25, third + 0.75])


def test_broadcast_gives_the_outcome_to_every_turn_and_no_turn_hears_of_another() -> None:
    lengths = np.where(STEP == 1, 3, 2)
    advantage, returns = credit.broadcast(OUTCOME, PENALTY, np.zeros(lengths.sum()), lengths)
    turn = np.repeat(np.arange(18), lengths)
    for t in range(18):
        assert set(advantage[turn == t]) == {OUTCOME[t] + PENALTY[t]}  # -1 for the malformed turn alone
    assert np.array_equal(advantage, returns)


def test_broadcast_runs_gae_over_the_tokens_of_a_turn() -> None:
    advantage, _ = credit.broadcast([1.0, 0.0], [0.0, -1.0], [0.1, 0.2, 0.3, 0.5, 0.5], [3, 2], gamma=1.0, lam=0.5)
    third, second_turn = 1.0 - 0.3, -1.0 - 0.5
    second = 0.3 - 0.2 + 0.5 * third
    assert advantage == pytest.approx([0.2 - 0.1 + 0.5 * second, second, third, 0.5 * second_turn, second_turn])


def test_group_counts_every_episode_once_and_divides_by_the_spread() -> None:
    advantage = credit.group(OUTCOME, PENALTY, EPISODE, QUESTION)
    mean, std = 1.7 / 4, np.std([1.0, 0.0, 0.5, 0.2])
    assert of(advantage, 0) == pytest.approx([(1.0 - mean) / std] * 7, abs=1e-5)
    assert of(advantage, 1)[3] == pytest.approx(-mean / std - 1.0, abs=1e-5)
    assert of(credit.group(OUTCOME, PENALTY, EPISODE, QUESTION, scale=False), 2) == pytest.approx([0.5 - mean] * 2)


def test_leave_one_out_compares_with_the_other_three_episodes() -> None:
    advantage = credit.leave_one_out(OUTCOME, PENALTY, EPISODE, QUESTION)
    assert of(advantage, 0) == pytest.approx([1.0 - 0.7 / 3] * 7, abs=1e-6)
    assert of(advantage, 1) == pytest.approx([-1.7 / 3] * 3 + [-1.7 / 3 - 1.0] + [-1.7 / 3] * 3, abs=1e-6)
    assert of(advantage, 3) == pytest.approx([0.2 - 0.5] * 2, abs=1e-6)


def test_tied_groups_compare_plans_with_plans_and_siblings_with_siblings() -> None:
    advantage = credit.tied_group(OUTCOME, PENALTY, EPISODE, QUESTION, PLAN, ROOT)
    assert of(advantage, 0) == pytest.approx([0.5 - 0.35] + [1.0] * 6)  # the planner of a sub-question executes
    assert of(advantage, 1) == pytest.approx([0.5 - 0.35] + [-1.0] * 2 + [-2.0] + [-1.0] * 3)
    assert of(advantage, 2) == pytest.approx([0.35 - 0.5, 0.3])
    assert of(advantage, 3) == pytest.approx([0.35 - 0.5, -0.3])


@pytest.mark.parametrize("value", [2 / 3, 0.1, 0.7])
def test_who_did_just_as_well_as_the_others_learns_nothing_not_even_by_rounding(value: float) -> None:
    outcome, none = np.full(12, value), np.zeros(12)
    episode, question, plan = np.arange(12), np.arange(12) // 6, np.arange(12) // 3
    root = np.arange(12) % 3 == 0
    assert not credit.tied_group(outcome, none, episode, question, plan, root).any()
    assert not credit.leave_one_out(outcome, none, episode, question).any()
    assert not credit.group(outcome, none, episode, question).any()


def test_the_rules_blame_different_turns_for_a_bad_plan() -> None:
    outcome = np.repeat([0.9, 0.9, 0.1, 0.1], TURNS)  # plan 1 is bad, and its executors did what could be done
    none = np.zeros(18)
    executor = int(np.flatnonzero((EPISODE == 2) & (STEP == 1))[0])
    assert credit.leave_one_out(outcome, none, EPISODE, QUESTION)[executor] == pytest.approx(0.1 - 1.9 / 3)
    assert credit.group(outcome, none, EPISODE, QUESTION)[executor] == pytest.approx(-1.0, abs=1e-4)
    tied = credit.tied_group(outcome, none, EPISODE, QUESTION, PLAN, ROOT)
    assert tied[executor] == pytest.approx(0.0) and tied[executor - 1] == pytest.approx(-0.8)


def test_nothing_to_compare_with_gives_only_the_penalty() -> None:
    one = [[0.7, 0.7], [0.0, -1.0], [3, 3], [8, 8]]
    for rule in (credit.group, credit.leave_one_out):
        assert rule(*one) == pytest.approx([0.0, -1.0])
    assert credit.tied_group(*one, [5, 5], [True, False]) == pytest.approx([0.0, -1.0])


def test_one_execution_a_plan_is_leave_one_out() -> None:
    tied = credit.tied_group(OUTCOME, PENALTY, EPISODE, QUESTION, EPISODE, ROOT)
    assert tied == pytest.approx(credit.leave_one_out(OUTCOME, PENALTY, EPISODE, QUESTION))


def test_one_plan_leaves_the_planner_without_a_signal() -> None:
    tied = credit.tied_group(OUTCOME, PENALTY, EPISODE, QUESTION, np.zeros(18, int), ROOT)
    assert tied[ROOT] == pytest.approx(np.zeros(4)) and tied[1] == pytest.approx(1.0 - 0.7 / 3)


def test_only_the_malformed_turn_is_punished_by_the_rules_without_a_critic() -> None:
    for rule, more in ((credit.group, ()), (credit.leave_one_out, ()), (credit.tied_group, (PLAN, ROOT))):
        with_penalty = rule(OUTCOME, PENALTY, EPISODE, QUESTION, *more)  # type: ignore[operator]
        without = rule(OUTCOME, 0 * PENALTY, EPISODE, QUESTION, *more)  # type: ignore[operator]
        assert with_penalty - without == pytest.approx(PENALTY)


# ---- definitions, slowly ---------------------------------------------------------------------------------------------


def slow_gae(reward: Any, value: Any, sequence: Any, gamma: float, lam: float) -> list[float]:
    """The sum of GAE's definition, (gamma lam)^l delta_{t+l} over the rest of the sequence, turn by turn."""
    out = []
    for t in range(len(reward)):
        rest = [i for i in range(t, len(reward)) if sequence[i] == sequence[t]]
        total = 0.0
        for place, i in enumerate(rest):
            following = value[rest[place + 1]] if place + 1 < len(rest) else 0.0
            total += (gamma * lam) ** place * (reward[i] + gamma * following - value[i])
        out.append(total)
    return out


numbers = st.floats(-3, 3, allow_nan=False)


@st.composite
def buffers(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Episodes of a few questions, plans and executions of any size, as columns of turns."""
    episode, outcome, question, plan, root = [], [], [], [], []
    for q in range(draw(st.integers(1, 3))):
        for p in range(draw(st.integers(1, 3))):
            for e in range(draw(st.integers(1, 3))):
                score = draw(numbers)
                for t in range(draw(st.integers(1, 4))):
                    episode.append(100 * q + 10 * p + e)
                    outcome.append(score)
                    question.append(q)
                    plan.append(10 * q + p)
                    root.append(t == 0)
    penalty = draw(st.lists(st.sampled_from([0.0, 0.0, -1.0]), min_size=len(episode), max_size=len(episode)))
    columns = {"outcome": outcome, "penalty": penalty, "episode": episode, "question": question, "plan": plan}
    return {**{name: np.array(column) for name, column in columns.items()}, "root": np.array(root)}


RULES = {
    "group": lambda b: credit.group(b["outcome"], b["penalty"], b["episode"], b["question"]),
    "leave_one_out": lambda b: credit.leave_one_out(b["outcome"], b["penalty"], b["episode"], b["question"]),
    "tied_group": lambda b: credit.tied_group(
        *(b[k] for k in ("outcome", "penalty", "episode", "question", "plan", "root"))
    ),
}


@given(st.data(), st.floats(0, 1), st.floats(0, 1))
def test_gae_is_its_definition_even_where_sequences_interleave(data: st.DataObject, gamma: float, lam: float) -> None:
    sequence = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=12))
    columns = st.lists(numbers, min_size=len(sequence), max_size=len(sequence))
    reward, value = data.draw(columns), data.draw(columns)
    advantage, returns = credit.episode_gae(reward, value, sequence, gamma=gamma, lam=lam)
    assert advantage == pytest.approx(slow_gae(reward, value, sequence, gamma, lam), abs=1e-9)
    assert returns == pytest.approx(advantage + np.array(value), abs=1e-9)


@given(buffers())
def test_baselines_are_their_definitions(b: dict[str, np.ndarray]) -> None:
    by_episode = dict(zip(b["episode"].tolist(), b["outcome"].tolist(), strict=True))
    question_of = dict(zip(b["episode"].tolist(), b["question"].tolist(), strict=True))
    plan_of = dict(zip(b["episode"].tolist(), b["plan"].tolist(), strict=True))
    loo, tied = RULES["leave_one_out"](b), RULES["tied_group"](b)
    for t, e in enumerate(b["episode"].tolist()):
        others = [by_episode[x] for x in by_episode if question_of[x] == question_of[e] and x != e]
        siblings = [by_episode[x] for x in by_episode if plan_of[x] == plan_of[e] and x != e]
        own = by_episode[e]
        by_loo = own - np.mean(others) if others else 0.0
        assert loo[t] == pytest.approx(by_loo + b["penalty"][t], abs=1e-9)
        if b["root"][t]:
            plans = {p for x, p in plan_of.items() if question_of[x] == question_of[e]}
            means = {p: np.mean([by_episode[x] for x in by_episode if plan_of[x] == p]) for p in plans}
            rest = [mean for p, mean in means.items() if p != plan_of[e]]
            expected = means[plan_of[e]] - np.mean(rest) if rest else 0.0
        else:
            expected = own - np.mean(siblings) if siblings else by_loo
        assert tied[t] == pytest.approx(expected + b["penalty"][t], abs=1e-9)


@given(buffers(), st.randoms(use_true_random=False))
def test_the_order_of_episodes_changes_nothing(b: dict[str, np.ndarray], random: Any) -> None:
    names = list(dict.fromkeys(b["episode"].tolist()))
    random.shuffle(names)
    order = np.concatenate([np.flatnonzero(b["episode"] == name) for name in names])
    moved = {name: column[order] for name, column in b.items()}
    for rule in RULES.values():
        assert rule(moved) == pytest.approx(rule(b)[order], abs=1e-5)
    value, reward = np.sin(b["outcome"] + np.arange(len(order))), b["penalty"] + b["root"]
    advantage, _ = credit.episode_gae(reward, value, b["episode"])
    assert credit.episode_gae(reward[order], value[order], moved["episode"])[0] == pytest.approx(advantage[order])


@given(buffers(), numbers)
def test_a_shift_of_all_outcomes_changes_nothing(b: dict[str, np.ndarray], shift: float) -> None:
    for rule in RULES.values():
        assert rule({**b, "outcome": b["outcome"] + shift}) == pytest.approx(rule(b), abs=1e-4)


@given(buffers())
def test_the_episodes_of_a_question_share_a_sum_of_zero(b: dict[str, np.ndarray]) -> None:
    quiet = {**b, "penalty": np.zeros(len(b["penalty"]))}
    once = np.append(True, np.diff(b["episode"]) != 0)  # one turn an episode, so that all weigh the same
    for name in ("group", "leave_one_out"):
        advantage = RULES[name](quiet)
        for q in set(b["question"].tolist()):
            assert advantage[once & (b["question"] == q)].sum() == pytest.approx(0.0, abs=1e-6)


@given(buffers())
def test_normalized_parts_have_mean_zero_and_spread_one(b: dict[str, np.ndarray]) -> None:
    advantage = b["outcome"]
    normal = credit.normalize(advantage, b["question"])
    for q in set(b["question"].tolist()):
        mine = b["question"] == q
        assert normal[mine].mean() == pytest.approx(0.0, abs=1e-6)
        if advantage[mine].std() > 1e-2:
            assert normal[mine].std() == pytest.approx(1.0, abs=1e-3)


def test_entries_of_weight_zero_are_scaled_alike_and_do_not_count() -> None:
    normal = credit.normalize([1.0, 3.0, 9.0, 5.0, 6.0], [0, 0, 0, 1, 1], [1.0, 1.0, 0.0, 0.0, 0.0])
    assert normal == pytest.approx([-1.0, 1.0, 7.0, 5.0, 6.0], abs=1e-4)


def test_explained_variance_is_one_for_the_truth_and_zero_for_a_constant() -> None:
    target = np.array([0.0, 1.0, 0.5, 0.2])
    assert credit.explained_variance(target, target) == 1.0
    assert credit.explained_variance(np.full(4, 0.3), target) == pytest.approx(0.0)
    assert credit.explained_variance(-target, target) < 0.0
    assert credit.explained_variance([0.1, 0.4], [1.0, 1.0]) == 0.0


def test_a_held_out_table_by_hand() -> None:
    role, workflow = [0, 0, 0, 0, 1], [0, 0, 1, 1, 1]
    target = np.array([0.0, 0.2, 1.0, 0.8, 0.5])
    told = [0.2, 0.0, 0.8, 1.0, np.mean(target[:4])]
    assert credit.table_explained_variance([role, workflow], target) == pytest.approx(
        1 - np.var(target - told) / np.var(target)
    )


def test_a_table_that_knows_nothing_explains_nothing_even_when_an_episode_has_many_turns() -> None:
    target = np.repeat(np.random.default_rng(0).normal(size=60), 20)
    episode = np.repeat(np.arange(60), 20)
    cell = episode // 2
    assert credit.table_explained_variance([cell], target) > 0.4  # an episode's other turns tell its outcome
    assert credit.table_explained_variance([cell], target, episode) < 0.1


def test_columns_of_different_length_are_refused() -> None:
    one, two = [1.0], [0.0, 1.0]
    for rule, columns in (
        (credit.group, (one, two, [1], [1])),
        (credit.leave_one_out, (two, one, [1, 2], [1, 1])),
        (credit.tied_group, (two, two, [1, 2], [1, 1], [1], [True, True])),
        (credit.episode_gae, (two, one, [0, 0])),
        (credit.broadcast, (two, one, [0.5, 0.5], [1, 1])),
        (credit.group, (0.5, two, [1, 1], [1, 1])),
    ):
        with pytest.raises(ValueError, match="one entry a turn is wanted in every column, found"):
            rule(*columns)  # type: ignore[operator]
