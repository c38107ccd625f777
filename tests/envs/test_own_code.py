"""What somebody meets who writes the training loop, partners, retriever or cards: infos that are true, errors that say why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jade_env
from jade_env.envs.turn import Action, Turn
from jade_env.errors import ConfigError, JadeError
from jade_env.policy import make_policy
from jade_env.retrieval import Document, Hit


def drawn(env: Any, agent: str, rng: np.random.Generator) -> Any:
    mask = env.observe(agent)["action_mask"]
    return int(rng.choice(np.flatnonzero(mask)))


@pytest.mark.parametrize("scenario", ["cooperative", "duel", "private_costs"])
def test_infos_of_every_agent_are_true_after_every_step(scenario: str) -> None:
    env = jade_env.env(scenario, mode="discrete")
    rng, looked = np.random.default_rng(0), 0
    for _ in range(30):
        env.reset(seed=None if looked else 0)
        for _agent in env.agent_iter():
            looked += 1
            assert {agent: env.infos[agent] for agent in env.agents} == {
                agent: info for agent, info in env._match.infos().items() if agent in env.agents
            }
            env.step(drawn(env, env.agent_selection, rng) if env.turn else None)
    assert looked > 100


def test_the_messages_of_an_agent_that_waits_are_there_too() -> None:
    env = jade_env.env("duel", mode="text")
    env.reset(seed=0)
    env.step("<workflow>AG</workflow>")
    assert env.agent_selection != "red_answer_generator"
    assert env.infos["red_answer_generator"]["has_turn"] == 1.0
    assert env.infos["red_answer_generator"]["messages"][1]["content"] in env.observe("red_answer_generator")


def test_after_the_last_agent_has_left_it_says_so() -> None:
    for make in (jade_env.env, jade_env.raw_env):
        env = make("cooperative", overrides={"workflows": ["AG"]})
        env.reset(seed=0)
        for _agent in env.agent_iter():
            env.step(1 if env.turn else None)
        for misuse in (env.last, lambda env=env: env.step(None), lambda env=env: env.step(0)):
            with pytest.raises(JadeError, match=r"has ended: call reset\(\)"):
                misuse()


def test_the_game_in_play_can_be_looked_at() -> None:
    env = jade_env.parallel_env("cooperative", overrides={"workflows": ["AG"]})
    env.reset(seed=0)
    asked = env.episodes[0].question.id
    while env.agents:
        env.step(dict.fromkeys(env.turns(), 1))
    assert len(env.episodes) == 1 and env.episodes[0].finished and env.episodes[0].question.id == asked
    one = jade_env.single_agent_env("planner", "cooperative")
    one.reset(seed=0)
    assert one.episodes[0].question.id == asked


def test_words_of_a_candidate_cost_what_they_would_cost_written() -> None:
    paid = {}
    for mode in ("discrete", "text"):
        game = jade_env.load_scenario(
            "private_costs", {"reward.token_cost": 0.02, "mode": mode, "workflows": ["R,AG", "AG"]}
        )
        pool, policy = jade_env.make_pool(game, n=8, seed=0), make_policy("heuristic", game)
        ended: list[Any] = []
        while len(ended) < 8:
            turns = [turn for turn in pool.turns() if turn.episode < 8]
            ended += pool.step(dict(zip([turn.id for turn in turns], policy.act(turns), strict=True)))
        paid[mode] = {episode.index: episode.payoffs for episode in ended if episode.index < 8}
        assert all(episode.result.own > 0.04 for episode in ended)
    assert paid["discrete"] == paid["text"]


def test_a_role_that_may_not_read_documents_has_no_candidates_from_them(tmp_path: Path) -> None:
    card = tmp_path / "blind.yaml"
    card.write_text(
        "name: blind\ncode: AG\nsummary: answers from the question alone\nwrites: answer\nreads: [query]\ncandidates: answer\n"
        "prompts:\n  full: {system: Answer., user: 'Q: {query}'}\n  brief: {system: A, user: 'Q: {query}'}\n"
    )
    changed = {"workflows": ["R,AG"], "team": ["planner", str(card)]}
    blind, seeing = [jade_env.env("cooperative", "discrete", overrides=o) for o in (changed, {"workflows": ["R,AG"]})]
    for env in (blind, seeing):
        env.reset(seed=0)
    assert blind.turn is not None and seeing.turn is not None
    assert blind.turn.view.documents == () and len(seeing.turn.view.documents) > 0
    assert len(blind.turn.candidates) < len(seeing.turn.candidates)
    question = blind.turn.view.query.lower()
    assert all(str(value).lower() in question for value in blind.turn.candidates if value not in ("yes", "no"))


def test_a_rewriter_that_may_not_read_answers_has_no_candidates_from_them(tmp_path: Path) -> None:
    card = tmp_path / "query_rewriter.yaml"
    card.write_text(
        "name: query_rewriter\ncode: QR\nsummary: rewrites\nwrites: query\nreads: [query]\ncandidates: query\n"
        "prompts:\n  full: {system: Rewrite., user: 'Q: {query}'}\n  brief: {system: R, user: 'Q: {query}'}\n"
    )
    given = list(jade_env.load_scenario("cooperative").cards)
    told = {}
    for team in (given, [str(card) if name == "query_rewriter" else name for name in given]):
        env = jade_env.env("cooperative", "discrete", overrides={"team": team, "workflows": ["AG", "QDS"]})
        env.reset(seed=0)
        for text in ("<workflow>QDS</workflow>", "<q1>Who?</q1><q2>Where is #1?</q2>"):
            env.step(text)
        env.step("<workflow>AG</workflow>") if env.turn.kind == "workflow" else None
        env.step("<answer>SECRETNAME</answer>")
        told[len(told)] = [env.turn.kind, "SECRETNAME" in " ".join(env.turn.candidates)]
    assert list(told.values()) == [["query", True], ["query", False]]


def test_text_alone_in_an_array_is_text_and_long_prompts_stay_in_their_space() -> None:
    for alone in (np.array("<workflow>AG</workflow>"), np.array(["<workflow>AG</workflow>"])):
        env = jade_env.raw_env("small_world", "text")
        env.reset(seed=0)
        env.step(alone)
        assert env.turn.kind == "answer", alone.shape
    env.reset(seed=0)
    for text in ("<workflow>QDP</workflow>", "<q1>Who?</q1><q2>Where?</q2>"):
        env.step(text)
    while env.turn.agent != "answer_summarizer":
        env.step("<workflow>AG</workflow>" if env.turn.kind == "workflow" else "x" * 900_000)
    assert env.observation_space("answer_summarizer").contains(env.last()[0])


class Shouts:
    """A partner whose answer is one text, not one a turn."""

    def act(self, turns: Sequence[Turn]) -> Any:
        return "<workflow>AG</workflow>"


def test_partners_of_a_single_agent_are_held_to_one_action_a_turn() -> None:
    env = jade_env.single_agent_env("answer_generator", partners=Shouts())
    with pytest.raises(ConfigError, match="a list of one action a turn"):
        env.reset(seed=0)


def test_nobody_has_to_be_named_for_the_role_that_one_plays() -> None:
    others = [agent for agent in jade_env.parallel_env().possible_agents if agent != "planner"]
    env = jade_env.single_agent_env("planner", partners=dict.fromkeys(others, "heuristic"))
    env.reset(seed=0)
    assert env.action_masks().sum() > 1


def test_a_tensor_of_several_numbers_is_refused_as_an_array_is() -> None:
    torch = pytest.importorskip("torch")
    env = jade_env.env("cooperative", mode="discrete")
    env.reset(seed=0)
    with pytest.raises(JadeError, match=r"not an array of shape \(8,\)"):
        env.step(torch.zeros(8))
    env.step(torch.ones(1, dtype=torch.int64))
    assert env.episodes[0].trace.played[0].output.valid


class Shelf:
    """A retriever that finds nothing to the point, or answers in another form than it should."""

    identity = "shelf:1"

    def __init__(self, form: str = "hits") -> None:
        self.form, self.asked = form, 0

    def search(self, queries: Sequence[str], top_k: int) -> Any:
        self.asked += len(queries)
        page = Document("1", "Nothing", "There is nothing on this page.")
        given: dict[str, Any] = {
            "hits": [[Hit(page, 1.0)] for _ in queries],
            "documents": [[page] for _ in queries],
            "nothing": None,
            "generator": ([Hit(page, 1.0)] for _ in queries),
        }
        return given[self.form]


@pytest.mark.parametrize(
    ("form", "said"),
    [("documents", r"Hit\(document, score\)"), ("nothing", "a NoneType"), ("generator", "a generator")],
)
def test_a_retriever_that_answers_in_another_form_is_refused(form: str, said: str) -> None:
    env = jade_env.env("cooperative", retriever=Shelf(form), overrides={"workflows": ["R,AG"]})
    with pytest.raises(ConfigError, match=said):
        env.reset(seed=0)


def test_baselines_choose_with_the_retriever_that_is_played_with() -> None:
    game = jade_env.load_scenario("cooperative", {"workflows": ["AG", "R,AG"], "data.train": 50})
    shelf = Shelf()

    def nets(spec: str) -> float:
        policy = make_policy(spec, game, retriever=shelf)
        from jade_env.learning.evaluation import evaluate

        return float(np.mean([row.net for row in evaluate(policy, game, "dev", 40, retriever=shelf)]))

    plans: list[Action] = make_policy("heuristic", game, retriever=shelf).act([_first_turn(game, shelf)])
    assert game.workflows[int(plans[0]) - 1] == ("AG",), "retrieving costs and finds nothing"
    assert nets("ceiling") >= nets("heuristic") and shelf.asked > 0


def _first_turn(game: Any, shelf: Shelf) -> Turn:
    env = jade_env.env(game, mode="discrete", retriever=shelf)
    env.reset(seed=0)
    assert env.turn is not None
    return env.turn
