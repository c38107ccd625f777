"""Several processes that train one model: what they train is what one would, they stop together, and a lost one is named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from jade_env.errors import ConfigError, JadeError
from jade_env.language_recipe import PpoRecipe
from jade_env.learning import checkpoint, ranks
from jade_env.learning.evaluation import evaluate
from jade_env.learning.joint import train_language
from jade_env.policy import make_policy
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario

KNOBS = {
    "steps": 2, "questions": 4, "plans": 2, "executions": 2, "minibatches": 2, "epochs": 2, "eval_every": 2, "eval_episodes": 5,
    "checkpoint_every": 1, "slots": 16, "token_budget": 256, "warmup": 0, "credit": "leave_one_out",
}  # fmt: skip
KINDS = {
    "whole": {},
    "critic": {"credit": "episode_gae", "critic": "separate"},
    "head": {"credit": "episode_gae", "critic": "head"},
    "stopped early": {"target_kl": 1e-6, "epochs": 4},
    "adapters": {"lora": {"rank": 2, "alpha": 4}, "sharing": "per_role"},
    "one side": {"train": ["planner"]},
}


def recipe(backbone: str, **changes: object) -> PpoRecipe:
    found = load_recipe("jade_joint", {**KNOBS, "backbone": backbone, **changes})
    assert isinstance(found, PpoRecipe)
    return found


def tensors(run: Path) -> dict[str, torch.Tensor]:
    moment = checkpoint.load(run, checkpoint.saved_timesteps(run)[-1])
    return {**moment.policy, **moment.learner}


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_what_one_does_but_for_rounding(
    kind: str, backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    """One step: from then on a draw may fall on the other side of a rounding, and games differ."""
    plan = recipe(backbones[0], **{"steps": 1, "eval_every": 1, **KINDS[kind]})
    for processes in (1, 2):
        train_language(game, plan, tmp_path / str(processes), processes=processes)
    one, two = (tensors(tmp_path / name) for name in "12")
    began = checkpoint.load(tmp_path / "1", checkpoint.saved_timesteps(tmp_path / "1")[0])
    assert any(not torch.equal(tensor, began.policy[name]) for name, tensor in one.items() if name in began.policy)
    assert one.keys() == two.keys()
    for name in one:
        # Adam steps as far where the gradient is nothing but rounding; what it has seen of gradients differs by rounding alone
        close = float(one[name].abs().max()) * 5e-3 if name.endswith("exp_avg") else 5e-4
        assert torch.allclose(one[name].float(), two[name].float(), rtol=0, atol=close), name
    alone, shared = records(tmp_path / "1"), records(tmp_path / "2")
    assert [own["timesteps"] for own in alone] == [own["timesteps"] for own in shared] == [0, 1]
    assert alone[0]["dev"] == shared[0]["dev"] and alone[1]["played"] == shared[1]["played"]
    assert alone[1]["retrieval"]["queries"] == shared[1]["retrieval"]["queries"] > 0
    for part in ("roles", "learner"):
        assert alone[1][part].keys() == shared[1][part].keys()
    assert alone[1]["learner"]["stopped_early"] == (kind == "stopped early")
    for name, told in alone[1]["learner"].items():
        assert shared[1]["learner"][name] == pytest.approx(told, rel=2e-3, abs=1e-4), name


def test_two_processes_do_the_same_twice_and_a_stopped_run_goes_on_to_the_last_bit(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    plan = recipe(backbones[0], steps=3)
    hook, environment = sys.excepthook, dict(os.environ)
    train_language(game, plan, tmp_path / "whole", processes=2)
    assert sys.excepthook is hook and dict(os.environ) == environment

    def stop(done: int, total: int) -> None:
        if done > 2 * plan.episodes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="can be gone on with from step 2"):
        train_language(game, plan, tmp_path / "broken", processes=2, progress=stop)
    assert not torch.distributed.is_initialized() and ranks.size() == 1
    train_language(game, plan, tmp_path / "broken", processes=2, resume=True)
    whole, broken = tensors(tmp_path / "whole"), tensors(tmp_path / "broken")
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


def test_a_process_that_is_lost_is_named_and_the_steps_before_it_are_kept(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers: list[subprocess.Popen[str]] = []
    start = ranks._start

    def watched(job: dict[str, Any]) -> tuple[subprocess.Popen[str], IO[str]]:
        found = start(job)
        helpers.append(found[0])
        return found

    monkeypatch.setattr(ranks, "_start", watched)
    plan = recipe(backbones[0], steps=3)

    def kill(done: int, total: int) -> None:
        if done > plan.episodes:
            helpers[0].kill()

    with pytest.raises(JadeError, match="a process that trains with this one has stopped: it ended with -9"):
        train_language(game, plan, tmp_path / "run", processes=2, progress=kill)
    assert checkpoint.saved_timesteps(tmp_path / "run")[-1] == 1
    helpers.clear()
    assert train_language(game, plan, tmp_path / "run", processes=4, resume=True).timesteps == 3
    assert len(helpers) == 3 and all(helper.returncode is not None for helper in helpers)


def test_the_meeting_place_is_on_this_machine_alone(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []
    start = ranks._start

    def watched(job: dict[str, Any]) -> tuple[subprocess.Popen[str], IO[str]]:
        ports.append(job["port"])
        with pytest.raises(OSError, match=r"refused|unreachable|assign"):
            socket.create_connection(
                ("127.0.0.2", job["port"]), timeout=2
            )  # would be taken by one that listens everywhere
        socket.create_connection(("127.0.0.1", job["port"]), timeout=2).close()
        return start(job)

    monkeypatch.setattr(ranks, "_start", watched)
    train_language(game, recipe(backbones[0], steps=1), tmp_path / "run", processes=2)
    assert len(ports) == 1


def test_a_process_group_of_the_callers_is_left_alone(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        assert train_language(game, recipe(backbones[0], steps=1), tmp_path / "one").timesteps == 1
        with pytest.raises(ConfigError, match="in a torch.distributed group already"):
            train_language(game, recipe(backbones[0]), tmp_path / "two", processes=2)
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()


def test_helpers_that_cannot_begin_say_why(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "HELPER", "jade_env.no_such_module")
    with pytest.raises(JadeError, match="has stopped: .*No module named jade_env.no_such_module"):
        train_language(game, recipe(backbones[0]), tmp_path / "run", processes=2)


def test_a_helper_that_ends_on_its_way_to_the_others_is_not_waited_for(
    backbones: tuple[str, str], game: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_early.py").write_text(
        "import json, sys\nfrom torch.distributed import TCPStore\njob = json.load(sys.stdin)\n"
        "TCPStore('127.0.0.1', job['port'], job['size'], is_master=False).set('ready 1', '')\nsys.exit('it has left')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ranks, "HELPER", "leaves_early")
    environment = dict(os.environ)
    with pytest.raises(JadeError, match="has stopped: it has left"):
        train_language(game, recipe(backbones[0]), tmp_path / "run", processes=2)
    assert ranks.size() == 1 and dict(os.environ) == environment


@pytest.mark.parametrize(
    ("processes", "said"), [(3, "evenly"), (0, "from 1 on"), (True, "from 1 on"), ("2", "from 1 on")]
)
def test_numbers_of_processes_that_do_not_fit_are_refused(
    processes: Any, said: str, backbones: tuple[str, str], game: Scenario, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train_language(game, recipe(backbones[0]), tmp_path / "run", processes=processes)
    assert not (tmp_path / "run").exists()


def test_a_split_may_be_played_from_any_question_on(game: Scenario) -> None:
    policy = make_policy("random", game, seed=0)
    whole = evaluate(policy, game, "dev")
    parts = [
        row for first, count in ((0, 3), (3, 4), (7, None)) for row in evaluate(policy, game, "dev", count, first=first)
    ]
    assert [row.question_id for row in parts] == [row.question_id for row in whole]
    with pytest.raises(ConfigError, match="first: 8 is none of the 8"):
        evaluate(policy, game, "dev", first=8)
    with pytest.raises(ConfigError, match="not between 1 and 1"):
        evaluate(policy, game, "dev", 2, first=7)
