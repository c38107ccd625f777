"""A comparison from its first run to its tables: the same results however it was stopped, and failures told, not hidden."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jade_env import cli
from jade_env.errors import ConfigError, DataError
from jade_env.learning.evaluation import evaluate
from jade_env.policy import make_policy
from jade_env.policy.tiny import make_tiny
from jade_env.questions.datasets import write_corpus, write_questions
from jade_env.questions.world import WorldSpec, make_world
from jade_env.research.compare import Outcome, _held, _next, collect, compare
from jade_env.research.report import write_report
from jade_env.research.report.page import unpacked
from jade_env.research.study import load_study, runs_of
from jade_env.scenario import load_scenario

RESULTS, SUMMARY = "results.jsonl", "summary.json"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]


def run_study(path: Path, out: Path, **changes: object) -> Outcome:
    study = load_study(path, changes)
    compare(study, out)
    return collect(study, out)


def command(path: Path, out: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "jade_env.cli", "compare", str(path), "--out", str(out), *words]


@pytest.fixture(scope="session")
def unbroken(learning: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "unbroken"
    assert not run_study(learning, out).failed
    return out


# ---- what is left ---------------------------------------------------------------------------------------------------


def test_results_have_a_row_for_every_question_every_run_was_asked(tiny: Path, tmp_path: Path) -> None:
    run_study(tiny, tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    keys = {(row["arm"], row["scenario"], row["seed"], row["mode"], row["split"], row["question"]) for row in rows}
    assert len(keys) == len(rows) == 2 * 1 * 2 * 2 * 1 * 12
    questions = [
        [row["question"] for row in rows if (row["arm"], row["seed"], row["mode"]) == which]
        for which in (("random", 0, "greedy"), ("heuristic", 1, "sampled"))
    ]
    assert questions[0] == questions[1]
    assert not any("second" in key or "time" in key for row in rows for key in row)


def test_the_summary_agrees_with_the_rows(unbroken: Path) -> None:
    rows = [row for row in rows_of(unbroken) if row["mode"] == "sampled"]
    view = next(view for view in json.loads((unbroken / SUMMARY).read_text())["views"] if view["mode"] == "sampled")
    for arm in ("random", "sb3"):
        for metric in ("f1", "net", "rounds", "retrievals"):
            mine = [row[metric] for row in rows if row["arm"] == arm]
            assert view["arms"][arm]["metrics"][metric]["mean"] == pytest.approx(sum(mine) / len(mine))
        for kind, part in view["arms"][arm]["by_kind"].items():
            asked = [row for row in rows if row["arm"] == arm and row["kind"] == kind]
            assert part["net"]["mean"] == pytest.approx(sum(row["net"] for row in asked) / len(asked))
    at = {(row["arm"], row["seed"], row["question"]): row["net"] for row in rows}
    gains = [value - at["random", seed, question] for (arm, seed, question), value in at.items() if arm == "sb3"]
    assert view["arms"]["sb3"]["against"]["net"]["mean"] == pytest.approx(sum(gains) / len(gains))
    assert view["arms"]["random"]["against"] is None and view["arms"]["sb3"]["against"]["pairs"] == 1


def test_learning_curves_stand_in_the_summary_without_wall_times(unbroken: Path) -> None:
    curves = json.loads((unbroken / SUMMARY).read_text())["curves"]
    assert [(curve["arm"], curve["seed"], curve["unit"]) for curve in curves] == [("sb3", 0, "turns")]
    assert curves[0]["points"][0]["timesteps"] == 0 and set(curves[0]["points"][0]) == {"timesteps", "f1", "net"}
    times = [json.loads(line) for line in (unbroken / "runs.jsonl").read_text().splitlines()]
    assert all(run["state"] == "done" for run in times)
    assert all((run["seconds_training"] > 0) == (run["arm"] == "sb3") == (run["folder"] is not None) for run in times)


def test_a_scripted_arm_has_one_way_to_play_and_a_trained_one_several(unbroken: Path) -> None:
    rows = rows_of(unbroken)

    def played(arm: str, mode: str) -> list[tuple[str, str]]:
        return [(row["workflow"], row["answer"]) for row in rows if (row["arm"], row["mode"]) == (arm, mode)]

    assert played("random", "greedy") == played("random", "sampled")
    assert played("sb3", "greedy") != played("sb3", "sampled")


# ---- stopping and going on ------------------------------------------------------------------------------------------


def started(learning: Path, out: Path, until: int) -> subprocess.Popen[str]:
    """A comparison at work, whose run has just written the checkpoint of so many turns."""
    process = subprocess.Popen(command(learning, out), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / f"runs/world/sb3/0/training/checkpoints/{until:09d}").is_dir():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return process


def test_a_study_stopped_killed_and_gone_on_with_leaves_the_same_bytes_as_an_unbroken_one(
    learning: Path, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    stopped = started(learning, out, 128)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 130 and "Traceback" not in said
    assert "jade: stopped after 1 of 2 runs; the same command goes on from there" in said
    killed = started(learning, out, 384)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert not (out / RESULTS).exists()
    again = subprocess.run(command(learning, out, "--processes", "2"), capture_output=True, text=True)
    assert again.returncode == 0 and "1 of 2 runs are there already" in again.stderr
    for name in (RESULTS, SUMMARY):
        assert (out / name).read_bytes() == (unbroken / name).read_bytes()


def test_a_run_that_another_process_is_at_work_on_is_waited_for(tiny: Path, tmp_path: Path) -> None:
    place = tmp_path / "out" / "runs/world/random/0"
    place.mkdir(parents=True)
    (tmp_path / "out" / "study.json").write_text("{}")
    lines: list[str] = []
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
        compare(load_study(tiny, {"seeds": [0]}), tmp_path / "out", say=lines.append)
    assert lines[0] == "world/random/0: another process is at work on it; waiting for its end"
    assert [line[:5] for line in lines[1:]] == ["[1/2]", "[2/2]"]


def test_a_training_that_was_killed_before_it_had_begun_begins_anew(
    learning: Path, unbroken: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    stub = out / "runs/world/sb3/0/training"
    stub.mkdir(parents=True)
    (stub / ".partial-config.json").write_text("{")
    (out / "study.json").write_text("{}")
    assert not run_study(learning, out).failed
    assert (out / RESULTS).read_bytes() == (unbroken / RESULTS).read_bytes()


def test_what_is_done_is_not_done_again_and_seeds_and_arms_may_come_later(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_study(tiny, out, seeds=[0])
    before = (out / "runs/world/random/0/rows.jsonl").stat().st_mtime_ns
    outcome = run_study(tiny, out, **{"seeds": [0, 5], "arms.again.policy": "random"})
    assert outcome.runs == 6 and len({(row["arm"], row["seed"]) for row in rows_of(out)}) == 6
    assert (out / "runs/world/random/0/rows.jsonl").stat().st_mtime_ns == before


def test_a_run_that_was_begun_otherwise_is_refused_with_the_key_that_differs(tiny: Path, tmp_path: Path) -> None:
    run_study(tiny, tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"world/random/0/plan.json: questions: the run was begun with None.* says 5 now"
    ):
        run_study(tiny, tmp_path / "out", questions=5)
    with pytest.raises(ConfigError, match=r"plan.json: scenario.reward.cap: "):
        run_study(tiny, tmp_path / "out", **{"arms.random.scenario_overrides.reward.cap": 1})


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_run_that_fails_is_told_with_its_reason_and_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken", tmp_path / "out"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    lines: list[str] = []
    study = load_study(tiny, {"arms.broken.policy": str(broken), "seeds": [0]})
    compare(study, out, say=lines.append)
    assert [("FAILED: " in line) for line in lines] == [False, False, True]
    assert "[3/3] world/broken/0: FAILED: " in lines[2] and "config.json" in lines[2]
    outcome = collect(study, out)
    assert list(outcome.failed) == ["world/broken/0"]
    assert {row["arm"] for row in rows_of(out)} == {"random", "heuristic"}
    result = CliRunner().invoke(
        cli.app, ["compare", str(tiny), "--set", f"arms.broken.policy={broken}", "--seeds", "0", "--out", str(out)]
    )
    assert result.exit_code == 1 and "world/broken/0 failed: " in result.stderr and "2 of 3 runs" in result.stdout


def test_nothing_runs_before_everything_is_known_to_be_good(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="questions: 13 are more than the 12 of cooperative, split 'test'"):
        run_study(tiny, out, questions=13)
    assert not out.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty, and no study was begun in it"):
        run_study(tiny, tmp_path / "mine")


def test_a_split_that_is_not_there_is_found_before_anything_is_trained(tiny: Path, tmp_path: Path) -> None:
    world = make_world(WorldSpec(seed=1, passages=200), "train", 20)
    (tmp_path / "data" / "mine").mkdir(parents=True)
    write_corpus(tmp_path / "data" / "mine" / "corpus.jsonl", world.documents)
    write_questions(tmp_path / "data" / "mine" / "dev.jsonl", world.questions)
    files = {"scenario": "cooperative", "overrides": {"data": {"source": "files", "folder": "mine"}}}
    study = load_study(tiny, {"scenarios": [files]})
    with pytest.raises(DataError, match="has no split 'test'; it has dev"):
        compare(study, tmp_path / "out", data=tmp_path / "data")
    assert not (tmp_path / "out").exists()
    lines: list[str] = []
    compare(load_study(tiny, {"scenarios": [files], "splits": ["dev"], "arms.heuristic.policy": "random"}), tmp_path / "out",
            data=tmp_path / "data", say=lines.append)  # fmt: skip
    assert len(lines) == 4 and not any("FAILED" in line for line in lines)


def test_tables_of_a_study_that_has_done_nothing_yet_are_empty(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = CliRunner().invoke(cli.app, ["compare", str(tiny), "--out", str(tmp_path / "out"), "--table-only"])
    assert result.exit_code == 0 and "0 of 4 runs" in result.stdout


# ---- on the command line --------------------------------------------------------------------------------------------


def test_the_command_shows_tables_and_pictures_and_again_without_running(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = CliRunner().invoke(cli.app, ["compare", str(tiny), "--out", str(out), "--set", "modes=[greedy]"])
    assert first.exit_code == 0, first.output
    assert "[4/4] world/heuristic/1: F1 " in first.stderr
    for title in ("95 % interval over runs and questions", "cost of a question", "minus random", "F1 over runs"):
        assert title in first.stdout
    assert "4 of 4 runs; results in" in first.stdout and (out / "frontier.png").read_bytes()[1:4] == b"PNG"
    again = CliRunner().invoke(
        cli.app, ["compare", str(tiny), "--out", str(out), "--set", "modes=[greedy]", "--table-only"]
    )
    assert (again.exit_code, again.stdout) == (0, first.stdout)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nope",), "there is no study 'nope'; shipped: "),
        (("nope.yaml",), "nope.yaml: no such file"),
        (("paradigms", "--table-only"), "runs/paradigms: there is no such folder, so nothing of the study paradigms is done"),
        (("paradigms", "--seeds", "a"), "--seeds a: expected numbers with commas between them"),
        (("paradigms", "--seeds=-1"), "--seeds -1: expected numbers with commas between them"),
        (("paradigms", "--set", "baseline=jad"), "there is no arm 'jad'; did you mean 'jade'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_clear_line_and_leaves_nothing(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, ["compare", *words])
    assert result.exit_code == 2 and says in result.stderr
    assert all(line.startswith("jade: ") for line in result.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_the_commands_explain_themselves_and_studies_are_listed() -> None:
    assert "Example: jade compare" in CliRunner().invoke(cli.app, ["compare", "--help"]).stdout
    assert "paradigms" in CliRunner().invoke(cli.app, ["studies"]).stdout


def test_scripted_arms_need_no_learning_library(tiny: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom jade_env.research.study import load_study\nfrom jade_env.research.compare import compare\n"
        f"compare(load_study({str(tiny)!r}), {str(tmp_path / 'out')!r})\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "False\n", done.stderr


# ---- teams ----------------------------------------------------------------------------------------------------------


def world_of(study: Path) -> dict[str, Any]:
    overrides: dict[str, Any] = yaml.safe_load(study.read_text())["scenarios"][0]["overrides"]
    return overrides


def shown(rows: list[dict[str, Any]], arm: str, mode: str, seed: int) -> list[tuple[Any, ...]]:
    return [
        (row["question"], row["workflow"], row["answer"], row["net"], row["turns"])
        for row in rows
        if (row["arm"], row["mode"], row["seed"]) == (arm, mode, seed)
    ]


def test_a_team_plays_as_jade_eval_has_it_play_and_draws_anew_under_every_seed(
    tiny: Path, unbroken: Path, tmp_path: Path
) -> None:
    run = unbroken / "runs/world/sb3/0/training"
    arms = {
        "chance": {"policy": {"planner": "random", "default": "heuristic"}},
        "learned": {"policy": f"default={run}"},
        "half": {"policy": f"planner={run},default=heuristic"},
    }
    assert not run_study(tiny, tmp_path / "out", arms=arms).failed
    rows = rows_of(tmp_path / "out")
    game = load_scenario("cooperative", world_of(tiny))
    for arm, seed in ((arm, seed) for arm in arms for seed in (0, 1)):
        policy = make_policy(arms[arm]["policy"], game, seed=seed)
        expected = [
            (row.question_id, row.workflow, row.answer, row.net, row.turns)
            for row in evaluate(policy, game, "test", seed=1)
        ]
        assert shown(rows, arm, "greedy", seed) == expected
    for arm, greedy_alike in (("chance", False), ("learned", True), ("half", True)):
        assert (shown(rows, arm, "greedy", 0) == shown(rows, arm, "greedy", 1)) == greedy_alike
        assert shown(rows, arm, "sampled", 0) != shown(rows, arm, "sampled", 1)
        assert (shown(rows, arm, "greedy", 0) == shown(rows, arm, "sampled", 0)) != greedy_alike
    again = tmp_path / "again"  # in another order of modes it is the same play
    run_study(tiny, again, arms=arms, modes=["sampled", "greedy"])
    assert sorted(map(str, rows_of(again))) == sorted(map(str, rows))


def test_teams_in_a_duel_are_judged_by_their_first_side_with_wins_and_payoffs(tiny: Path, tmp_path: Path) -> None:
    arms = {"same": {"policy": "default=heuristic"}, "chance": {"policy": {"red": "random", "blue": "heuristic"}}}
    duel = [{"scenario": "duel", "overrides": world_of(tiny)}]
    outcome = run_study(tiny, tmp_path / "out", scenarios=duel, arms=arms, baseline="same", modes=["greedy"])
    assert not outcome.failed
    rows = rows_of(tmp_path / "out")
    game = load_scenario("duel", world_of(tiny))
    for seed in (0, 1):
        played = evaluate(make_policy(arms["chance"]["policy"], game, seed=seed), game, "test", seed=1)
        expected = [(row.question_id, row.f1, row.payoff) for row in played if row.team == "red"]
        own = [row for row in rows if (row["arm"], row["seed"]) == ("chance", seed)]
        assert [(row["question"], row["f1"], row["payoff"]) for row in own] == expected
        assert all(
            row["team"] == "red" and row["won"] == (0.5 + 0.5 * ((p := row["payoff"]) > 0) - 0.5 * (p < 0))
            for row in own
        )
    figures = json.loads((tmp_path / "out" / SUMMARY).read_text())["views"][0]["arms"]
    assert figures["same"]["metrics"]["won"]["mean"] == 0.5 and figures["same"]["metrics"]["payoff"]["mean"] == 0
    own = [row["won"] for row in rows if row["arm"] == "chance"]
    assert figures["chance"]["metrics"]["won"]["mean"] == pytest.approx(sum(own) / len(own)) != 0.5
    lost = figures["chance"]["against"]
    assert lost["won"]["mean"] == pytest.approx(sum(own) / len(own) - 0.5) and lost["payoff"]["mean"] < 0
    assert lost["probability_of_improvement"]["mean"] == 0, "a rival that loses less may have as much F1"
    path = tmp_path / "duels.yaml"
    path.write_text(
        yaml.safe_dump(yaml.safe_load(tiny.read_text()) | {"arms": arms, "scenarios": duel}, sort_keys=False)
    )
    words = ["--table-only", "--set", "modes=[greedy]"]
    done = CliRunner().invoke(cli.app, ["compare", str(path), "--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("wins") == 2 and done.stdout.count("payoff") == 2, "means, and differences"
    report = unpacked(write_report(tmp_path / "out").read_text())
    table = next(block for block in report["sections"][0]["blocks"] if block["title"] == "Scores")
    assert table["columns"][-2:] == ["wins", "payoff"]


def test_games_of_one_team_have_no_columns_of_duels(unbroken: Path) -> None:
    assert not {"team", "payoff", "won"} & rows_of(unbroken)[0].keys()
    view = json.loads((unbroken / SUMMARY).read_text())["views"][0]
    assert not {"payoff", "won"} & view["arms"]["random"]["metrics"].keys()
    assert not any({"payoff", "won"} & (arm["against"] or {}).keys() for arm in view["arms"].values())


# ---- language models ------------------------------------------------------------------------------------------------


def test_a_language_model_is_trained_played_as_it_began_and_judged_in_both_modes(tiny: Path, tmp_path: Path) -> None:
    make_tiny(0, width=32, layers=1, inner=32).save(tmp_path / "backbone")
    knobs = {
        "backbone": str(tmp_path / "backbone"), "steps": 2, "questions": 2, "plans": 2, "executions": 2, "minibatches": 2,
        "epochs": 1, "eval_every": 2, "eval_episodes": 4, "checkpoint_every": 1, "slots": 16, "learning_rate": 0.01,
    }  # fmt: skip
    alone = {"loss_weights": {"default": 1.0}, "kl": {"default": {"start": 0.0}}}
    game = {"workflows": [["R", "AG"]], "reward.outcome": "em"}
    arms = {
        "began": {"policy": "jade_joint", "train": False},
        "short": {"policy": "jade_joint", "overrides": alone, "scenario_overrides": game},
    }
    outcome = run_study(tiny, tmp_path / "out", arms=arms, budget=knobs, seeds=[0], questions=6)
    assert not outcome.failed
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 2 * 2 * 6
    assert {row["workflow"] for row in rows if row["arm"] == "short"} == {"R,AG"}
    assert {row["mode"] for row in rows} == {"greedy", "sampled"}
    assert not (tmp_path / "out/runs/world/began/0/training").exists()
    summary = json.loads((tmp_path / "out" / SUMMARY).read_text())
    assert [(curve["arm"], curve["unit"]) for curve in summary["curves"]] == [("short", "steps")]


def test_an_arm_has_a_warm_start_of_its_own_once_for_all_its_seeds(tmp_path: Path) -> None:
    world = {"data.passages": 300, "data.train": 60, "data.dev": 4, "data.test": 6}
    solver = {"team": ["solver"], "workflows": [["SOLVE"]], "limits.max_rounds": 2}
    few = {"steps": 2, "practice": 0, "batch_size": 8, "chapter": 8, "eval_episodes": 4, "checkpoint_every": 1}
    plan = {
        "name": "alone",
        "summary": "a lone solver",
        "scenarios": [{"scenario": "small_world", "overrides": world}],
        "arms": {
            "monolithic": {
                "policy": "jade_joint",
                "warm_start": {"policy": "jade_tiny", "overrides": few},
                "scenario_overrides": solver,
                "overrides": {"questions": 2, "plans": 1, "executions": 2, "loss_weights": {"default": 1.0}, "kl": {}},
            }
        },
        "seeds": [0, 1],
        "budget": {"steps": 1, "eval_episodes": 2},
    }
    path, out = tmp_path / "alone.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(plan))
    said: list[str] = []
    compare(load_study(path), out, say=said.append)
    warm = out / "warm_starts" / "small_world" / "monolithic" / "training"
    assert sum("warm start of 2 steps" in sentence for sentence in said) == 1
    for seed in (0, 1):
        run = out / "runs" / "small_world" / "monolithic" / str(seed)
        recipe = json.loads((run / "training" / "config.json").read_text())["recipe"]
        assert recipe["backbone"] == str(warm / "backbone")
        assert json.loads((run / "plan.json").read_text())["warm_start"]["steps"] == 2
    assert {row["arm"] for row in map(json.loads, (out / "runs/small_world/monolithic/0/rows.jsonl").open())} == {
        "monolithic"
    }

    mute = load_study(path, {"arms.mute": {**plan["arms"]["monolithic"], "warm_start": None}, "seeds": [0]})
    told: list[str] = []
    compare(mute, tmp_path / "mute", processes=2, say=told.append)
    assert any(sentence.startswith("small_world/mute/0: solver has to write <search>") for sentence in told)

    first, second = runs_of(load_study(path))
    assert _next([second], [first], tmp_path / "new") is None  # it would only wait for the other's warm start
    assert _next([second], [first], out) is second and _next([second], [], tmp_path / "new") is second

    with pytest.raises(ConfigError, match="arms.monolithic: warm_start: jade_joint is no warm start"):
        compare(load_study(path, {"arms.monolithic.warm_start": "jade_joint"}), out)
    with pytest.raises(ConfigError, match="warm_start: only a recipe of a language model has one"):
        compare(load_study(path, {"arms.monolithic.policy": "random", "arms.monolithic.overrides": {}}), out)


def test_arms_that_would_be_asked_other_questions_are_refused_before_anything_runs(tiny: Path, tmp_path: Path) -> None:
    for changed in ({"data.seed": 7}, {"data.test": 5}):
        arms = {"other": {"policy": "random", "scenario_overrides": changed}, "plain": {"policy": "random"}}
        for order in (arms, dict(reversed(arms.items()))):
            with pytest.raises(ConfigError, match="it would be asked other questions of the split 'test' than"):
                run_study(tiny, tmp_path / "out", arms=order, baseline="plain", questions=None)
    assert not (tmp_path / "out").exists()


def test_a_study_does_not_go_on_over_other_data(tmp_path: Path) -> None:
    for place, seed in (("a", 1), ("b", 2)):
        folder = tmp_path / place / "hotpotqa"
        folder.mkdir(parents=True)
        world = make_world(WorldSpec(seed=seed, passages=200), "train", 12)
        write_corpus(folder / "corpus.jsonl", world.documents)
        for split in ("train", "dev", "test"):
            write_questions(folder / f"{split}.jsonl", world.questions)
    tree = {
        "name": "mine",
        "summary": "x",
        "scenarios": ["hotpotqa"],
        "arms": {"a": {"policy": "random"}},
        "seeds": [0],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tree))
    study = load_study(tmp_path / "mine.yaml")
    train = (tmp_path / "a" / "hotpotqa" / "train.jsonl").rename(tmp_path / "train.jsonl")
    compare(study, tmp_path / "out", data=tmp_path / "a")
    train.rename(tmp_path / "a" / "hotpotqa" / "train.jsonl")
    longer = load_study(tmp_path / "mine.yaml", {"seeds": [0, 1]})
    compare(longer, tmp_path / "out", data=tmp_path / "a")  # what was not there cannot have been read
    longer = load_study(tmp_path / "mine.yaml", {"seeds": [0, 1, 2]})
    with pytest.raises(
        ConfigError, match=r"plan.json: (corpus|train|dev|test)\.jsonl has changed since the run was begun"
    ):
        compare(longer, tmp_path / "out", data=tmp_path / "b")
    assert compare(longer, tmp_path / "out", data=tmp_path / "a").runs == 3


def test_looking_at_a_study_writes_nothing_and_refuses_what_is_another(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not run_study(tiny, out, modes=["greedy"]).failed
    before = {path: path.read_bytes() for path in out.rglob("*.json*")}
    looks = ["compare", str(tiny), "--out", str(out), "--table-only", "--set", "modes=[greedy]"]
    assert CliRunner().invoke(cli.app, [*looks, "--seeds", "1"]).exit_code == 0
    assert {path: path.read_bytes() for path in out.rglob("*.json*")} == before
    changed = CliRunner().invoke(cli.app, [*looks, "--set", "arms.random.policy=idle"])
    assert changed.exit_code == 2 and "the run was begun with 'random'" in changed.stderr
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "results.jsonl").write_text('{"mine": 1}\n')
    refused = CliRunner().invoke(cli.app, ["compare", "paradigms", "--out", str(foreign), "--table-only"])
    assert refused.exit_code == 2 and "no study was begun in this folder" in refused.stderr
    assert [path.name for path in foreign.iterdir()] == ["results.jsonl"]


def test_a_run_folder_that_has_been_trained_anew_is_another_player(tmp_path: Path) -> None:
    weights = tmp_path / "earlier" / "checkpoints" / "000000001" / "policy.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"one" * 100)
    study = load_study("paper_ablation")
    (run, *_) = runs_of(study)
    told = [_held(study, replace(run, player=str(tmp_path / "earlier")), None)["holds"]]
    weights.write_bytes(b"two" * 100)
    told += [_held(study, replace(run, player=f"planner={tmp_path / 'earlier'},default=random"), None)["holds"]]
    assert [list(each) for each in told] == [[str(tmp_path / "earlier")]] * 2 and told[0] != told[1]
    assert not _held(study, run, None)


def test_the_rows_of_a_study_have_what_each_agent_received_where_that_differs(tmp_path: Path) -> None:
    world = {"data.passages": 300, "data.train": 60, "data.dev": 4, "data.test": 6}
    plan = {
        "name": "paid",
        "summary": "who receives what",
        "scenarios": [{"scenario": name, "overrides": world} for name in ("private_costs", "cooperative")],
        "arms": {"random": {"policy": "random"}},
        "seeds": [0],
    }
    (tmp_path / "paid.yaml").write_text(yaml.safe_dump(plan))
    run_study(tmp_path / "paid.yaml", tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert all(("payoffs" in row) == (row["scenario"] == "private_costs") for row in rows)
    apart = next(row["payoffs"] for row in rows if len(set(row.get("payoffs", {}).values())) > 1)
    assert {"planner", "answer_generator"} <= set(apart)
