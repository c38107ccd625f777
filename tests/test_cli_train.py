"""`jade train` and `jade warm-start`: which teams a recipe serves, and what a run is gone on with."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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


KNOBS = ("total_timesteps=128", "n_envs=4", "n_steps=32", "batch_size=64", "eval_episodes=5", "threads=1")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scenario with a card of its own in a folder beside it, and a run of it, trained from that folder."""
    place = tmp_path / "place"
    (place / "cards").mkdir(parents=True)
    (place / "cards" / "reader.yaml").write_text(jade("show", "answer_generator").stdout)
    shown = jade("show", "cooperative", *SMALL).stdout
    (place / "mine.yaml").write_text(
        shown.replace("answer_generator,", "cards/reader.yaml,").replace("name: cooperative", "name: mine")
    )
    monkeypatch.chdir(place)
    trained = jade("train", "mine.yaml", "--policy", "sb3_shared", "--out", "run", *KNOBS)
    assert trained.exit_code == 0, trained.stderr
    return place


def test_a_run_holds_the_cards_that_it_was_trained_with(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads(jade("eval", "run", "--episodes", "3", "--json").stdout)["metrics"]
    card = own / "cards" / "reader.yaml"
    card.write_text(card.read_text().replace("max_tokens: ", "max_tokens: 1"))
    longer = jade("train", "mine.yaml", "--policy", "sb3_shared", "--out", "run", "--resume", "total_timesteps=256")
    assert (
        longer.exit_code == 0 and "not as mine.yaml has it: team=" in longer.stdout
    )  # the file's card is another one now
    card.unlink()
    monkeypatch.chdir(own.parent)
    again = jade("eval", "place/run", "--episodes", "3", "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["metrics"].keys() == before.keys()
    (noted,) = [
        c for c in json.loads((own / "run" / "config.json").read_text())["scenario"]["team"] if isinstance(c, dict)
    ]
    assert noted["name"] == "answer_generator" and noted["max_tokens"] < 1000


def test_a_resumed_run_says_where_its_files_say_otherwise(own: Path) -> None:
    file = own / "mine.yaml"
    file.write_text(file.read_text().replace("top_k: 3", "top_k: 2"))
    resumed = jade("train", "mine.yaml", "--policy", "sb3_shared", "--out", "run", "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    game, recipe = resumed.stdout.splitlines()[:2]
    assert game == "goes on as it was begun, not as mine.yaml has it: retriever.top_k=3 (2)"
    assert recipe.startswith(
        "goes on as it was begun, not as sb3_shared has it: total_timesteps=128 (550000), n_envs=4"
    )
    assert "nothing was left to do: raise total_timesteps to go on" in resumed.stdout
    more = jade("train", "mine.yaml", "--policy", "sb3_shared", "--out", "run", "--resume", "total_timesteps=256")
    assert more.exit_code == 0 and "nothing was left" not in more.stdout and "total_timesteps" not in more.stdout


def test_two_processes_do_not_train_one_run(own: Path) -> None:
    code = (
        "import pathlib, sys; from jade_env.learning.run_folder import _taken; "
        "held = _taken(pathlib.Path('run')); print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin and other.stdout and other.stdout.readline() == "held\n"
    words = ("train", "mine.yaml", "--policy", "sb3_shared", "--out", "run", "--resume", "total_timesteps=256")
    refused = jade(*words)
    assert refused.exit_code == 2 and "run: another process is at work on this run" in refused.stderr
    other.kill()
    other.communicate()
    assert jade(*words).exit_code == 0  # whoever is killed leaves it free


def test_a_run_of_which_no_step_is_done_may_be_removed(tmp_path: Path) -> None:
    run = ("train", "cooperative", "--policy", "sb3_shared", "--out", str(tmp_path / "run"), *SMALL, *KNOBS)
    assert jade(*run).exit_code == 0
    assert "may be removed" not in jade(*run).stderr
    for saved in (tmp_path / "run" / "checkpoints").iterdir():
        if saved.name.isdigit() and int(saved.name):
            shutil.rmtree(saved)
    assert "no step of it is done: it may be removed" in jade(*run).stderr
