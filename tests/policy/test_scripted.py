"""Random, heuristic and mixed policies: legal, repeatable, and the same however turns are batched."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.policy import SCRIPTED, MixedPolicy, Policy, make_policy
from jade_env.policy.heuristic import HeuristicPolicy
from jade_env.policy.random_policy import RandomPolicy
from jade_env.policy.single_agent import single_agent_env
from jade_env.scenario import load_scenario

WORLD = {"data.passages": 600, "data.train": 150, "data.dev": 100, "data.test": 100}


def said(episodes: Sequence[Episode]) -> list[object]:
    return [[(p.agent, p.path, p.step, p.output.value) for p in episode.trace.by_place()] for episode in episodes]


@pytest.mark.parametrize("mode", ["text", "discrete"])
@pytest.mark.parametrize("spec", ["random", "heuristic", "ceiling"])
def test_scripted_policies_are_never_malformed(play, spec: str, mode: str) -> None:
    scenario = load_scenario("cooperative", WORLD | {"mode": mode})
    episodes = play(make_policy(spec, scenario), scenario, "test", 60)
    assert sum(episode.ledger.malformed for episode in episodes) == 0


def test_random_policy_is_legal_on_real_questions(play, shared_data: Path) -> None:
    for mode in ("text", "discrete"):
        scenario = load_scenario("hotpotqa", {"mode": mode})
        episodes = play(RandomPolicy(), scenario, "dev", 60, shared_data)
        assert sum(episode.ledger.malformed for episode in episodes) == 0


@pytest.mark.parametrize("spec", SCRIPTED)
def test_actions_do_not_depend_on_the_batch(play, spec: str) -> None:
    scenario = load_scenario("cooperative", WORLD)
    together = play(make_policy(spec, scenario, seed=5), scenario, "test", 30)
    apart = play(make_policy(spec, scenario, seed=5), scenario, "test", 30, one_by_one=True)
    assert said(together) == said(apart)


@pytest.mark.parametrize("spec", ["random", "heuristic", "ceiling"])
def test_both_modes_play_the_same_game(play, spec: str) -> None:
    scenarios = [load_scenario("cooperative", WORLD | {"mode": mode}) for mode in ("text", "discrete")]
    text, discrete = (play(make_policy(spec, scenario), scenario, "test", 30) for scenario in scenarios)
    assert said(text) == said(discrete)


def test_random_policies_of_different_seeds_differ(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    one, two = (play(RandomPolicy(seed), scenario, "test", 20) for seed in (1, 2))
    assert said(one) != said(two)


def test_heuristic_is_deterministic_and_better_than_chance(play, mean_f1) -> None:
    scenario = load_scenario("cooperative", WORLD)
    one, two = (play(HeuristicPolicy(scenario), scenario, "test", 100) for _ in range(2))
    assert said(one) == said(two)
    assert mean_f1(one) > mean_f1(play(RandomPolicy(), scenario, "test", 100)) + 0.1


def test_heuristic_chooses_one_pair_of_workflows_on_train(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    policy = HeuristicPolicy(scenario)
    episodes = play(policy, scenario, "test", 30)
    assert {episode.trace.root.workflow for episode in episodes} == {policy.pair[0]}
    assert HeuristicPolicy(scenario).pair == policy.pair


@pytest.mark.parametrize("name", ["static", "deep"])
def test_scripted_policies_play_other_teams_and_depths(play, name: str) -> None:
    scenario = load_scenario(name, WORLD)
    for spec in (one for one in SCRIPTED if one != "idle"):  # which plays nothing
        episodes = play(make_policy(spec, scenario), scenario, "test", 15)
        assert all(episode.result for episode in episodes)
        assert sum(episode.ledger.malformed for episode in episodes) == 0


class Recorder:
    """Passes turns on and remembers whose they were."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.calls = policy, list[list[str]]()

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        self.calls.append([turn.agent for turn in turns])
        return self.policy.act(turns)


def test_mixed_policy_asks_each_member_once_for_its_own_agents(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    teacher = make_policy("teacher", scenario)
    planner, others = Recorder(teacher), Recorder(teacher)
    mixed = MixedPolicy({"planner": planner, "default": others})
    assert said(play(mixed, scenario, "test", 20)) == said(play(teacher, scenario, "test", 20))
    assert {agent for call in planner.calls for agent in call} == {"planner"}
    assert "planner" not in {agent for call in others.calls for agent in call}
    assert any(len(call) > 1 for call in others.calls)


def test_mixed_policy_names_an_agent_that_nobody_plays(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    with pytest.raises(ConfigError, match="nobody plays planner"):
        play(MixedPolicy({"answer_generator": RandomPolicy()}), scenario, "test", 2)
    with pytest.raises(ConfigError, match="at least one member"):
        MixedPolicy({})


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("heuristics", "there is no policy 'heuristics'; did you mean 'heuristic'\\?"),
        ("runs/none", "there is no policy 'runs/none'.*or the folder of a run"),
    ],
)
def test_unknown_policies_are_refused_with_the_nearest_name(spec: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_policy(spec, "cooperative")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json or run\.json"):
        make_policy(tmp_path, "cooperative")


def test_policies_load_no_learning_library() -> None:
    code = (
        "import sys; from jade_env.policy import make_policy;"
        "[make_policy(name, 'cooperative') for name in ('random', 'heuristic', 'teacher', 'ceiling')];"
        "print([name for name in ('torch', 'sklearn', 'matplotlib', 'stable_baselines3') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_single_agent_environment_takes_partners_by_name_or_as_a_policy() -> None:
    scenario = load_scenario("cooperative", WORLD)
    for partners in ("teacher", make_policy("teacher", scenario)):
        env = single_agent_env("planner", scenario, partners, seed=2)
        env.reset(seed=2)
        terminated = False
        for _ in range(20):
            _, reward, terminated, _, info = env.step(1 + scenario.workflows.index(("R", "AG")))
            if terminated:
                break
        assert terminated
        assert info["f1"] == 1.0
        assert reward == pytest.approx(info["net"])


def test_a_single_agent_environment_is_copied_by_its_description() -> None:
    scenario = load_scenario("cooperative", WORLD)
    env = single_agent_env("planner", scenario, "heuristic", seed=2)
    seen = [each.reset(seed=5)[0] for each in (env, pickle.loads(pickle.dumps(env)), copy.deepcopy(env))]
    assert np.array_equal(seen[0], seen[1]) and np.array_equal(seen[0], seen[2])


def test_a_retriever_that_is_down_is_named_and_not_the_partners() -> None:
    settings = {"kind": "remote", "urls": ["http://127.0.0.1:9"], "retries": 0}
    scenario = load_scenario("cooperative", {**WORLD, "retriever": settings, "workflows": [["R", "AG"]]})
    env = single_agent_env("answer_generator", scenario, "random")
    with pytest.raises(RetrievalError, match="no episode comes to a turn of answer_generator"):
        env.reset(seed=0)


def test_partners_may_be_a_mapping_and_a_policy_is_its_own_policy() -> None:
    small = {"data.passages": 300, "data.train": 60}
    policy = make_policy("random", "cooperative")
    env = single_agent_env("planner", partners={"answer_generator": policy, "default": "heuristic"}, overrides=small)
    assert env.reset(seed=0)[1]["action_mask"].any()
    assert make_policy(policy, "cooperative") is policy  # type: ignore[arg-type]
    for wrong in (lambda turns: [1], object(), RandomPolicy, 3):
        with pytest.raises(ConfigError, match="policy: expected a name, a run's folder, or a mapping"):
            make_policy(wrong, "cooperative")  # type: ignore[arg-type]
