"""R_global against the paper's equations, computed by hand."""

from __future__ import annotations

import itertools

import pytest

from jade_env.game.outputs import choose
from jade_env.game.rewards import Ledger, own_costs, score, share
from jade_env.game.trace import Played
from jade_env.questions import Question
from jade_env.scenario import Reward

QUESTION = Question("q", "?", ("New York City",))


@pytest.mark.parametrize(("count", "value"), [(-1, 0.0), (0, 0.0), (1, 1 / 3), (2, 2 / 3), (3, 1.0), (9, 1.0)])
def test_counts_are_capped_at_three(count: int, value: float) -> None:
    assert share(count, 3) == pytest.approx(value)


def test_the_paper_preset_is_f1_minus_both_costs() -> None:
    reward = Reward(preset="paper", round_cost=0.3, retrieval_cost=0.1)
    result = score(QUESTION, "New York", Ledger(rounds=2, rounds_together=2, retrievals=1), reward)
    assert result.outcome == pytest.approx(0.8)
    assert result.cost == pytest.approx(0.3 * 2 / 3 + 0.1 * 1 / 3)
    assert result.value == pytest.approx(result.outcome - result.cost)


def test_the_code_preset_spares_the_first_round_and_counts_a_parallel_split_as_two() -> None:
    reward = Reward(preset="code", round_cost=0.3)
    assert (reward.format_penalty, reward.rule, reward.yes_no) == (-2.0, "jade_code", "em")
    result = score(QUESTION, "New York City", Ledger(rounds=5, rounds_together=2), reward)
    assert result.cost == pytest.approx(0.3 * 1 / 3)


def test_presets_cost_nothing_by_default_and_keys_override_them() -> None:
    assert Reward(preset="code").round_cost == Reward(preset="paper").retrieval_cost == 0.0
    assert Reward(preset="code", format_penalty=-0.5).format_penalty == -0.5


def test_yes_and_no_are_scored_by_exact_match_under_the_code_preset() -> None:
    question = Question("q", "?", ("yes",))
    ledger = Ledger(rounds=1)
    assert score(question, "yes it is", ledger, Reward(preset="code", outcome="f1")).outcome == 0.0
    assert score(question, "Yes", ledger, Reward(preset="code")).outcome == 1.0


def test_what_members_spend_does_not_depend_on_who_played_first() -> None:
    reward = Reward(sharing="private", turn_cost=0.1, token_cost=0.01)
    turns = [
        Played(agent, (), step, choose("answer", "x")._replace(tokens=tokens), 0.0, step)
        for step, (agent, tokens) in enumerate([("a", 3), ("b", 7), ("a", 1), ("c", 9), ("b", 2), ("a", 6)])
    ]
    results = {score(QUESTION, "x", Ledger(), reward, order) for order in itertools.permutations(turns)}
    assert len(results) == 1
    assert own_costs(turns, reward) == pytest.approx({"a": 0.4, "b": 0.29, "c": 0.19})
