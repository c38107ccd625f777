from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

import jade_env
from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError, DataError, RetrievalError
from jade_env.learning import evaluation
from jade_env.learning.evaluation import EpisodeRow, by_kind, evaluate, is_better
from jade_env.policy.random_policy import RandomPolicy
from jade_env.research.summary import METRICS, agents_table, kinds_table, summarize, table
from jade_env.retrieval.types import Hit
from jade_env.scenario import Scenario, load_scenario

SMALL = {"data.passages": 300, "data.train": 40, "data.dev": 50}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("cooperative", SMALL)


@pytest.fixture(scope="module")
def rows(scenario: Scenario) -> list[EpisodeRow]:
    return evaluate(RandomPolicy(), scenario)


def test_each_question_is_played_exactly_once(rows: list[EpisodeRow]) -> None:
    assert Counter(row.question_id for row in rows) == Counter(f"dev_{i}" for i in range(50))


def test_rows_follow_the_seeded_order_and_fewer_episodes_are_its_beginning(
    scenario: Scenario, rows: list[EpisodeRow]
) -> None:
    assert evaluate(RandomPolicy(), scenario, episodes=7) == rows[:7]
    other = evaluate(RandomPolicy(), scenario, seed=1)
    assert sorted(row.question_id for row in other) == sorted(row.question_id for row in rows)
    assert [row.question_id for row in other] != [row.question_id for row in rows]


def test_results_do_not_depend_on_how_many_episodes_are_in_play(
    scenario: Scenario, rows: list[EpisodeRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "SLOTS", 3)
    assert evaluate(RandomPolicy(), scenario) == rows


@pytest.mark.parametrize("mode", ["discrete", "text"])
def test_rows_are_what_the_parallel_environment_says(scenario: Scenario, mode: str) -> None:
    rows = evaluate(RandomPolicy(), scenario, episodes=12, mode=mode)  # type: ignore[arg-type]
    env = jade_env.parallel_env(scenario, mode=mode, split="dev", seed=0)  # type: ignore[arg-type]
    policy = RandomPolicy()
    for j, row in enumerate(rows):
        env.reset(seed=0 if j == 0 else None)
        ticks, total, infos = 0, 0.0, {}
        while env.agents:
            turns = env.turns()
            actions = dict(zip(turns, policy.act(list(turns.values())), strict=True))
            _, rewards, _, _, infos = env.step(actions)
            ticks += 1
            total += min(rewards.values())
        info = infos["planner"]
        assert ticks == row.ticks
        shown = (info["f1"], info["net"], info["rounds"], info["retrievals"], info["turns"], info["latency"])
        assert shown == (row.f1, row.net, row.rounds, row.retrievals, row.turns, row.latency)
        assert row.malformed or row.return_ == row.net == pytest.approx(total)


def test_ticks_lie_between_the_depth_of_the_game_and_its_turns(rows: list[EpisodeRow]) -> None:
    assert all(1 <= row.ticks <= row.turns for row in rows)
    assert any(row.ticks < row.turns for row in rows)


class Silent:
    def act(self, turns: Sequence[Turn]) -> list[Action]:
        return [""] * len(turns)


def test_malformed_outputs_cost_their_penalty_and_are_counted(scenario: Scenario) -> None:
    for row in evaluate(Silent(), scenario, episodes=5):
        assert row.malformed == row.turns > 0
        assert row.return_ == pytest.approx(row.net - row.malformed)


def test_progress_reaches_the_number_of_episodes(scenario: Scenario) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(RandomPolicy(), scenario, episodes=9, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    assert seen == sorted(seen)


class Down:
    identity = "down"

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        raise RetrievalError("the server does not answer")


def test_an_episode_cut_short_is_a_failed_row_with_score_zero(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jade_env.envs.source.Source.retriever", lambda self, split: Down())
    rows = evaluate(RandomPolicy(), scenario)
    failed = [row for row in rows if row.failed]
    assert failed and len(rows) == 50
    assert all((row.f1, row.em, row.net) == (0.0, 0.0, 0.0) for row in failed)
    assert summarize(rows, "s", "p", "dev")["metrics"]["failed"]["mean"] == len(failed) / 50


@pytest.mark.parametrize("episodes", [0, 51])
def test_more_questions_than_there_are_is_refused(scenario: Scenario, episodes: int) -> None:
    with pytest.raises(ConfigError, match=f"episodes: {episodes} is not between 1 and 50"):
        evaluate(RandomPolicy(), scenario, episodes=episodes)


def test_the_summary_has_every_metric_with_an_interval_around_its_mean(rows: list[EpisodeRow]) -> None:
    summary = json.loads(json.dumps(summarize(rows, "cooperative", "random", "dev"), allow_nan=False))
    assert list(summary) == ["scenario", "policy", "split", "episodes", "metrics", "by_kind", "by_team", "by_agent"]
    assert tuple(summary["metrics"]) == METRICS
    for name, figure in summary["metrics"].items():
        assert figure["low"] <= figure["mean"] <= figure["high"], name
    assert summary["metrics"]["f1"]["mean"] == pytest.approx(sum(row.f1 for row in rows) / 50)
    assert sum(part["episodes"] for part in summary["by_kind"].values()) == 50
    assert list(summary["by_kind"]) == sorted({row.kind for row in rows})


def test_malformed_is_a_rate_per_turn(rows: list[EpisodeRow]) -> None:
    some = [replace(row, malformed=i % 3, turns=4 + i % 5) for i, row in enumerate(rows)]
    figure = summarize(some, "s", "p", "dev")["metrics"]["malformed"]
    assert figure["mean"] == pytest.approx(sum(r.malformed for r in some) / sum(r.turns for r in some))
    assert figure["low"] is not None and figure["mean"] is not None and 0 <= figure["low"] < figure["mean"]


def test_questions_without_supporting_passages_are_left_out_of_support_recall(rows: list[EpisodeRow]) -> None:
    one = [replace(row, support_recall=math.nan) for row in rows[:-1]] + [replace(rows[-1], support_recall=0.5)]
    assert summarize(one, "s", "p", "dev")["metrics"]["support_recall"]["mean"] == 0.5
    none = summarize(one[:-1], "s", "p", "dev")["metrics"]["support_recall"]
    assert none == {"mean": None, "low": None, "high": None}


def test_a_summary_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        summarize([], "s", "p", "dev")


def test_rows_group_by_kind(rows: list[EpisodeRow]) -> None:
    groups = by_kind(rows)
    assert sum(map(len, groups.values())) == 50
    assert all(row.kind == kind for kind, group in groups.items() for row in group)


def test_the_tables_show_every_metric_and_kind(rows: list[EpisodeRow]) -> None:
    from rich.console import Console

    console = Console(width=100)
    summary = summarize(rows, "coop[/]", "random", "dev")
    with console.capture() as capture:
        console.print(table(summary), kinds_table(summary))
    shown = capture.get()
    assert "random on coop[/], dev, 50 questions" in shown
    assert all(name in shown for name in (*METRICS, *by_kind(rows)))


def test_in_a_duel_questions_are_counted_and_resampled_and_not_the_two_rows_of_each() -> None:
    alone = evaluate(RandomPolicy(), load_scenario("cooperative", SMALL), episodes=30)
    twice = [replace(row, team=team) for row in alone for team in ("red", "blue")]
    one, two = (summarize(rows, "duel", "random", "dev") for rows in (alone, twice))
    assert two["episodes"] == 30 and two["metrics"] == one["metrics"]
    assert {kind: part["episodes"] for kind, part in two["by_kind"].items()} == {
        kind: part["episodes"] for kind, part in one["by_kind"].items()
    }
    assert two["by_team"]["red"]["metrics"] == one["metrics"]
    rows = evaluate(RandomPolicy(), load_scenario("duel", SMALL), episodes=10)
    assert len(rows) == 20 and summarize(rows, "duel", "random", "dev")["episodes"] == 10
    assert str(table(summarize(rows, "duel", "random", "dev")).title).endswith("10 questions, the mean of red and blue")


@pytest.mark.parametrize("name", ["cooperative", "duel", "adversarial_retrieval"])
def test_a_return_is_what_was_netted_and_the_teams_format_penalties(name: str) -> None:
    class Careless:
        def act(self, turns: Sequence[Turn]) -> list[Action]:
            return [0 if turn.agent == "adversary" or turn.id[0] % 2 else 1 for turn in turns]

    rows = evaluate(Careless(), load_scenario(name, SMALL), episodes=20)
    lost = [row.net - row.return_ for row in rows]
    if name == "adversarial_retrieval":
        assert all(value <= row.malformed for value, row in zip(lost, rows, strict=True)), "not the adversary's"
    else:
        assert lost == pytest.approx([row.malformed for row in rows])
    assert sum(lost) > 5


def test_what_each_agent_receives_is_told_where_they_do_not_all_receive_the_same() -> None:
    for name, told in (
        ("private_costs", True),
        ("adversarial_retrieval", True),
        ("cooperative", False),
        ("duel", False),
    ):
        rows = evaluate(RandomPolicy(), load_scenario(name, SMALL), episodes=12)
        found = summarize(rows, name, "random", "dev")["by_agent"]
        assert bool(found) == told == bool(agents_table(summarize(rows, name, "random", "dev")).row_count)
        for agent, figure in found.items():
            assert figure["mean"] == pytest.approx(sum(row.payoffs[agent] for row in rows) / 12)
        if name == "adversarial_retrieval":
            assert found["adversary"]["mean"] == pytest.approx(-sum(row.payoff for row in rows) / 12 * 8)
        if name == "private_costs":
            assert rows[0].payoff == pytest.approx(sum(rows[0].payoffs.values()) / len(rows[0].payoffs))


def test_what_an_agent_receives_of_an_episode_that_was_cut_short_counts_as_nothing() -> None:
    rows = evaluate(RandomPolicy(), load_scenario("private_costs", SMALL), episodes=10)
    cut = [replace(row, failed=1, net=0.0, payoff=0.0, payoffs={}) if i % 2 else row for i, row in enumerate(rows)]
    found = summarize(cut, "private_costs", "random", "dev")["by_agent"]["planner"]["mean"]
    assert found == pytest.approx(sum(row.payoffs["planner"] for row in rows[::2]) / 10)


def test_a_checkpoint_is_never_the_best_by_questions_that_were_cut_short() -> None:
    good, down = {"net": -0.05, "failed": 0.0}, {"net": 0.0, "failed": 1.0}
    assert is_better(good, {}, "net") and not is_better(down, {}, "net")
    assert is_better({"net": 0.1, "failed": 0.0}, good, "net") and not is_better(
        good, {"net": 0.1, "failed": 0.0}, "net"
    )
    assert is_better(good, down, "net")  # of a run begun before


def test_rows_without_support_recall_are_equal() -> None:
    row = EpisodeRow("q", "", 0, 0, 0, 0, 0, 0.0, 0.0, 1, 0, 1, 1, 1, 0, 0, float("nan"), "a", "AG")
    again = replace(row, support_recall=float("nan"))
    assert row == again and hash(row) == hash(again) and row != replace(row, answer="b")
    assert row == replace(row, em=0.0) and row != "q"
