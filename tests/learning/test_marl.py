"""IPPO, MAPPO and QMIX learn the game through BenchMARL. What trains runs where it is installed: it has requirements of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import jade_env
from jade_env.errors import ConfigError, DataError, JadeError
from jade_env.learning import checkpoint
from jade_env.learning.evaluation import evaluate
from jade_env.learning.memory_plan import dry_run
from jade_env.learning.player import load_policy
from jade_env.recipe import MarlRecipe, load_recipe
from jade_env.research.report.page import unpacked
from jade_env.research.study import load_study, runs_of

SCENARIO = jade_env.load_scenario("cooperative", {"data.passages": 300, "data.train": 300, "data.dev": 40})
KNOBS = {
    "total_timesteps": 900,
    "n_envs": 8,
    "n_steps": 32,
    "batch_size": 64,
    "network": [16],
    "eval_every": 400,
    "eval_episodes": 16,
}
ON_POLICY = {**KNOBS, "n_epochs": 2, "learning_rate_end": 0.0}
OFF_POLICY = {**KNOBS, "memory": 600, "updates": 4}
ALGORITHMS = {"ippo": ON_POLICY, "mappo": ON_POLICY, "qmix": OFF_POLICY}
installed = pytest.mark.skipif(find_spec("benchmarl") is None, reason="needs examples/requirements-benchmarl.txt")


def jade(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "jade_env.cli", *map(str, words)], capture_output=True, text=True)


def a_study(place: Path, scenario: str | dict, arm: dict) -> Path:
    tree = {
        "name": "s",
        "summary": "s",
        "scenarios": [scenario],
        "arms": {"random": {"policy": "random"}, "arm": arm},
        "seeds": [0],
    }
    place.write_text(json.dumps(tree))
    return place


# ---- recipes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_recipe_resolves_to_what_its_algorithm_knows_and_reads_that_back(name: str, tmp_path: Path):
    recipe = load_recipe(name, ALGORITHMS[name])
    assert isinstance(recipe, MarlRecipe) and recipe.algorithm == name
    tree = recipe.resolved()
    assert ("memory" in tree, "clip_range" in tree, "critic_network" in tree) == (
        name == "qmix",
        name != "qmix",
        name == "mappo",
    )
    path = tmp_path / "again.yaml"
    path.write_text(json.dumps(tree))
    assert load_recipe(path) == recipe


def test_only_what_remembers_is_bound_by_a_memory():
    assert load_recipe("ippo", {"n_envs": 256, "n_steps": 128}).n_envs == 256


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("qmix", {"clip_range": 0.1}, "clip_range: qmix has no such knob"),
        ("ippo", {"critic_network": [8]}, "critic_network: ippo has no such knob"),
        ("mappo", {"memory": 5}, "memory: mappo has no such knob"),
        ("mappo", {"batch_size": 5000}, "n_envs * n_steps = 2048"),
        ("qmix", {"memory": 100}, "n_envs * n_steps = 256"),
        ("qmix", {"explore_start": 0.1, "explore_end": 0.2}, "explore_end: 0.2 is more than explore_start"),
        ("mappo", {"algorithm": "vdn"}, "algorithm"),
        ("mappo", {"n_epoch": 3}, "n_epochs"),
    ],
)
def test_what_an_algorithm_has_not_is_refused(name: str, override: dict, said: str):
    with pytest.raises(ConfigError) as refusal:
        load_recipe(name, override)
    assert said in str(refusal.value)


@pytest.mark.parametrize("scenario", ["duel", "private_costs", "adversarial_retrieval"])
def test_teams_of_several_rewards_are_refused(scenario: str, tmp_path: Path):
    with pytest.raises(ConfigError, match="one team with one reward"):
        runs_of(load_study(a_study(tmp_path / "study.yaml", scenario, {"policy": "mappo"})))


def test_a_dry_run_says_what_would_be_trained_and_refuses_what_could_not():
    assert "mappo: 550000 turns, planner, " in dry_run(SCENARIO, load_recipe("mappo"))
    assert "replay memory: 20000 ticks of 89 kB, 1.67 GiB" in dry_run(SCENARIO, load_recipe("qmix"))
    with pytest.raises(ConfigError, match="one team with one reward"):
        dry_run(jade_env.load_scenario("duel"), load_recipe("mappo"))


@pytest.mark.skipif(find_spec("benchmarl") is not None, reason="benchmarl is installed")
def test_without_benchmarl_an_error_says_where_its_requirements_are(tmp_path: Path):
    found = jade("train", "cooperative", "--policy", "qmix", "--out", tmp_path / "run")
    assert found.returncode == 2 and "examples/requirements-benchmarl.txt" in found.stderr
    assert not (tmp_path / "run").exists()


def test_a_budget_of_one_algorithm_is_left_out_by_the_others_and_one_that_nobody_has_is_refused(tmp_path: Path):
    study = tmp_path / "study.yaml"
    tree = {
        "name": "s",
        "summary": "s",
        "scenarios": ["cooperative"],
        "arms": {name: {"policy": name} for name in ALGORITHMS},
    }
    study.write_text(json.dumps(tree | {"seeds": [0], "budget": {"memory": 5000, "gae_lambda": 0.5}}))
    found = {run.arm: run.recipe.resolved() for run in runs_of(load_study(study))}
    assert [found[name].get("memory") for name in ALGORITHMS] == [None, None, 5000]
    assert [found[name].get("gae_lambda") for name in ALGORITHMS] == [0.5, 0.5, None]
    study.write_text(json.dumps(tree | {"budget": {"lessons": 5}}))  # a warm start's, which no budget reaches
    with pytest.raises(ConfigError, match=r"budget\.lessons"):
        runs_of(load_study(study))


# ---- many environments as one ---------------------------------------------------------------------------------------


@installed
def test_environments_side_by_side_are_what_each_of_them_is_alone():
    from torchrl.envs.utils import check_env_specs

    from jade_env.learning.torchrl_env import ParallelEnvs

    def make(seed: int) -> jade_env.envs.ParallelEnv:
        return jade_env.parallel_env(SCENARIO, seed=seed)

    together = ParallelEnvs([make(seed) for seed in range(3)])
    check_env_specs(together)
    together = ParallelEnvs([make(seed) for seed in range(3)])
    played = together.rollout(60, break_when_any_done=False)
    ended = 0
    for place in range(3):
        alone = make(place)
        seen, _ = alone.reset()
        for tick in range(60):
            here = played[place, tick]
            for seat, agent in enumerate(together.agents):
                assert np.array_equal(here["agents", "observation"][seat].numpy(), seen[agent]["observation"])
                assert here["agents", "action_mask"][seat].tolist() == seen[agent]["action_mask"].astype(bool).tolist()
            assert np.array_equal(here["state"].numpy(), alone.state())
            actions = dict(zip(together.agents, here["agents", "action"].tolist(), strict=True))
            seen, rewards, terminated, _, infos = alone.step(actions)
            assert here["next", "agents", "reward"].reshape(-1).tolist() == pytest.approx(list(rewards.values()))
            assert bool(here["next", "terminated"]) == terminated[together.agents[0]]
            if not alone.agents:
                ended += 1
                assert infos[together.agents[0]] in together.finished
                seen, _ = alone.reset()
    assert ended == len(together.finished) > 3
    again = ParallelEnvs([make(seed) for seed in range(3)])
    again.rollout(5)
    again.set_seed(0)
    assert np.array_equal(again.reset()["agents", "observation"], played["agents", "observation"][:, 0])


@installed
def test_episodes_that_end_before_anybody_has_a_turn_are_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch):
    from jade_env.learning.torchrl_env import ParallelEnvs

    env = jade_env.parallel_env(SCENARIO)
    opened = env.reset()
    monkeypatch.setattr(
        env, "reset", lambda seed=None: (opened[0], {agent: {"failed": 1.0} for agent in env.possible_agents})
    )
    env.agents = []
    with pytest.raises(JadeError, match="is the retriever down"):
        ParallelEnvs([env]).reset()


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ALGORITHMS)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jade_env.learning.marl import train_marl

    out = tmp_path_factory.mktemp(request.param) / "run"
    train_marl(SCENARIO, request.param, out, seed=3, overrides=ALGORITHMS[request.param])
    return out


@installed
def test_a_run_leaves_what_other_runs_leave_and_is_played_as_they_are(trained: Path):
    config = json.loads((trained / "config.json").read_text())
    summary = json.loads((trained / "run.json").read_text())
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert "benchmarl" in config["versions"] and (trained / "learning_curve.png").exists()
    assert 900 <= summary["timesteps"] == records[-1]["timesteps"] < 900 + 7 * 256
    assert [("dev" in record) for record in records][-1] and len([1 for record in records if "dev" in record]) >= 3
    assert sum(record.get("episodes", 0) for record in records) > 50
    saved = checkpoint.saved_timesteps(trained)
    assert saved == [record["timesteps"] for record in records if "dev" in record] and saved[0] == 0
    if "learning_rate_end" in ALGORITHMS[config["recipe"]["name"]]:
        rates = [record["learning_rate"] for record in records[1:]]
        assert rates == sorted(rates, reverse=True) and rates[0] == 0.001 and rates[-1] < 0.0005
    begun, ended = (load_policy(trained, which=which) for which in ("first", "last"))
    rows = evaluate(ended, SCENARIO, "dev", 16)
    assert float(np.mean([row.f1 for row in rows])) == summary["dev"]["f1"]
    assert rows != evaluate(begun, SCENARIO, "dev", 16)


@installed
def test_qmix_plays_its_best_value_however_it_is_asked_and_says_no_probability(trained: Path):
    turns = jade_env.make_pool(SCENARIO, 8).turns()
    policy = load_policy(trained, greedy=False)
    qmix = json.loads((trained / "config.json").read_text())["recipe"]["name"] == "qmix"
    assert ([found.logprob for found in policy.weigh(turns)] == [None] * 8) == qmix
    assert (policy.act(turns) == load_policy(trained).act(turns)) == qmix


@installed
@pytest.mark.parametrize("name", ["ippo", "mappo"])
def test_advantages_are_those_of_public_gae_over_ticks(name: str):
    """Against a loop over what was collected: A(t) = r + g V(t+1) - V(t) + g l A(t+1), cut at the end of an episode."""
    from jade_env.learning.marl_task import Task, experiment_of

    recipe = load_recipe(name, ON_POLICY | {"gamma": 0.97, "gae_lambda": 0.9})
    experiment = experiment_of(recipe, Task(SCENARIO, None, []), 0)
    batch = experiment.algorithm.process_batch("agents", next(iter(experiment.collector)))
    experiment.close()
    value, after = batch["agents", "state_value"], batch["next", "agents", "state_value"]
    reward, done = batch["next", "agents", "reward"], batch["next", "done"].unsqueeze(-1)
    assert done.any() and reward[~done.expand_as(reward)].abs().max() < reward.abs().max()
    carried = 0.0
    for tick in reversed(range(value.shape[1])):
        live = (~done[:, tick]).float()
        carried = reward[:, tick] + 0.97 * after[:, tick] * live - value[:, tick] + 0.97 * 0.9 * live * carried
        assert (carried - batch["agents", "advantage"][:, tick]).abs().max() < 1e-5


@installed
def test_qmix_learns(tmp_path: Path):
    from jade_env.learning.marl import train_marl

    knobs = {
        "total_timesteps": 16000,
        "eval_every": 16000,
        "eval_episodes": 40,
        "explore_share": 0.4,
        "explore_end": 0.0,
    }
    run = train_marl(SCENARIO, "qmix", tmp_path / "run", overrides=knobs)
    first = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert run.dev["net"] > first["dev"]["net"] + 0.08


@installed
def test_the_same_seed_gives_the_same_weights(trained: Path, tmp_path: Path):
    from jade_env.learning.marl import train_marl

    recipe = json.loads((trained / "config.json").read_text())["recipe"]["name"]
    torch.manual_seed(11)
    expected, _ = torch.rand(1), torch.manual_seed(11)
    again = train_marl(SCENARIO, recipe, tmp_path / "again", seed=3, overrides=ALGORITHMS[recipe])
    other = train_marl(SCENARIO, recipe, tmp_path / "other", seed=4, overrides=ALGORITHMS[recipe])

    def weights(run: Path) -> bytes:
        return (run / checkpoint.FOLDER / f"{checkpoint.saved_timesteps(run)[-1]:09d}" / checkpoint.POLICY).read_bytes()

    assert weights(trained) == weights(again.folder) != weights(other.folder)
    assert torch.rand(1) == expected, "the generators of the process are not as they were"


@installed
def test_the_playing_networks_critic_is_ippos_own_and_silent_where_there_is_none(trained: Path):
    weights = checkpoint.load_weights(trained, checkpoint.saved_timesteps(trained)[-1])
    critic = [tensor for name, tensor in weights.items() if ".critic" in name]
    recipe = json.loads((trained / "config.json").read_text())["recipe"]["name"]
    assert critic and all(bool(tensor.any()) == (recipe == "ippo") for tensor in critic)


@installed
def test_a_report_shows_such_a_run_before_and_after(trained: Path, tmp_path: Path):
    done = jade("report", trained, "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    tree = json.dumps(unpacked((tmp_path / "page.html").read_text()))
    assert "networks (BenchMARL)" in tree and "Value loss" in tree


@installed
def test_a_network_for_each_role_is_trained_and_played(tmp_path: Path):
    from jade_env.learning.marl import train_marl

    run = train_marl(SCENARIO, "ippo", tmp_path / "run", overrides=ON_POLICY | {"sharing": "per_role"}).folder
    assert len({name.split(".")[1] for name in checkpoint.load_weights(run, checkpoint.saved_timesteps(run)[-1])}) == 7
    assert len(evaluate(load_policy(run), SCENARIO, "dev", 4)) == 4


@installed
def test_a_folder_in_use_and_a_run_that_was_stopped_are_refused(trained: Path, tmp_path: Path):
    from jade_env.learning.marl import train_marl

    with pytest.raises(DataError, match="not empty, and BenchMARL's runs cannot be gone on with"):
        train_marl(SCENARIO, "mappo", trained, overrides=ON_POLICY)
    with pytest.raises(ConfigError, match="seed"):
        train_marl(SCENARIO, "mappo", tmp_path / "seed", seed=2**32, overrides=ON_POLICY)
    assert not (tmp_path / "seed").exists()

    def stop(done: int, total: int) -> None:
        if done > 256:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="begin again"):
        train_marl(SCENARIO, "mappo", tmp_path / "run", overrides=ON_POLICY, progress=stop)
    assert checkpoint.saved_timesteps(tmp_path / "run")[-1] > 256
    found = jade("train", "cooperative", "--policy", "mappo", "--out", tmp_path / "run", "--resume")
    assert found.returncode == 2 and "cannot be gone on with" in found.stderr


@installed
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_that_diverges_says_so_and_keeps_what_was_good(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from jade_env.learning import marl

    def spoil(training: Any) -> None:
        for parameter in marl.player_of(training.experiment).parameters():
            parameter.data.fill_(math.nan)

    monkeypatch.setattr(marl._Training, "_anneal", spoil)
    with pytest.raises(JadeError, match="diverged after .* the last good checkpoint is that of"):
        marl.train_marl(SCENARIO, name, tmp_path / "run", overrides=ALGORITHMS[name])
    assert len(evaluate(load_policy(tmp_path / "run"), SCENARIO, "dev", 4)) == 4


@installed
def test_a_study_trains_and_judges_such_arms_and_begins_a_killed_one_again(tmp_path: Path):
    small = {"data.passages": 300, "data.train": 300, "data.dev": 20, "data.test": 20}
    arm = {"policy": "qmix", "overrides": OFF_POLICY}
    study = a_study(tmp_path / "study.yaml", {"scenario": "cooperative", "overrides": small}, arm)
    rows = tmp_path / "out" / "runs" / "cooperative" / "arm" / "0" / "rows.jsonl"
    done = jade("compare", study, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = rows.read_bytes()
    assert len(found.splitlines()) == 20 * len(load_study(study).modes)
    summary = rows.parent / "training" / "run.json"
    for killed, again in ((rows, False), (summary, True)):  # while it was judged, and while it was trained
        killed.unlink()
        rows.unlink(missing_ok=True)
        made = (rows.parent / "training" / "config.json").stat().st_mtime_ns
        assert jade("compare", study, "--out", tmp_path / "out").returncode == 0 and rows.read_bytes() == found
        assert ((rows.parent / "training" / "config.json").stat().st_mtime_ns != made) == again
