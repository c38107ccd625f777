"""What a report says of tiny real runs in games whose agents earn differently."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jade_env.learning.evaluation import evaluate
from jade_env.learning.trainer import train
from jade_env.policy import make_policy
from jade_env.recipe import load_recipe
from jade_env.research.report import earnings, write_report
from jade_env.research.report.episodes import Book, Play
from jade_env.research.report.page import unpacked
from jade_env.research.report.playing import Played, play
from jade_env.research.report.run import Run, read_run
from jade_env.research.report.teams import checkpoint_played, trained_team
from jade_env.research.summary import summarize
from jade_env.scenario import load_scenario

QUESTIONS = 12
WORLD = {"data.passages": 300, "data.train": 60, "data.dev": QUESTIONS}
FEW = {"total_timesteps": 1024, "n_envs": 16, "n_steps": 16, "batch_size": 256, "eval_episodes": QUESTIONS}
FEW |= {"eval_every": 256, "checkpoint_every": 256, "keep": 9, "threads": 1}
WEIGHTS = {"default": 1.0, "planner": 0.5}

Found = tuple[Run, Played, dict[str, Any]]


def made(folder: Path, scenario: str, recipe: str, **changes: Any) -> Path:
    game = {key: changes.pop(key) for key in [*changes] if key.startswith("reward.")}
    train(load_scenario(scenario, WORLD | game), load_recipe(recipe, FEW | changes), folder, seed=0)
    return folder


def reported(folder: Path) -> Found:
    run = read_run(folder)
    path = write_report(folder, folder / "report.html", episodes=QUESTIONS)
    return run, play(run, "dev", QUESTIONS), unpacked(path.read_text())


@pytest.fixture(scope="module")
def duel(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return reported(made(tmp_path_factory.mktemp("runs") / "duel", "duel", "self_play", freeze_every=256))


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return reported(made(tmp_path_factory.mktemp("runs") / "attack", "adversarial_retrieval", "attacker"))


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Found:
    changes = {"train": ["planner"], "reward.weights": WEIGHTS, "total_timesteps": 512}
    return reported(made(tmp_path_factory.mktemp("runs") / "private", "private_costs", "sb3_shared", **changes))


def blocks_of(tree: dict[str, Any], section: str = "Who earns what") -> dict[tuple[str, str], dict[str, Any]]:
    found = next(one for one in tree["sections"] if one["title"] == section)
    return {(block["type"], block["title"]): block for block in found["blocks"]}


def rows_of(block: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row[0]: dict(zip(block["columns"][1:], row[1:], strict=True)) for row in block["rows"]}


def retold(found: Found, out: Path, change: Any) -> tuple[Run, dict[str, Any]]:
    """The report of the same run, had its configuration been another one."""
    folder = shutil.copytree(found[0].folder, out)
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return read_run(folder), unpacked(write_report(folder, episodes=4).read_text())


# ---- duels -----------------------------------------------------------------------------------------------------------


def test_wins_draws_and_losses_of_each_side_are_those_of_the_evaluation(duel: Found) -> None:
    run, played, tree = duel
    rows = rows_of(blocks_of(tree)["table", "Wins and payoffs"])
    for name, those in (("before", played.before), ("after", played.after)):
        expected = summarize(those, run.game.name, "x", "dev")["by_team"]
        for side in ("red", "blue"):
            shown = rows[f"{side}, {name}"]
            payoffs = [row.payoff for row in those if row.team == side]
            assert shown["wins"] == sum(payoff > 0 for payoff in payoffs)
            assert shown["losses"] == sum(payoff < 0 for payoff in payoffs)
            assert shown["wins"] + shown["draws"] + shown["losses"] == QUESTIONS
            for key, figure in (("win rate", expected[side]["wins"]), ("payoff", expected[side]["payoff"])):
                assert [shown[key][end] for end in ("mean", "low", "high")] == pytest.approx(
                    [*figure.values()], abs=1e-4
                )  # type: ignore[list-item]
        assert rows[f"red, {name}"]["wins"] == rows[f"blue, {name}"]["losses"]
    assert {rows["red, after"]["draws"], rows["red, before"]["draws"]} != {QUESTIONS}  # it does not play itself
    gain = rows["red, after"]["payoff"]["mean"] - rows["red, before"]["payoff"]["mean"]
    assert rows["red, difference"]["payoff"]["mean"] == pytest.approx(gain, abs=1e-4)


def test_the_rival_is_the_first_past_self_as_it_was_met_in_training(duel: Found) -> None:
    """On the same questions the report finds the win rates that the training wrote down."""
    run, _, tree = duel
    rows = rows_of(blocks_of(tree)["table", "Wins and payoffs"])
    wins = {record["timesteps"]: record["wins"]["0"] for record in run.records if "wins" in record}
    assert rows["red, before"]["win rate"]["mean"] == pytest.approx(wins[0], abs=1e-4)
    played = checkpoint_played(run)
    assert played is not None
    assert rows["red, after"]["win rate"]["mean"] == pytest.approx(wins[played], abs=1e-4)
    card = next(card for card in tree["cards"] if card["label"] == "Win rate of red")
    assert (card["before"]["mean"], card["after"]["mean"]) == pytest.approx((wins[0], wins[played]), abs=1e-4)


def test_results_are_those_of_the_side_that_learned_and_count_questions_once(duel: Found) -> None:
    _, played, tree = duel
    assert dict(tree["facts"])["played"] == f"{QUESTIONS} questions of dev"
    table = rows_of(blocks_of(tree, "Results")["table", "All questions, red"])
    own = [row.f1 for row in played.after if row.team == "red"]
    assert len(own) == QUESTIONS and table["f1"]["after"]["mean"] == pytest.approx(sum(own) / QUESTIONS, abs=1e-4)
    turns = [len(one.trace.played) for one in played.plays[1].episodes.values() if one.rules.team == "red"]
    roles = rows_of(blocks_of(tree, "Roles")["table", "In the episodes played here (means)"])
    shown = sum(row["turns an episode, after"] for role, row in roles.items() if role.startswith("red "))
    assert shown == pytest.approx(sum(turns) / QUESTIONS, abs=1e-3)
    assert next(s for s in tree["sections"] if s["title"] == "Learning curves")["note"].startswith("Of red")


def test_win_rates_against_past_selves_are_a_curve_and_rows(duel: Found) -> None:
    run, _, tree = duel
    blocks = blocks_of(tree)
    records = [record for record in run.records if "wins" in record]
    series = {one["name"]: one["points"] for one in blocks["lines", "Win rate against past selves"]["series"]}
    table = rows_of(blocks["table", "Win rate against past selves"])
    last = records[-1]
    for then in last["wins"]:
        name = f"as after {then} turns"
        expected = [[one["timesteps"], one["wins"][then]] for one in records if then in one["wins"]]
        assert [*map(tuple, series[name])] == [pytest.approx(tuple(point), abs=1e-4) for point in expected]
        assert table[name][f"after {last['timesteps']} turns"]["mean"] == pytest.approx(last["wins"][then], abs=1e-4)
    assert len(last["wins"]) == 4 and table["as after 256 turns"]["after 0 turns"] is None
    mean = sum(last["wins"].values()) / len(last["wins"])
    assert series["mean"][-1][1] == pytest.approx(mean, abs=1e-4)
    assert table["mean"][f"after {last['timesteps']} turns"]["mean"] == pytest.approx(mean, abs=1e-4)


def test_of_many_past_selves_the_chart_shows_some_and_the_table_all(duel: Found) -> None:
    wins = {str(number): number / 40 for number in range(20)}
    run = replace(duel[0], records=({"timesteps": 0, "wins": {"0": 0.5}}, {"timesteps": 50, "wins": wins}), summary={})
    table, chart = earnings.past_selves(run)
    assert table and chart
    names = [one["name"] for one in chart["series"]]
    assert names[:2] == ["mean", "as after 0 turns"] and names[-1] == "as after 19 turns" and len(names) == 9
    assert len(table["rows"]) == 21
    assert earnings.past_selves(replace(run, records=({"timesteps": 0},))) == []


def test_a_partner_that_is_no_past_self_plays_the_other_side(duel: Found, tmp_path: Path) -> None:
    run, tree = retold(duel, tmp_path / "other", lambda config: config["recipe"].update(partners="heuristic"))
    expected = evaluate(make_policy("heuristic", run.game), run.game, "dev", 8)
    rows = evaluate(trained_team(run, None), run.game, "dev", 8)
    assert [r.answer for r in rows if r.team == "blue"] == [r.answer for r in expected if r.team == "blue"]
    assert [r.answer for r in rows if r.team == "red"] != [r.answer for r in expected if r.team == "red"]
    assert "its rival here: heuristic" in next(s["note"] for s in tree["sections"] if s["title"] == "Who earns what")


def test_the_side_that_learned_is_shown_first_and_each_game_says_who_won(duel: Found) -> None:
    _, played, tree = duel
    assert [one["name"] for one in tree["traces"]["plays"]] == [
        "Before, red",
        "Before, blue",
        "After, red",
        "After, blue",
    ]
    for question in tree["traces"]["questions"]:
        red, blue = (question["episodes"][number]["payoffs"] for number in ("2", "3"))
        expected = {row.team: row.payoff for row in played.after if row.question_id == question["id"]}
        assert [red[0]["name"], blue[0]["name"]] == ["red", "blue"]
        assert red[0]["payoff"] == pytest.approx(expected["red"], abs=1e-3) == -blue[0]["payoff"]


def test_a_side_that_learned_comes_first_whatever_its_name(duel: Found) -> None:
    book = Book("blue")
    book.add(duel[1].plays[1])
    assert [one["name"] for one in book.tree()["plays"]] == ["After, blue", "After, red"]


def test_a_game_that_was_cut_short_pays_nobody(duel: Found) -> None:
    run, played, _ = duel
    some = played.plays[1]
    cut = Play(some.name, some.note, {n: one for n, one in some.episodes.items() if n > 1}, {})
    table = earnings.games(run, [cut], QUESTIONS)
    assert table
    rows = rows_of(table)
    full = [row.payoff for row in played.after if row.team == "red"]
    assert rows["red, after"]["payoff"]["mean"] == pytest.approx(sum(full[1:]) / QUESTIONS, abs=1e-4)
    assert sum(rows["red, after"][key] for key in ("wins", "draws", "losses")) == QUESTIONS


# ---- adversaries -----------------------------------------------------------------------------------------------------


def test_an_adversary_s_payoff_is_what_its_team_loses_together(attack: Found) -> None:
    run, played, tree = attack
    team, adversary = earnings.sides_of(run.game)
    assert adversary.agents == ("adversary",) and "adversary" not in team.agents
    rows = rows_of(blocks_of(tree)["table", "Wins and payoffs"])
    for name, those in (("before", played.before), ("after", played.after)):
        ours, theirs = rows[f"team, {name}"], rows[f"adversary, {name}"]
        assert ours["payoff"]["mean"] == pytest.approx(sum(row.payoff for row in those) / QUESTIONS, abs=1e-4)
        assert theirs["payoff"]["mean"] == pytest.approx(-len(team.agents) * ours["payoff"]["mean"], abs=1e-3)
        assert (ours["wins"], ours["draws"], ours["losses"]) == (theirs["losses"], theirs["draws"], theirs["wins"])
        assert ours["wins"] == sum(row.payoff > 0 for row in those)
    assert tree["cards"][0]["label"] == "Payoff of the adversary"
    assert tree["cards"][0]["after"] == rows["adversary, after"]["payoff"]


def test_what_both_sides_receive_is_drawn_over_the_training(attack: Found) -> None:
    run, _, tree = attack
    series = {one["name"]: one["points"] for one in blocks_of(tree)["lines", "Payoff"]["series"]}
    team, _ = earnings.sides_of(run.game)
    net = [record["dev"]["net"] for record in run.records if "dev" in record]  # no output of a candidate is malformed
    assert [value for _, value in series["each of the team, dev"]] == pytest.approx(net, abs=1e-3)
    theirs = [-len(team.agents) * value for value in net]
    assert [value for _, value in series["adversary, dev"]] == pytest.approx(theirs, abs=1e-2)


def test_a_game_beside_an_adversary_names_both_sides(attack: Found) -> None:
    for question in attack[2]["traces"]["questions"]:
        ours, theirs = question["episodes"]["1"]["payoffs"]
        assert (ours["name"], theirs["name"]) == ("each of the team", "adversary")
        assert ours["payoff"] * theirs["payoff"] <= 0


# ---- costs of one's own ----------------------------------------------------------------------------------------------


def test_each_agent_s_own_costs_and_payoff_stand_in_a_table(private: Found) -> None:
    run, played, tree = private
    rows = rows_of(blocks_of(tree)["table", "What each agent pays and receives"])
    assert [*rows] == [agent.replace("_", " ") for agent in run.game.team]
    reward = run.game.reward
    for agent in run.game.team:
        own, earned = [], []
        for episode in played.plays[1].episodes.values():
            turns = [turn.output.tokens for turn in episode.trace.played if turn.agent == agent]
            assert episode.result is not None
            own.append(reward.turn_cost * len(turns) + reward.token_cost * sum(turns))
            common = episode.result.outcome - episode.result.cost
            earned.append(WEIGHTS.get(agent, 1.0) * common - own[-1])
        shown = rows[agent.replace("_", " ")]
        assert shown["own cost, after"]["mean"] == pytest.approx(sum(own) / QUESTIONS, abs=1e-4)
        assert shown["payoff, after"]["mean"] == pytest.approx(sum(earned) / QUESTIONS, abs=1e-4)
        gain = shown["payoff, after"]["mean"] - shown["payoff, before"]["mean"]
        assert shown["difference of payoffs"]["mean"] == pytest.approx(gain, abs=1e-3)
    assert any(row["own cost, after"]["mean"] > 0 for row in rows.values())


def test_a_turn_and_its_game_say_what_was_paid_and_received(private: Found) -> None:
    _, _, tree = private
    agents = tree["traces"]["agents"]
    for question in tree["traces"]["questions"]:
        episode = question["episodes"]["1"]
        paid = episode["outcome"] - episode["round_cost"] - episode["retrieval_cost"] - episode["own_cost"]
        assert paid == pytest.approx(episode["net"], abs=1e-3)
        entries = {one["name"]: one for one in episode["payoffs"]}
        assert entries["planner"]["share"] == 0.5 and entries["answer_generator"]["share"] == 1
        for one in entries.values():
            assert one["payoff"] == pytest.approx(one["share"] * one["common"] - one["own"], abs=1e-3)
        for turn in episode["turns"]:
            assert turn["cost"] > 0 and turn["payoff"] == entries[agents[turn["agent"]]]["payoff"]
        for name, one in entries.items():
            mine = [turn["cost"] for turn in episode["turns"] if agents[turn["agent"]] == name]
            assert sum(mine) == pytest.approx(one["own"], abs=1e-3)


def test_a_team_that_shares_pays_together(private: Found, tmp_path: Path) -> None:
    def share(config: dict[str, Any]) -> None:
        config["scenario"]["reward"] |= {"sharing": "team", "weights": {}}

    _, tree = retold(private, tmp_path / "shared", share)
    blocks = blocks_of(tree)
    assert [*blocks] == [("table", "What each agent costs the team")]
    assert blocks["table", "What each agent costs the team"]["columns"] == [
        "agent",
        "own cost, before",
        "own cost, after",
    ]
    episode = tree["traces"]["questions"][0]["episodes"]["1"]
    assert "payoffs" not in episode and episode["own_cost"] > 0 and "payoff" not in episode["turns"][0]


def test_a_report_without_episodes_has_the_curves_alone(duel: Found, attack: Found) -> None:
    for run, _, _ in (duel, attack):
        tree = unpacked(write_report(run.folder, run.folder / "curves.html", episodes=0).read_text())
        found = blocks_of(tree)
        assert ("lines", "Payoff") in found and ("table", "Wins and payoffs") not in found


def test_a_game_in_which_all_earn_alike_has_no_such_section(private: Found, tmp_path: Path) -> None:
    def plain(config: dict[str, Any]) -> None:
        config["scenario"]["reward"] |= {"sharing": "team", "weights": {}, "turn_cost": 0.0, "token_cost": 0.0}

    _, tree = retold(private, tmp_path / "plain", plain)
    assert "Who earns what" not in [section["title"] for section in tree["sections"]]
    assert not {"payoffs", "own_cost"} & tree["traces"]["questions"][0]["episodes"]["0"].keys()
