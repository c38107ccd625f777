"""What a report says of real, tiny runs."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from jade_env import cli
from jade_env.errors import ConfigError, DataError
from jade_env.learning import checkpoint
from jade_env.learning.evaluation import evaluate
from jade_env.learning.session import reproducible
from jade_env.policy import make_policy
from jade_env.recipe import load_recipe
from jade_env.research.report import write_report
from jade_env.research.report.advantages import advantages, why_none
from jade_env.research.report.episodes import Book
from jade_env.research.report.listener import Listener
from jade_env.research.report.page import packed, render, unpacked
from jade_env.research.report.playing import Played, play
from jade_env.research.report.run import Run, read_run
from jade_env.research.report.teams import first_team, trained_team
from jade_env.scenario import load_scenario

WORLD = {"data.passages": 300, "data.train": 60, "data.dev": 12}
HOSTILE = '</script><script>alert(1)</script><!-- <img src=x onerror="alert(2)"> "%%data%%"'


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jade_env.learning.trainer import train

    few: dict[str, Any] = {
        "total_timesteps": 1024,
        "n_envs": 16,
        "batch_size": 256,
        "eval_episodes": 4,
        "eval_every": 512,
    }
    few |= {"checkpoint_every": 512, "keep": 9}
    out = tmp_path_factory.mktemp("runs") / "networks"
    train(load_scenario("cooperative", WORLD), load_recipe("sb3_shared", few), out, seed=3)
    return out


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jade_env.learning.joint import train_language

    few = {"steps": 1, "questions": 2, "plans": 2, "executions": 2, "eval_episodes": 2}
    out = tmp_path_factory.mktemp("runs") / "model"
    train_language(load_scenario("small_world", WORLD), load_recipe("jade_joint", few), out, seed=1)
    return out


@pytest.fixture(scope="module")
def played(model: Path) -> tuple[Run, Played]:
    run = read_run(model)
    return run, play(run, "dev", 4, groups=2)


def report_of(run: Path, out: Path, **options: Any) -> dict[str, Any]:
    return unpacked(write_report(run, out, **options).read_text())


# ---- who plays -------------------------------------------------------------------------------------------------------


def test_the_first_team_of_networks_is_the_one_that_training_began_with(networks: Path, tmp_path: Path) -> None:
    """Its checkpoint is the first to be pruned; the seed gives the same weights again, however many threads there are."""
    pruned = shutil.copytree(networks, tmp_path / "pruned")
    shutil.rmtree(pruned / "checkpoints" / "000000000")
    weights = []
    for threads in (1, 2):
        with reproducible(threads):
            weights += [first_team(read_run(folder), None)._net.state_dict() for folder in (networks, pruned)]  # type: ignore[attr-defined]
    saved = checkpoint.load_weights(networks, 0)
    assert all(torch.equal(found[name], saved[name]) for found in weights for name in saved)


def test_the_first_team_of_a_language_model_is_its_backbone(model: Path) -> None:
    from jade_env.policy.backbone import load_backbone

    first = first_team(read_run(model), None)
    expected = load_backbone("jade-tiny").learned()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in first.backbone.learned().items())  # type: ignore[attr-defined]


def test_the_trained_team_plays_as_jade_eval_does(networks: Path) -> None:
    run = read_run(networks)
    expected = evaluate(make_policy(networks, run.game, seed=run.seed), run.game, "dev", 8)
    heard = Listener(trained_team(run, None))
    assert evaluate(heard, run.game, "dev", 8) == expected
    assert len(heard.heard) == sum(row.turns for row in expected)


def test_a_language_model_is_heard_with_tokens_and_log_probabilities(played: tuple[Run, Played]) -> None:
    for one in played[1].plays:
        for heard in one.heard.values():
            assert heard.tokens > 0 and heard.logprob is not None and heard.logprob <= 0
            assert heard.user and heard.turn.view.query.split()[0] in heard.user


def test_a_greedy_network_chooses_what_it_finds_likeliest(networks: Path) -> None:
    run = read_run(networks)
    listener = Listener(trained_team(run, None))
    evaluate(listener, run.game, "dev", 8)
    for heard in listener.heard.values():
        assert heard.choice and heard.logprob is not None
        assert math.exp(heard.logprob) >= 1 / heard.choice[1] - 1e-6


# ---- advantages ------------------------------------------------------------------------------------------------------


def test_the_last_turn_of_a_network_is_credited_with_what_its_critic_did_not_expect(networks: Path) -> None:
    run = read_run(networks)
    listener = Listener(trained_team(run, None))
    evaluate(listener, run.game, "dev", 8)
    episodes = listener.episodes()
    found = advantages(run, episodes, listener.heard)
    assert found.keys() == listener.heard.keys()
    for episode in episodes.values():
        last = episode.trace.played[-1]
        place = (episode.index, last.path, last.step)
        value = listener.heard[place].value
        assert episode.result is not None and value is not None
        assert found[place] == pytest.approx(episode.result.value + last.penalty - value)


def test_a_rule_that_compares_episodes_says_nothing_of_greedy_play(played: tuple[Run, Played]) -> None:
    run, found = played
    before, after = found.plays[:2]
    assert not before.advantages and not after.advantages
    assert "sampled plays" in why_none(run) and "sampled plays" in after.note


def test_sampled_plays_carry_the_advantages_of_their_group(played: tuple[Run, Played]) -> None:
    _, found = played
    samples = found.plays[2:]
    assert [one.name for one in samples] == ["Sample 1", "Sample 2", "Sample 3", "Sample 4"]
    for pair in (samples[:2], samples[2:]):  # two executions of one plan: what one gains on its sibling the other loses
        for first, second in zip(*(sorted(one.episodes) for one in pair), strict=True):
            ends = [one.episodes[number].trace.played[-1] for one, number in zip(pair, (first, second), strict=True)]
            pure = [
                one.advantages[number, end.path, end.step] - end.penalty
                for one, number, end in zip(pair, (first, second), ends, strict=True)
            ]
            assert sum(pure) == pytest.approx(0.0, abs=1e-6)


# ---- what the page is told -------------------------------------------------------------------------------------------


def test_every_turn_of_an_episode_is_in_the_data_with_prompt_and_documents(played: tuple[Run, Played]) -> None:
    book = Book()
    for one in played[1].plays:
        book.add(one)
    tree = book.tree()
    number = 1
    for episode in played[1].plays[number].episodes.values():
        question = next(q for q in tree["questions"] if q["id"] == episode.question.id)
        shown = question["episodes"][str(number)]
        assert question["gold"] == list(episode.question.supporting_ids)
        assert [turn["output"] for turn in shown["turns"]] == [turn.output.text for turn in episode.trace.by_place()]
        assert shown["outcome"] - shown["round_cost"] - shown["retrieval_cost"] == pytest.approx(shown["net"], abs=2e-4)
        for turn in shown["turns"]:
            prompt = "\n".join(tree["strings"][line] for line in turn["prompt"])
            assert all(tree["documents"][place][2][:20] in prompt for place in turn.get("reads", ()))
    assert len(set(tree["strings"])) == len(tree["strings"])


def test_an_execution_that_shares_its_plan_shows_the_plan(played: tuple[Run, Played]) -> None:
    book = Book()
    for one in played[1].plays:
        book.add(one)
    followers = [q["episodes"]["3"] for q in book.tree()["questions"] if "3" in q["episodes"]]
    assert followers and all(episode["turns"][0].get("shared") for episode in followers)
    assert all("prompt" in episode["turns"][0] and "logprob" in episode["turns"][0] for episode in followers)


def test_a_report_of_networks_has_tables_curves_and_setup(networks: Path, tmp_path: Path) -> None:
    tree = report_of(networks, tmp_path / "report.html", episodes=12)
    titles = {section["title"]: section for section in tree["sections"]}
    assert list(titles) == ["Results", "Learning curves", "Workflows chosen", "Roles", "Learner"]
    table = titles["Results"]["blocks"][0]
    rows = {row[0]: row[1:] for row in table["rows"]}
    run = read_run(networks)
    expected = np.mean([row.f1 for row in evaluate(trained_team(run, None), run.game, "dev", 12)])
    assert table["columns"] == ["metric", "before", "after", "difference"]
    assert rows["f1"][1]["mean"] == pytest.approx(expected, abs=1e-4)
    before, after, change = rows["net"]
    assert change["mean"] == pytest.approx(after["mean"] - before["mean"], abs=1e-3)
    assert {part["title"] for part in tree["setup"]} >= {"Run", "Recipe", "Scenario", "Versions of the run"}
    curves = {block["title"]: block for block in titles["Learning curves"]["blocks"]}
    assert [series["name"] for series in curves["F1"]["series"]] == [
        "dev, greedy",
        "held-out train, greedy",
        "train, sampled",
    ]


def test_a_report_of_a_language_model_has_the_metrics_of_each_role(model: Path, tmp_path: Path) -> None:
    tree = report_of(model, tmp_path / "report.html", episodes=2, samples=0)
    roles = next(section for section in tree["sections"] if section["title"] == "Roles")
    charts = {block["title"]: block for block in roles["blocks"] if block["type"] == "lines"}
    assert charts.keys() >= {"Entropy", "Malformed outputs", "Output length", "Clipped ratios"}
    assert "planner" in {series["name"] for series in charts["Entropy"]["series"]}


def test_nothing_is_played_where_nothing_is_asked_for(networks: Path, tmp_path: Path) -> None:
    tree = report_of(networks, tmp_path / "report.html", episodes=0)
    assert tree["traces"] is None and not tree["cards"] and tree["sections"][0]["title"] == "Learning curves"
    tree = report_of(networks, tmp_path / "report.html", episodes=3, before=False)
    assert [one["name"] for one in tree["traces"]["plays"]] == ["After"]
    assert tree["sections"][0]["blocks"][0]["columns"] == ["metric", "after"]


def test_a_run_that_is_not_done_and_was_cut_short_can_be_reported(networks: Path, tmp_path: Path) -> None:
    half = shutil.copytree(networks, tmp_path / "half")
    (half / "run.json").unlink()
    with (half / "metrics.jsonl").open("a") as file:
        file.write('{"timesteps": 99')
    facts = dict(report_of(half, tmp_path / "report.html", episodes=0)["facts"])
    assert facts["trained"].startswith("not finished: 1024 turns")


# ---- the file --------------------------------------------------------------------------------------------------------


def test_data_cannot_leave_its_element_and_is_what_it_was() -> None:
    tree = {"title": HOSTILE, "strings": [HOSTILE, "é 漢 \u2028 \ud800"]}
    page = render(HOSTILE, tree)
    inside = page.split('<script id="data" type="application/json">')[1].split("</script>")[0]
    assert re.fullmatch(r'"[A-Za-z0-9+/=]+"', inside)
    assert page.count("<script") == page.count("</script>") == 2 and "<img" not in page
    assert unpacked(page)["title"] == HOSTILE and unpacked(page)["strings"][0] == HOSTILE
    assert "&lt;/script&gt;" in page.split("<title>")[1].split("</title>")[0]


def test_the_page_asks_for_nothing_from_outside() -> None:
    page = render("x", {})
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1] and "http" not in policy[1] and "*" not in policy[1]
    assert set(re.findall(r"https?://[^\s\"'`]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bon\w+=\"", page)


def test_numbers_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="report's data"):
        packed({"x": math.nan})


def test_a_document_that_an_agent_has_changed_is_another_document(played: tuple[Run, Played]) -> None:
    from jade_env.retrieval.types import Document

    book = Book()
    assert book._documents_of([Document("d", "t", "one"), Document("d", "t", "two"), Document("d", "t", "one")]) == [
        0,
        1,
        0,
    ]
    assert book.tree()["documents"] == [["d", "t", "one"], ["d", "t", "two"]]


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_are_named(networks: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.config\.json: no such file"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="scenario, recipe, seed"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="not below 0"):
        write_report(networks, tmp_path / "x.html", episodes=-1)
    broken = shutil.copytree(networks, tmp_path / "broken")
    lines = (broken / "metrics.jsonl").read_text().splitlines()
    (broken / "metrics.jsonl").write_text("\n".join([lines[0], "{broken", lines[1]]))
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: not a JSON object"):
        write_report(broken, episodes=0)


def test_the_command_writes_the_report_beside_the_run(networks: Path) -> None:
    result = CliRunner().invoke(cli.app, ["report", str(networks), "--episodes", "2"])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout and "open it in a browser" in result.stdout
    tree = unpacked((networks / "report.html").read_text())
    assert dict(tree["facts"])["played"] == "2 questions of dev"
    assert json.dumps(tree["traces"]["questions"][0]["id"])
    shown = CliRunner().invoke(cli.app, ["report", "--help"])
    assert "Example: jade report" in shown.stdout
