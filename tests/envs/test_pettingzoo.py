"""PettingZoo's own tests, for every shipped scenario in both modes, and TorchRL's where it is installed."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test, seed_test

import jade_env
from jade_env.config import names
from jade_env.errors import ConfigError, JadeError
from jade_env.policy import make_policy
from jade_env.retrieval import Document, Hit
from jade_env.scenario import Mode, Scenario

CASES = [(name, mode) for name in names("scenarios") for mode in ("discrete", "text")]
Arguments = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def expected_warnings() -> Iterator[None]:
    """The official tests warn about agent names, text spaces and the option they make up; nothing else may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for expected in (
            ".*agents to be named in the format.*",
            ".*[Oo]bservation is not a? ?NumPy array.*",
            ".*space for each agent probably should be.*",
            "reset: option 'options'.*",
            ".*deprecat.*",
        ):
            warnings.filterwarnings("ignore", message=expected)
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_aec_passes_the_official_api_test(name: str, mode: str, arguments: Arguments) -> None:
    api_test(jade_env.env(**arguments(name, mode)), num_cycles=200)
    api_test(jade_env.raw_env(**arguments(name, mode)), num_cycles=50)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_parallel_passes_the_official_api_test(name: str, mode: str, arguments: Arguments) -> None:
    parallel_api_test(jade_env.parallel_env(**arguments(name, mode)), num_cycles=200)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_seeds_pass_the_official_tests(name: str, mode: str, arguments: Arguments) -> None:
    seed_test(lambda: jade_env.env(**arguments(name, mode)), num_cycles=30)
    parallel_seed_test(lambda: jade_env.parallel_env(**arguments(name, mode)))


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_rendering_passes_the_official_test(
    name: str, mode: Mode, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    render_test(lambda render_mode=None: jade_env.env(**arguments(name, mode), render_mode=render_mode))


def test_the_trace_is_text_or_printed(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    options = arguments("cooperative")
    for mode, kind in (("ansi", str), ("human", type(None))):
        env = jade_env.env(**options, render_mode=mode)
        env.reset(seed=1)
        assert isinstance(env.render(), kind)
    assert capsys.readouterr().out


@pytest.mark.parametrize("mode", ["discrete", "text"])
def test_a_pickled_environment_is_small_and_plays_the_same_game(mode: str, arguments: Arguments) -> None:
    for make in (jade_env.env, jade_env.parallel_env):
        env = make(**arguments("cooperative", mode))
        frozen = pickle.dumps(env)
        assert len(frozen) < 20_000
        copy = pickle.loads(frozen)
        env.reset(seed=5)
        copy.reset(seed=5)
        unwrapped, other = getattr(env, "unwrapped", env), getattr(copy, "unwrapped", copy)
        assert unwrapped._match.episode.question == other._match.episode.question


@pytest.mark.parametrize("mode", ["discrete", "text"])
@pytest.mark.parametrize("name", ["cooperative", "duel", "adversarial_retrieval"])
def test_a_deep_copy_branches_the_game_where_it_stands(name: str, mode: str, arguments: Arguments) -> None:
    def played(env: Any, choices: Any, turns: int) -> list[Any]:
        """The rest of a game and the beginning of the next ones: who played, what was seen and earned."""
        trace = []
        for _ in range(turns):
            if not env.agents:
                env.reset()
            observation, reward, terminated, truncated, info = env.last()
            values = [] if env.turn is None else env.turn.candidates
            seen = (
                observation
                if mode == "text"
                else (observation["observation"].tobytes(), observation["action_mask"].tobytes())
            )
            trace.append((env.agent_selection, seen, reward, terminated, truncated, str(info), env.state().tobytes()))
            env.step(None if terminated or truncated else 1 + int(choices.integers(len(values))))
        return trace

    env, rng = jade_env.env(**arguments(name, mode)), np.random.default_rng(0)
    env.reset(seed=3)
    for _ in range(4):
        played(env, rng, 7)
        branches = [copy.deepcopy(env) for _ in range(3)]
        one, other = (played(branch, np.random.default_rng(1), 60) for branch in branches[:2])
        assert one == other != played(branches[2], np.random.default_rng(2), 60)
        assert played(copy.deepcopy(env), np.random.default_rng(1), 60) == one  # whatever its branches have played
        assert branches[0]._match.table.questions is env._match.table.questions
    for seed in range(80):  # and the game itself goes on as its branch does, whoever's turn is open
        branch = copy.deepcopy(env)
        assert played(branch, np.random.default_rng(seed), 2) == played(env, np.random.default_rng(seed), 2)


def test_a_copied_parallel_and_a_copied_single_agent_environment_go_on_by_themselves(arguments: Arguments) -> None:
    env = jade_env.parallel_env(**arguments("cooperative"))
    env.reset(seed=0)
    again = copy.deepcopy(env)
    first, second = (dict.fromkeys(env.agents, choice) for choice in (1, 2))
    env.step(first)
    left, right = again.step(first), copy.deepcopy(again)
    assert again.agents and right.turns().keys() == again.turns().keys() == env.turns().keys()
    right.step(second)
    assert env._match.episode.trace.played and left[1] == dict.fromkeys(env.agents, 0.0)
    assert len(right._match.episode.trace.played) > len(again._match.episode.trace.played)
    partners = make_policy("random", "cooperative")
    alone = jade_env.single_agent_env("planner", partners=partners, overrides=arguments("cooperative")["overrides"])
    alone.reset(seed=0)
    branch = copy.deepcopy(alone)
    assert str(branch.step(3)) == str(alone.step(3))


def test_every_scenario_is_registered(arguments: Arguments) -> None:
    for name in names("scenarios"):
        for kind in ("aec", "parallel"):
            given = {key: value for key, value in arguments(name).items() if key != "scenario"}
            made = pettingzoo.make(kind, f"jade/{name}-v0", **given)
            made.reset(seed=0)
            assert made.unwrapped.scenario.name == name and made.agents


def test_text_has_a_single_mask(arguments: Arguments) -> None:
    alone = jade_env.single_agent_env("planner", partners="random", **arguments("cooperative", "text"))
    alone.reset(seed=0)
    assert alone.action_masks().tolist() == [True]


def test_every_role_is_registered_with_partners_that_give_it_a_turn() -> None:
    import gymnasium

    small = {"data.passages": 300, "data.train": 60}
    for role in (card for card in names("agents") if card not in ("adversary", "solver", "verifier")):
        name = "".join(part.capitalize() for part in role.split("_"))
        made = gymnasium.make(f"jade/{name}-v0", overrides=small)
        observation, info = made.reset(seed=0)
        assert made.unwrapped.agent == role and made.observation_space.contains(observation)
        assert info["action_mask"].sum() >= 1


def test_the_wrapper_explains_wrong_calling_orders(arguments: Arguments) -> None:
    env = jade_env.env(**arguments("cooperative"))
    for call in (env.last, lambda: env.step(1), lambda: env.observe("planner"), lambda: env.agent_selection):
        with pytest.raises(JadeError, match="call reset"):
            call()
    env.reset(seed=0)
    with pytest.raises(JadeError, match="planner is still playing"):
        env.step(None)
    while not any(env.terminations.values()):
        env.step(1)
    with pytest.raises(JadeError, match="has ended"):
        env.step(1)
    while env.agents:
        env.step(None)
    with pytest.raises(JadeError, match="call reset"):
        env.step(1)


@pytest.mark.parametrize("parallel", [False, True])
def test_torchrl_reads_the_specs(parallel: bool, arguments: Arguments) -> None:
    pytest.importorskip("torchrl", reason="torchrl is not installed")
    from torchrl.envs.libs.pettingzoo import PettingZooWrapper
    from torchrl.envs.utils import check_env_specs

    warnings.simplefilter("ignore")
    options = arguments("cooperative", "discrete")
    env = jade_env.parallel_env(**options) if parallel else jade_env.env(**options)
    wrapped = PettingZooWrapper(env=env, use_mask=True, categorical_actions=True, done_on_any=False)
    check_env_specs(wrapped, seed=0)
    assert wrapped.rollout(20)["next", "done"].any()


def test_what_reset_makes_is_not_there_before_it(small: Scenario) -> None:
    env = jade_env.env(small)
    assert not hasattr(env, "rewards") and len(inspect.getmembers(env)) > 10
    with pytest.raises(JadeError, match="call reset"):
        env.step(1)
    env.reset(seed=0)
    assert hasattr(env, "rewards")


def test_an_action_may_come_alone_in_an_array_but_not_as_many(small: Scenario) -> None:
    env = jade_env.env(small)
    env.reset(seed=0)
    env.step(np.array([1]))
    assert not any(env.rewards.values()), "a legal action"
    with pytest.raises(JadeError, match=r"not an array of shape \(3,\)"):
        env.step(np.zeros(3))


@pytest.mark.parametrize("action", [["<workflow>AG</workflow>"], ("AG",), {"role": "assistant", "content": "AG"}])
def test_what_stands_around_a_text_is_refused_in_every_view_and_nothing_is_played(action: Any, small: Scenario) -> None:
    text = small.model_copy(update={"mode": "text"})
    aec, parallel = jade_env.env(text), jade_env.parallel_env(text)
    for env in (aec, parallel):
        env.reset(seed=0)
    with pytest.raises(JadeError, match="one number or a text, not "):
        aec.step(action)
    with pytest.raises(JadeError, match="one number or a text, not "):
        parallel.step({"planner": action})
    pool = jade_env.make_pool(text, 1)
    with pytest.raises(JadeError, match="not "):
        pool.step({pool.turns()[0].id: action})


class Shelf:
    identity = "shelf"

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        return [[Hit(Document("0", "Shelf", f"Of {query}"), 1.0)][:top_k] for query in queries]


def test_a_retriever_of_ones_own_answers_in_every_view_and_travels_in_a_pickle(small: Scenario) -> None:
    path, own = "<workflow>R,AG</workflow>", {"retriever": Shelf(), "mode": "text"}
    aec, parallel = jade_env.env(small, **own), jade_env.parallel_env(small, **own)
    alone = jade_env.single_agent_env("planner", small, "random", **own)
    for env in (aec, pickle.loads(pickle.dumps(aec)), copy.deepcopy(aec)):
        env.reset(seed=0)
        env.step(path)
        assert "Of " in env.last()[0]
    parallel.reset(seed=0)
    observations = parallel.step({"planner": path})[0]
    assert "Of " in observations["answer_generator"]
    alone.reset(seed=0)
    alone.step(path)
    assert alone._match.episode.trace.root.retrieved[0].title == "Shelf"
    pool = jade_env.make_pool(small, n=2, **own)
    pool.step({turn.id: path for turn in pool.turns()})
    assert all(turn.view.documents[0].title == "Shelf" for turn in pool.turns())
    short = Shelf()
    short.search = lambda queries, top_k: []  # type: ignore[method-assign]
    pool = jade_env.make_pool(small, n=2, mode="text", retriever=short)
    with pytest.raises(ConfigError, match="answered 2 queries with 0 lists of hits: one each is wanted"):
        pool.step({turn.id: path for turn in pool.turns()})
    for wrong in (Shelf, object(), "bm25"):
        with pytest.raises(ConfigError, match="retriever: expected an object with search and identity"):
            jade_env.make_pool(small, n=2, retriever=wrong)  # type: ignore[arg-type]
