"""`jade train` and `jade warm-start`: which teams a recipe serves, and what a run is gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jade_env import cli

SMALL = ("data.passages=300", "data.train=20", "data.dev=20")


def jade(*words: str) -> Result:
    return CliRunner().invoke(cli.app, list(words))


def test_what_cannot_learn_together_leaves_no_folder_behind(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = jade("train", "private_costs", "--policy", "sb3_shared", "--out", str(run), *SMALL)
    assert result.exit_code == 2 and "one agent learns at a time" in result.stderr and not run.exists()


@pytest.mark.parametrize("recipe", ["jade_joint", "static_joint", "executors_only", "frozen"])
@pytest.mark.parametrize("game", ["static", "vanilla_rag"])
def test_recipes_of_a_whole_team_serve_teams_without_a_planner(recipe: str, game: str) -> None:
    result = jade("train", game, "--policy", recipe, "--dry-run", *SMALL)
    assert result.exit_code == 0, result.stderr
    assert "answer_generator" in result.stdout


def test_nobody_left_to_learn_and_misspelt_roles_are_refused() -> None:
    alone = jade("train", "vanilla_rag", "--policy", "planner_only", "--dry-run", *SMALL)
    assert alone.exit_code == 2 and "train: 'planner' is not in the team: answer_generator" in alone.stderr
    misspelt = jade("train", "static", "--policy", "jade_joint", "--dry-run", "kl.planer.start=1", *SMALL)
    assert misspelt.exit_code == 2 and "'planer' is not in the team" in misspelt.stderr


def test_resume_takes_everything_from_the_run_but_its_length(tmp_path: Path) -> None:
    run, warm = tmp_path / "run", tmp_path / "warm"
    small = ("data.passages=200", "data.train=20", "data.dev=8")
    first = (
        "warm-start",
        "small_world",
        "--out",
        str(warm),
        *small,
        "steps=1",
        "practice=1",
        "chapter=8",
        "batch_size=4",
    )
    taught = jade(*first, "eval_every=1", "eval_episodes=2")
    assert taught.exit_code == 0, taught.stderr
    assert (
        f"next: jade train small_world --policy jade_joint data.passages=200 data.train=20 data.dev=8 backbone={warm}"
        in (taught.stdout.replace("'", ""))
    )
    again = jade("warm-start", "small_world", "--out", str(warm), "--resume", "steps=2")
    assert again.exit_code == 0, again.stderr
    assert again.stdout.splitlines()[-1] == taught.stdout.splitlines()[-1]  # the game it was begun with
    knobs = (
        "steps=1",
        "questions=2",
        "plans=2",
        "executions=1",
        "eval_episodes=2",
        "slots=8",
        f"backbone={warm}/backbone",
    )
    train = ("train", "small_world", "--out", str(run))
    assert jade(*train, "--policy", "jade_joint", "--seed", "3", *small, *knobs).exit_code == 0
    longer = jade(*train, "--resume", "steps=2")
    assert longer.exit_code == 0, longer.stderr
    config = json.loads((run / "config.json").read_text())
    assert (config["seed"], config["recipe"]["steps"], config["scenario"]["data"]["passages"]) == (3, 2, 200)
    for words, message in (
        (("steps=1",), "2 are done already"),
        (("steps=3", "questions=4"), "recipe.questions: the run was begun with 2"),
        (("--policy", "frozen"), "begun with the recipe jade_joint, and cannot go on with frozen"),
    ):
        result = jade(*train, "--resume", *words)
        assert result.exit_code == 2 and message in result.stderr, result.stderr
    nowhere = jade("train", "small_world", "--policy", "jade_joint", "--seed", "977", "--resume")
    assert nowhere.exit_code == 2 and "small_world-jade_joint-977: there is no run to resume here" in nowhere.stderr
    other = jade("train", "cooperative", "--out", str(run), "--resume")
    assert other.exit_code == 2 and "begun with the scenario small_world" in other.stderr


def test_a_run_does_not_go_on_over_other_questions_or_another_corpus(tmp_path: Path) -> None:
    made, folder, run = tmp_path / "made", tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    for seed in ("0", "1"):
        words = ("data", "world", "--passages", "200", "--questions", "40", "--split", "train", "--seed", seed)
        assert jade(*words, "--out", str(made / seed)).exit_code == 0
    shutil.copy(made / "0" / "corpus.jsonl", folder / "corpus.jsonl")
    for split in ("train", "dev"):
        shutil.copy(made / "0" / "train.jsonl", folder / f"{split}.jsonl")
    knobs = ("n_envs=4", "n_steps=32", "batch_size=64", "eval_episodes=5", "threads=1", f"data.folder={folder}")
    train = ("train", "hotpotqa", "--policy", "sb3_shared", "--out", str(run))
    assert jade(*train, *knobs, "total_timesteps=256").exit_code == 0
    config = json.loads((run / "config.json").read_text())
    assert config["data"] == str(Path.cwd()) and config["files"].keys() == {"corpus", "train", "dev"}
    (folder / "test.jsonl").write_text("")  # which training does not read
    assert jade(*train, "--resume", "total_timesteps=384").exit_code == 0
    for name in ("train.jsonl", "corpus.jsonl"):
        before = (folder / name).read_bytes()
        shutil.copy(made / "1" / name, folder / name)
        refused = jade(*train, "--resume", "total_timesteps=512")
        assert refused.exit_code == 2
        assert f"{name} has changed since the run was begun: begin a new run" in refused.stderr
        judged = jade("eval", str(run), "--episodes", "3")
        assert judged.exit_code == 0 and f"warning: {name} is not the one that {run} was trained with" in judged.stderr
        (folder / name).write_bytes(before)
    (folder / "dev.jsonl").unlink()
    missing = jade("train", "hotpotqa", "--policy", "sb3_shared", "--dry-run", f"data.folder={folder}")
    assert missing.exit_code == 2 and "no split 'dev'" in missing.stderr


def test_a_run_knows_where_its_data_lies_wherever_it_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("data", "world", "--out", str(tmp_path / "place" / "hotpotqa"), "--passages", "200", "--questions", "30")
    assert jade(*words, "--split", "train").exit_code == 0
    shutil.copy(tmp_path / "place" / "hotpotqa" / "train.jsonl", tmp_path / "place" / "hotpotqa" / "dev.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JADE_DATA", "place")
    knobs = ("total_timesteps=128", "n_envs=4", "n_steps=32", "batch_size=64", "eval_episodes=5", "threads=1")
    assert jade("train", "hotpotqa", "--policy", "sb3_shared", "--out", "run", *knobs).exit_code == 0
    monkeypatch.delenv("JADE_DATA")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert jade("eval", "../run", "--episodes", "3").exit_code == 0
