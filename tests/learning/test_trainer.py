"""A run from its first checkpoint to its last, stopped in every way it can be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

import jade_env
from jade_env.errors import ConfigError, DataError, JadeError
from jade_env.learning import checkpoint
from jade_env.learning.evaluation import evaluate
from jade_env.learning.player import load_policy
from jade_env.learning.trainer import RunSummary, train
from jade_env.policy import make_policy
from jade_env.recipe import load_recipe

SMALL = {"data.passages": 300, "data.train": 300, "data.dev": 40}
SCENARIO = jade_env.load_scenario("cooperative", SMALL)
KNOBS = {
    "total_timesteps": 2048, "n_envs": 16, "n_steps": 32, "batch_size": 128, "n_epochs": 2, "network": [16], "threads": 1,
    "eval_every": 1000, "eval_episodes": 16, "checkpoint_every": 512, "learning_rate_end": 0.0,
}  # fmt: skip


def run(out: Path, **changes) -> RunSummary:
    arguments = {key: changes.pop(key) for key in ("resume", "progress", "seed") if key in changes}
    return train(SCENARIO, "sb3_shared", out, overrides=KNOBS | changes, **arguments)


def weights(out: Path) -> tuple[bytes, bytes]:
    last = out / checkpoint.FOLDER / f"{checkpoint.saved_timesteps(out)[-1]:09d}"
    return (last / checkpoint.POLICY).read_bytes(), (last / checkpoint.LEARNER).read_bytes()


def metrics(out: Path) -> list[dict]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in ("seconds", "retrieval")} for record in records]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    run(out)
    return out


# ---- what a run leaves ----------------------------------------------------------------------------------------------


def test_a_run_leaves_its_configuration_metrics_checkpoints_traces_events_picture_and_summary(unbroken: Path):
    config = json.loads((unbroken / "config.json").read_text())
    assert config["recipe"]["total_timesteps"] == 2048 and config["seed"] == 0
    assert config["scenario"]["data"]["passages"] == 300 and "torch" in config["versions"]
    records = metrics(unbroken)
    assert [record["timesteps"] for record in records] == [0, 512, 1024, 1536, 2048]
    assert {
        "net",
        "f1",
        "return",
        "malformed",
        "entropy",
        "kl",
        "clip_fraction",
        "explained_variance",
        "workflows",
    } <= set(records[1])
    assert records[1]["malformed"]["planner"] == 0.0 and sum(records[1]["workflows"].values()) == pytest.approx(1.0)
    assert [record["timesteps"] for record in records if "dev" in record] == [0, 1024, 2048]
    assert (unbroken / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert next((unbroken / "tensorboard").glob("events.*")).stat().st_size > 1000
    traces = json.loads((unbroken / "traces" / "000002048.json").read_text())
    assert traces[0]["turns"][0]["agent"] == "planner" and "golden_answers" in traces[0]
    summary = json.loads((unbroken / "run.json").read_text())
    assert summary["timesteps"] == 2048 and 0 <= summary["dev"]["f1"] <= 1


def test_only_the_last_checkpoints_and_the_best_are_kept(tmp_path: Path):
    run(tmp_path / "run", keep=1)
    best = checkpoint.best_timesteps(tmp_path / "run")
    assert checkpoint.saved_timesteps(tmp_path / "run") == sorted({best, 2048})


def test_checkpoints_hold_no_pickle(unbroken: Path):
    files = [path for path in (unbroken / checkpoint.FOLDER).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json"}


def test_a_short_training_improves_the_net_score(tmp_path: Path):
    knobs = {"total_timesteps": 24_000, "n_envs": 64, "n_steps": 32, "batch_size": 256, "n_epochs": 4, "network": [32]}
    run(tmp_path / "run", **knobs, held_out=0.0, eval_every=24_000, checkpoint_every=24_000, learning_rate=0.003)
    records = [record for record in metrics(tmp_path / "run") if "net" in record]
    first, last = records[0]["net"], sum(record["net"] for record in records[-2:]) / 2
    assert last > first + 0.02


# ---- stopping and going on ------------------------------------------------------------------------------------------


def test_two_runs_of_one_seed_are_identical_and_of_two_seeds_differ(unbroken: Path, tmp_path: Path):
    run(tmp_path / "same")
    run(tmp_path / "other", seed=1, total_timesteps=512)
    assert weights(tmp_path / "same") == weights(unbroken)
    assert metrics(tmp_path / "same") == metrics(unbroken)
    assert metrics(tmp_path / "other")[1] != metrics(unbroken)[1]


def test_ctrl_c_leaves_a_run_that_goes_on_to_identical_weights(unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"

    def interrupt(done: int, total: int) -> None:
        if done > 1200:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after 1024 of 2048 turns.*--resume"):
        run(out, progress=interrupt)
    assert not (out / "run.json").exists()
    assert run(out, resume=True).timesteps == 2048
    assert weights(out) == weights(unbroken)
    assert metrics(out) == metrics(unbroken)


PROGRAM = """
import signal, sys
import jade_env
from jade_env.learning.trainer import train
scenario = jade_env.load_scenario("cooperative", {small!r})
def progress(done, total):
    print(done, flush=True)
try:
    train(scenario, "sb3_shared", sys.argv[1], overrides={knobs!r}, progress=progress)
except KeyboardInterrupt as stopped:
    print(stopped, flush=True)
    sys.exit(130)
"""


def stopped_by(number: signal.Signals, out: Path) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own, and send it a signal in the middle of the third iteration."""
    program = textwrap.dedent(PROGRAM).format(small=SMALL, knobs=KNOBS)
    process = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.strip().isdecimal() and int(line) >= 1100:
            process.send_signal(number)
            break
    rest, _ = process.communicate(timeout=60)
    return subprocess.CompletedProcess([], process.returncode, "".join(lines) + rest)


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_identical_weights(unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert stopped_by(signal.SIGKILL, out).returncode == -signal.SIGKILL
    (out / "metrics.jsonl").open("a").write('{"timesteps": 15')  # the line it was writing
    (out / checkpoint.FOLDER / f"{checkpoint.PARTIAL}000001536").mkdir()  # the checkpoint it was writing
    run(out, resume=True)
    assert weights(out) == weights(unbroken)
    assert metrics(out) == metrics(unbroken)
    assert not list((out / checkpoint.FOLDER).glob(f"{checkpoint.PARTIAL}*"))


def test_sigterm_stops_as_ctrl_c_does(tmp_path: Path):
    stopped = stopped_by(signal.SIGTERM, tmp_path / "run")
    assert stopped.returncode == 130
    assert "stopped after 1024 of 2048 turns" in stopped.stdout
    assert checkpoint.saved_timesteps(tmp_path / "run")[-1] == 1024


def test_a_finished_run_can_be_made_longer(unbroken: Path, tmp_path: Path):
    shutil.copytree(unbroken, tmp_path / "run")
    assert run(tmp_path / "run", resume=True, total_timesteps=3000).timesteps == 3072
    assert [record["timesteps"] for record in metrics(tmp_path / "run")][-1] == 3072


# ---- misuse ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_something_in_it_is_refused_and_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("all I have")
    with pytest.raises(DataError, match="is not empty: go on with its run by --resume"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_there_must_be_a_run_to_resume(tmp_path: Path):
    with pytest.raises(DataError, match="no run to resume"):
        run(tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()


def test_a_run_is_resumed_with_the_recipe_seed_and_scenario_it_began_with(unbroken: Path):
    with pytest.raises(ConfigError, match=r"recipe\.gamma: the run was begun with 1\.0 and cannot go on with 0\.9"):
        run(unbroken, resume=True, gamma=0.9)
    with pytest.raises(ConfigError, match="seed: the run was begun with 0"):
        run(unbroken, resume=True, seed=4)
    other = jade_env.load_scenario("cooperative", SMALL | {"reward.round_cost": 0.5})
    with pytest.raises(ConfigError, match=r"scenario\.reward\.round_cost"):
        train(other, "sb3_shared", unbroken, overrides=KNOBS, resume=True)
    assert (unbroken / "run.json").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence():
    with pytest.raises(DataError, match="cannot be written"):
        run(Path("/proc/jade-run"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path: Path):
    program = """
        import resource, signal, sys
        from jade_env.errors import DataError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import jade_env
        from jade_env.learning.trainer import train
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))  # larger files are cut, as a full disk cuts them
        try:
            train(jade_env.load_scenario("cooperative", {small!r}), "sb3_shared", sys.argv[1], overrides={knobs!r})
        except DataError as error:
            print(error)
    """
    program = textwrap.dedent(program).format(small=SMALL, knobs=KNOBS)
    out = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", program, str(out)], capture_output=True, text=True, timeout=60)
    assert "cannot be written" in done.stdout and done.stdout.count("\n") == 1, done.stderr
    assert checkpoint.saved_timesteps(out) == []
    assert not list(out.rglob(f"{checkpoint.PARTIAL}*"))
    assert run(out, resume=True, total_timesteps=512).timesteps == 512  # from the beginning, as there is room again


def test_a_record_that_a_full_disk_cuts_short_is_taken_back(tmp_path: Path):
    program = """
        import resource, signal, sys
        from pathlib import Path
        from jade_env.errors import DataError
        from jade_env.learning.run_folder import METRICS, RunFolder
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        folder = RunFolder(Path(sys.argv[1]), {}, False)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
        try:
            for step in range(100):
                folder.log({"timesteps": step, "said": "x" * 700})
        except DataError as error:
            lines = (folder.path / METRICS).read_text().splitlines(keepends=True)
            print(len(lines), all(line.endswith("}\\n") for line in lines), "cannot be written" in str(error))
    """
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(out)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["6", "True", "True"], done.stderr


def test_a_training_that_diverges_stops_with_a_sentence_and_keeps_the_last_good_checkpoint(tmp_path: Path):
    out = tmp_path / "run"

    def poison(done: int, total: int) -> None:
        if done == 1024 + 16:  # the first step of the third iteration
            module = sys.modules["jade_env.learning.candidate_net"]
            module.ILLEGAL = float("nan")

    try:
        with pytest.raises(JadeError, match="diverged after 1024 turns.*last good checkpoint is that of 1024 turns"):
            run(out, progress=poison)
    finally:
        sys.modules["jade_env.learning.candidate_net"].ILLEGAL = -1e8
    assert all(bool(torch.isfinite(t).all()) for t in checkpoint.load(out, 1024).policy.values())
    assert run(out, resume=True).timesteps == 2048


def test_a_damaged_checkpoint_is_named(unbroken: Path, tmp_path: Path):
    shutil.copytree(unbroken, tmp_path / "run")
    last = tmp_path / "run" / checkpoint.FOLDER / "000002048" / checkpoint.POLICY
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DataError, match=r"000002048/policy\.safetensors: cannot be read"):
        load_policy(tmp_path / "run", which="last")


def test_a_scripted_recipe_has_nothing_to_train(tmp_path: Path):
    with pytest.raises(ConfigError, match="its learner is scripted, and here networks"):
        train(SCENARIO, "heuristic", tmp_path / "run")


# ---- playing with what was learned ----------------------------------------------------------------------------------


def test_a_loaded_run_plays_as_its_last_evaluation_did(unbroken: Path):
    policy = load_policy(unbroken, SCENARIO, which="last")
    rows = evaluate(policy, SCENARIO, "dev", 16)
    assert sum(row.f1 for row in rows) / 16 == pytest.approx(metrics(unbroken)[-1]["dev"]["f1"])


def test_the_checkpoint_that_did_best_on_held_out_train_questions_is_loaded(unbroken: Path):
    records = [record for record in metrics(unbroken)[1:] if "held_out" in record]
    best = max(records, key=lambda record: record["held_out"]["net"])
    assert checkpoint.best_timesteps(unbroken) == best["timesteps"]


def test_a_run_plays_other_scenarios_of_its_roles_and_other_numbers_of_actions(unbroken: Path):
    static = jade_env.load_scenario("static", {"data.passages": 300, "data.dev": 8})
    rows = evaluate(load_policy(unbroken, static), static, "dev", 8)
    assert len(rows) == 8 and not any(row.malformed for row in rows)


def test_sampled_play_follows_the_turns_streams(unbroken: Path):
    play = [evaluate(load_policy(unbroken, SCENARIO, greedy=False), SCENARIO, "dev", 16) for _ in range(2)]
    assert play[0] == play[1]


def test_roles_and_features_that_do_not_fit_are_refused_by_name(unbroken: Path, tmp_path: Path):
    static = jade_env.load_scenario("static", {"data.passages": 300, "data.train": 60, "data.dev": 8})
    train(static, "sb3_shared", tmp_path / "static", overrides=KNOBS | {"total_timesteps": 512, "eval_episodes": 4})
    with pytest.raises(ConfigError, match=r"has learned .*, and cannot play planner.*: name who plays them, as in"):
        load_policy(tmp_path / "static", SCENARIO)
    team = make_policy(f"answer_generator={tmp_path / 'static'},default=random", SCENARIO)  # but those it has learned
    assert len(evaluate(team, SCENARIO, "dev", 8)) == 8
    with pytest.raises(ConfigError, match=r"cannot play planner"):
        make_policy(f"answer_generator=random,default={tmp_path / 'static'}", SCENARIO)
    shutil.copytree(unbroken, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["features"]["candidate"].append("smell")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"candidate features .*smell"):
        load_policy(tmp_path / "run", SCENARIO)


def test_frozen_agents_are_played_by_the_partners_in_training_and_after(tmp_path: Path):
    out = tmp_path / "run"
    run(out, train=["planner"], partners="random", total_timesteps=512)
    policy = load_policy(out, SCENARIO)
    assert len(evaluate(policy, SCENARIO, "dev", 8)) == 8
    lengths = [record["turns"] for record in metrics(out)[1:]]
    assert lengths and lengths[0] > 1.5  # turns of an episode, of which the planner's are rows


def test_one_network_a_role_trains_and_resumes_too(tmp_path: Path):
    knobs = KNOBS | {"total_timesteps": 512}
    train(SCENARIO, load_recipe("sb3_per_role", knobs), tmp_path / "run")
    again = load_recipe("sb3_per_role", knobs | {"total_timesteps": 1024})
    assert train(SCENARIO, again, tmp_path / "run", resume=True).timesteps == 1024
    started = time.monotonic()
    assert len(evaluate(load_policy(tmp_path / "run"), SCENARIO, "dev", 8)) == 8
    assert time.monotonic() - started < 10


def test_a_run_stopped_in_its_first_iteration_is_not_measured_twice_at_the_start(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", total_timesteps=512, progress=stop)
    run(tmp_path / "run", total_timesteps=512, resume=True)
    records = [json.loads(line)["timesteps"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records.count(0) == 1
