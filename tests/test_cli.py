from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from jade_env import cli
from jade_env.config import names
from jade_env.scenario import load_scenario

SMALL = ("data.passages=300", "data.train=20", "data.dev=20")
RUNNER = CliRunner()


def jade(*words: str, stdin: str | None = None) -> Result:
    return RUNNER.invoke(cli.app, list(words), input=stdin)


def jade_process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jade_env.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    heavy = ("torch", "scipy", "rich.console", "matplotlib", "stable_baselines3", "sklearn", "transformers", "peft")
    code = f"import sys, jade_env.cli; print([name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_version() -> None:
    result = jade("--version")
    assert (result.exit_code, result.stdout) == (0, "jade-env 0.1.0\n")


@pytest.mark.parametrize("kind", ["scenarios", "agents", "policies", "studies"])
def test_listings_have_one_line_for_each_shipped_file(kind: str) -> None:
    result = jade(kind)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == names(kind)  # type: ignore[arg-type]
    assert all(len(line.split()) > 3 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", ["show", "train", "eval", "play", "check", "data convert", "data world"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = jade(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: jade {command}" in result.stdout


@pytest.mark.parametrize("name", [*names("scenarios"), *names("agents"), *names("policies")])
def test_what_show_prints_can_be_saved_and_shown_again(name: str, tmp_path: Path) -> None:
    first = jade("show", name)
    assert first.exit_code == 0
    copy = tmp_path / "copy.yaml"
    copy.write_text(first.stdout, encoding="utf-8")
    assert jade("show", str(copy)).stdout == first.stdout


@pytest.mark.parametrize("kind", ["scenarios", "agents", "policies", "studies"])
def test_explained_files_are_the_same_files_with_a_comment_on_every_key_but_the_plainest(kind: str) -> None:
    plain, commented = {"name", "learner", "source", "kind"}, 0
    for name in names(kind):
        words = ("show", name, "--kind", kind)
        lines = jade(*words, "--explain").stdout.splitlines()
        assert yaml.safe_load("\n".join(lines)) == yaml.safe_load(jade(*words).stdout), name
        top = [i for i, line in enumerate(lines) if line[:1].isalpha() and line.partition(":")[0] not in plain]
        bare = [lines[i] for i in top if not lines[i - 1].lstrip().startswith("# ")]
        assert not bare, (name, bare)
        commented += len(top)
    assert commented > 40
    assert (
        "# How the reward is shared out over the turns. One of episode_gae,"
        in jade("show", "jade_joint", "--explain").stdout
    )


def test_show_applies_overrides() -> None:
    shown = yaml.safe_load(jade("show", "cooperative", "reward.round_cost=0.125").stdout)
    assert shown["reward"]["round_cost"] == 0.125
    assert yaml.safe_load(jade("show", "sb3_shared", "gamma=0.5").stdout)["gamma"] == 0.5


def test_a_name_of_two_kinds_needs_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jade_env.show.names", lambda kind: ["twin"] if kind in ("scenarios", "policies") else [])
    result = jade("show", "twin")
    assert result.exit_code == 2
    assert "'twin' is found in scenarios and policies: say which with --kind scenarios" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("show coperative", "there is no scenario, agent, policy or study 'coperative'"),
        ("show coperative", "did you mean 'cooperative'?"),
        ("show nowhere/x.yaml", "nowhere/x.yaml: no such file"),
        ("show cooperative reward.round_cots=1", "reward.round_cots: unknown key; did you mean 'round_cost'?"),
        ("show cooperative reward.round_cost", "expected KEY=VALUE"),
        ("show planner max_tokens=3", "changed in a file of its own"),
        ("train cooperativ", "there is no scenario 'cooperativ'; did you mean 'cooperative'?"),
        ("train cooperative --policy sb3_share", "did you mean 'sb3_shared'?"),
        ("train cooperative --policy random", "is scripted and does not learn: try jade eval random cooperative"),
        ("train cooperative total_timestep=5", "neither a scenario nor a recipe has it; did you mean"),
        ("train cooperative name=x", "write scenario.name or recipe.name"),
        ("train cooperative learning_rate=fast", "learning_rate: input should be a valid number"),
        ("eval rando cooperative", "there is no policy 'rando'; did you mean 'random'?"),
        ("eval sb3_shared cooperative", "jade train SCENARIO --policy sb3_shared --out RUN"),
        ("eval random cooperative --episodes 21", "episodes: 21 is not between 1 and 20"),
        ("eval random hotpotqa", "say where the data is with --data DIR"),
        ("eval random hotpotqa --data nowhere", "no folder hotpotqa in the data location nowhere"),
        ("play cooperative --policy random --as planer", "--as: 'planer' has no turns"),
        ("play cooperative --policy random --question dev_99", "split 'dev' has no question 'dev_99'"),
        ("data convert hotpotqa dev --out x", "expected SPLIT=FILE"),
        ("data convert hotpotqa dev=a dev=b --out x", "the split dev is given twice"),
    ],
)
def test_a_mistake_is_one_clear_line_and_exit_code_2(
    words: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JADE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    small = SMALL if words.split()[0] in ("eval", "play") and "hotpotqa" not in words else ()
    result = jade(*words.split(), *small)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert all(line.startswith("jade: ") for line in result.stderr.splitlines())
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_typo_in_a_users_file_is_named_with_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(jade("show", "cooperative").stdout.replace("top_k:", "topk:"))
    result = jade("check", str(file))
    assert result.exit_code == 1
    assert f"{file}: retriever.topk: unknown key; did you mean 'top_k'?" in result.stdout


def test_a_file_of_another_kind_is_told_by_its_keys_in_one_line(tmp_path: Path) -> None:
    for name, words in (("scenario", ("cooperative",)), ("policy", ("jade_joint",)), ("study", ("rewards",))):
        (tmp_path / f"{name}.yaml").write_text(jade("show", *words).stdout)
    file = {name: str(tmp_path / f"{name}.yaml") for name in ("scenario", "policy", "study")}
    for words, key, kinds in (
        (("train", "cooperative", "--policy", file["scenario"]), "data", ("scenarios", "policies")),
        (("check", file["policy"]), "learner", ("policies", "scenarios")),
        (("compare", file["scenario"]), "data", ("scenarios", "studies")),
        (("play", file["study"]), "arms", ("studies", "scenarios")),
    ):
        result = jade(*words)
        said = result.stderr or result.stdout
        assert result.exit_code and f"'{key}' is a key of {kinds[0]}, and a file of {kinds[1]} is wanted here" in said
        assert "unknown key" not in said


def test_the_allowed_keys_are_listed_once() -> None:
    lines = jade("show", "cooperative", "qqq=1", "zzz=1", "reward.qqq=1", "reward.zzz=1").stderr.splitlines()
    assert sorted("allowed: " in line for line in lines) == [False, False, True, True]
    assert all(line.endswith("unknown key") for line in lines if "allowed: " not in line)


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: x\nteam: [planner\n")
    result = jade("eval", "random", str(file))
    assert result.exit_code == 2
    assert f"jade: {file}:3: not valid YAML" in result.stderr


def test_data_world_writes_files_that_can_be_played_and_replaces_none(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    words = ("data", "world", "--out", str(folder), "--passages", "200", "--questions", "10", "--split", "dev")
    assert jade(*words).stdout.startswith("200 passages in ")
    assert sorted(path.name for path in folder.iterdir()) == ["corpus.jsonl", "dev.jsonl"]
    before = (folder / "corpus.jsonl").read_bytes()
    refused = jade(*words, "--seed", "1")
    assert refused.exit_code == 2 and "is there already: --force replaces it" in refused.stderr
    assert (folder / "corpus.jsonl").read_bytes() == before
    assert jade(*words, "--seed", "1", "--force").exit_code == 0
    assert (folder / "corpus.jsonl").read_bytes() != before
    played = jade("eval", "random", "hotpotqa", f"data.folder={folder}", "--json")
    assert json.loads(played.stdout)["episodes"] == 10


def test_data_convert_writes_what_the_scenarios_read(tmp_path: Path) -> None:
    record = {
        "_id": "a",
        "question": "Where is X?",
        "answer": "Oslo",
        "type": "bridge",
        "level": "easy",
        "supporting_facts": [["X", 0]],
        "context": [["X", ["X is in Oslo."]], ["Y", ["Y is in Rome."]]],
    }
    official, out = tmp_path / "official.json", tmp_path / "out"
    official.write_text(json.dumps([record]))
    result = jade("data", "convert", "hotpotqa", f"dev={official}", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert "2 passages in" in result.stdout and "1 questions in" in result.stdout
    assert jade("eval", "random", "hotpotqa", f"data.folder={out}", "--json").exit_code == 0


def test_check_reports_and_says_by_its_exit_code_whether_all_is_well() -> None:
    good = jade("check", "cooperative", *SMALL)
    assert (good.exit_code, good.stdout.splitlines()[0]) == (0, "cooperative: ok")


# ---- as a process ---------------------------------------------------------------------------------------------------


def test_a_mistake_in_a_process_is_one_line_without_a_traceback() -> None:
    done = jade_process("eval", "random", "nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("jade: there is no scenario 'nothing'") and done.stderr.count("\n") == 1


def test_wrong_usage_is_exit_code_2_and_success_is_0() -> None:
    assert jade_process("eval").returncode == 2
    assert jade_process("scenarios").returncode == 0


def test_ctrl_c_stops_with_exit_code_130_and_no_traceback() -> None:
    words = ("play", "cooperative", "--policy", "random", *SMALL)
    process = subprocess.Popen(
        [sys.executable, "-m", "jade_env.cli", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdin
    assert any("reads" in line for line in process.stdout)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip() == "jade: stopped"


def test_a_reader_that_closes_the_pipe_causes_no_noise() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "jade_env.cli", "show", "cooperative"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode in (1, 141)


def test_an_output_that_is_closed_or_full_is_no_traceback() -> None:
    listing = [sys.executable, "-m", "jade_env.cli", "scenarios"]
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *listing], stderr=subprocess.PIPE, text=True)
    assert (closed.returncode, closed.stderr) == (0, "")
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(listing, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and done.stderr.startswith("jade: cannot write: ")


def test_shown_scenarios_load_as_the_same_scenario(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(jade("show", "deep").stdout)
    assert load_scenario(file) == load_scenario("deep")


# ---- train ----------------------------------------------------------------------------------------------------------

TINY = ("total_timesteps=256", "n_envs=4", "n_steps=32", "batch_size=64", "eval_episodes=5", "threads=1")


def test_train_leaves_a_run_that_eval_and_play_take_and_train_will_not_overwrite(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    run = tmp_path / "a run"
    words = ("train", "cooperative", "--out", str(run), "--seed", "1", *TINY, *SMALL, "reward.round_cost=0.3")
    trained = jade(*words)
    assert trained.exit_code == 0, trained.output
    assert trained.stdout.startswith("256 turns in ")
    last = trained.stdout.splitlines()[-1]
    assert last == f"next: jade eval '{run}'"
    evaluated = jade("eval", str(run), "cooperative", "--json", *SMALL, "reward.round_cost=0.3")
    assert json.loads(evaluated.stdout)["policy"] == str(run)
    assert json.loads(evaluated.stdout)["checkpoints"] == {str(run): 256}
    assert f"who played: {run}, its best checkpoint, 256" in jade("eval", str(run), "data.dev=7").stdout
    assert jade("eval", str(run), "--json").stdout == evaluated.stdout  # the game that it was trained in
    mixed = jade("eval", f"planner={run},default=random", "cooperative", "--episodes", "5", *SMALL).stdout
    assert f"who played: {run}, its best checkpoint, 256" in mixed
    assert json.loads(jade("eval", str(run), "data.dev=7", "--json").stdout)["episodes"] == 7
    assert jade("play", "cooperative", "--policy", str(run), *SMALL, stdin="\n" * 80).exit_code == 0
    refused = jade(*words)
    assert refused.exit_code == 2
    assert "is not empty: go on with its run by --resume, or choose another --out" in refused.stderr
    longer = jade(*words, "total_timesteps=384", "--resume")
    assert longer.exit_code == 0 and longer.stdout.startswith("384 turns in ")


def test_ctrl_c_during_training_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    run = tmp_path / "run"
    words = ("train", "cooperative", "--out", str(run), "total_timesteps=1000000", *TINY[1:], *SMALL)
    process = subprocess.Popen(
        [sys.executable, "-m", "jade_env.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    metrics, deadline = run / "metrics.jsonl", time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.startswith("jade: stopped after ") and "--resume" in errors and errors.count("\n") == 1
    done = int(errors.split()[3])
    resumed = jade(*words, f"total_timesteps={done + 128}", "--resume")
    assert resumed.exit_code == 0 and resumed.stdout.startswith(f"{done + 128} turns in ")


# ---- language models -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["jade_joint", "planner_only", "static_joint", "qwen2.5-7b", "qwen2.5-7b-lora"])
def test_a_dry_run_prints_a_memory_plan_and_what_to_lower_and_leaves_nothing(recipe: str, tmp_path: Path) -> None:
    result = jade("train", "cooperative", "--policy", recipe, "--dry-run", "--out", str(tmp_path / "run"), *SMALL)
    assert result.exit_code == 0, result.output
    assert "key-value cache" in result.stdout and "to need less" in result.stdout
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_a_7b_model_counts_its_parameters_and_adapters() -> None:
    whole = jade("train", "cooperative", "--policy", "qwen2.5-7b", "--dry-run", *SMALL).stdout
    lora = jade("train", "cooperative", "--policy", "qwen2.5-7b-lora", "--dry-run", *SMALL).stdout
    assert "7615.6 M parameters, 7615.6 M learn" in whole and "7615.6 M parameters, 80.7 M learn" in lora


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("eval", "heuristic"),
            "which scenario? only the folder of a run has its own: try jade eval heuristic cooperative",
        ),
        (("eval", "heuristic", "reward.round_cost=0"), "which scenario?"),
        (("eval", "runs/nope"), "there is no run folder runs/nope"),
        (("eval", "random", "cooperative", "--rows", "no/such/rows.jsonl"), "--rows: no/such/rows.jsonl is no file in"),
        (("eval", "random", "cooperative", "--split", "Dev"), "did you mean 'dev'?"),
        (
            ("eval", "random", "cooperative", "data.folder=x"),
            "data.folder: unknown key: it goes with data.source: files",
        ),
        (("train", "cooperative", "seed=3"), "the seed is an option: --seed N"),
        (("warm-start", "small_world", "--policy", "jade_joint"), "no warm start (learner: sft): try jade train"),
        (("train", "small_world", "--policy", "jade_tiny"), "is a warm start: jade warm-start small_world"),
        (("warm-start", "small_world", "stepps=3"), "did you mean 'steps'"),
        (("train", "small_world", "--policy", "jade_joint", "backbone=./nowhere"), "there is no folder ./nowhere"),
        (("train", "small_world", "--policy", "jade_joint", "device=cuda:9"), "device: 'cuda:9' cannot be used here"),
        (("train", "small_world", "--policy", "jade_joint", "train=[planer]"), "did you mean 'planner'"),
        (("eval", "jade_joint", "small_world"), "has learned nothing yet"),
    ],
)
def test_a_mistake_with_a_language_model_is_one_clear_line(
    words: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = jade(*words)
    assert result.exit_code == 2 and says in result.output and "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("eval", "heuristic", "cooperative", "--split", "tets"),
            "the world has no split 'tets'; did you mean 'test'?",
        ),
        (("data", "world", "--out", "DIR", "--split", "corpus"), "'corpus' cannot name a split"),
        (("show", "cooperative", "round_cost=0.1"), "round_cost: unknown key; did you mean 'reward.round_cost'?"),
        (("show", "cooperative", "zzz=1"), "zzz: unknown key; allowed: name, summary"),
        (("compare", "zzz"), "there is no study 'zzz'; shipped: adversaries"),
        (("show", "cooperative", "workflows=[]"), "workflows: give at least 1"),
        (("serve", "cooperative", "--split", "devv"), "no split 'devv'; did you mean 'dev'?"),
        (
            ("train", "small_world", "--policy", "jade_joint", "--dry-run", "constrained=[answer_generator]"),
            "constrained: answer_generator may write any text; only planners and document_selector are held",
        ),
    ],
)
def test_near_misses_are_named(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = jade(*(str(tmp_path) if word == "DIR" else word for word in words))
    assert result.exit_code == 2 and message in result.stderr


def test_each_world_has_a_folder_of_its_own(tmp_path: Path) -> None:
    world = ("data", "world", "--out", str(tmp_path), "--passages", "200", "--questions", "5")
    assert jade(*world).exit_code == 0
    before = (tmp_path / "corpus.jsonl").read_bytes()
    result = jade(*world, "--split", "dev", "--force")
    assert result.exit_code == 2 and "has train.jsonl, of another world" in result.stderr
    assert (tmp_path / "corpus.jsonl").read_bytes() == before and jade(*world, "--force").exit_code == 0


def test_a_conversion_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text('[{"_id": "a", "question": "who?"}]')
    result = jade("data", "convert", "hotpotqa", f"dev={tmp_path / 'dev.json'}", "--out", str(tmp_path / "a" / "b"))
    assert result.exit_code == 2 and not (tmp_path / "a" / "b").exists()
    near = jade("data", "convert", "hotpot", f"dev={tmp_path / 'dev.json'}", "--out", str(tmp_path / "c"))
    assert near.exit_code == 2 and "did you mean 'hotpotqa'?" in near.stderr
