"""The rule book, claim by claim, on a hand-written question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jade_env.errors import JadeError
from jade_env.game.episode import Episode, Rules, Turn
from jade_env.game.outputs import Output, parse
from jade_env.game.workflow import substitute
from jade_env.questions import Question
from jade_env.retrieval import Document
from jade_env.scenario import load_scenario

QUESTION = Question("q", "Where was the founder of Vantor born?", ("Toral",), supporting_ids=("1", "2"))
DOCUMENTS = [Document(str(i), f"title {i}", f"text {i}") for i in range(4)]


def episode_of(question: Question = QUESTION, **overrides: Any) -> Episode:
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    costs = {"reward.round_cost": 0.2, "reward.retrieval_cost": 0.1, "reward.cap": 3}
    return Episode(question, Rules.of(load_scenario("cooperative", {"retriever.top_k": 3, **costs, **keys})))


def supply(episode: Episode) -> None:
    while episode.pending_queries:
        episode.supply(episode.pending_queries[0], DOCUMENTS)


def play(episode: Episode, *texts: str) -> list[str]:
    """Play texts on the oldest turns; return who acted."""
    actors = []
    for text in texts:
        turn = episode.turns[0]
        actors.append(turn.agent)
        episode.act(turn, parse(turn.kind, text, **turn.context))
        supply(episode)
    return actors


def play_out(episode: Episode, choose: Callable[[Turn], str]) -> None:
    while not episode.finished:
        supply(episode)
        turn = episode.turns[0]
        episode.act(turn, parse(turn.kind, choose(turn), **turn.context))
        supply(episode)


def test_a_chain_plays_its_members_in_order_and_pays_its_costs() -> None:
    episode = episode_of(reward__free_rounds=0)
    actors = play(
        episode,
        "<workflow>QR,R,DS,AG</workflow>",
        "<query>Vantor founder</query>",
        "<id>Document1</id>",
        "<answer>Toral</answer>",
    )
    assert actors == ["planner", "query_rewriter", "document_selector", "answer_generator"]
    assert episode.finished and episode.answer == "Toral"
    assert episode.trace.root.query == "Vantor founder"
    assert [d.id for d in episode.trace.root.documents] == ["1"]
    ledger = episode.ledger
    assert (ledger.rounds, ledger.retrievals, ledger.turns, ledger.latency, ledger.malformed) == (1, 1, 4, 5, 0)
    assert episode.result is not None
    assert episode.result.value == pytest.approx(1 - 0.2 * 1 / 3 - 0.1 * 1 / 3)


def test_serial_subquestions_open_one_after_another_each_rewritten_with_the_answers_so_far() -> None:
    episode = episode_of()
    play(episode, "<workflow>QDS</workflow>", "<q1>Who founded Vantor?</q1><q2>Where was #1 born?</q2>")
    assert [t.agent for t in episode.turns] == ["planner"]
    assert episode.turns[0].view.query == "Who founded Vantor?"
    play(episode, "<workflow>R,AG</workflow>", "<answer>Ada</answer>")
    rewriter = episode.turns[0]
    assert rewriter.agent == "query_rewriter"
    assert rewriter.view.answers == (("Who founded Vantor?", "Ada"),)
    actors = play(episode, "<query>Where was Ada born?</query>", "<workflow>AG</workflow>", "<answer>Toral</answer>")
    assert actors == ["query_rewriter", "planner", "answer_generator"]
    assert episode.turns[0].agent == "answer_summarizer"
    assert episode.turns[0].view.answers == (("Who founded Vantor?", "Ada"), ("Where was Ada born?", "Toral"))
    play(episode, "<answer>Toral</answer>")
    assert episode.finished
    assert (episode.ledger.rounds, episode.ledger.rounds_together, episode.ledger.turns) == (3, 3, 8)
    assert episode.ledger.latency == 9  # eight turns and one retrieval, each waiting for the one before


def test_parallel_subquestions_open_together_and_are_as_slow_as_the_slowest() -> None:
    episode = episode_of()
    play(episode, "<workflow>QDP</workflow>", "<q1>a?</q1><q2>b?</q2><q3>c?</q3>")
    assert [(t.agent, t.node.path) for t in episode.turns] == [("planner", (1,)), ("planner", (2,)), ("planner", (3,))]
    assert all(turn.view.answers == () for turn in episode.turns)
    play(episode, "<workflow>AG</workflow>", "<workflow>R,AG</workflow>", "<workflow>AG</workflow>")
    assert [t.node.path for t in episode.turns] == [(1,), (2,), (3,)]
    play(episode, "<answer>x</answer>", "<answer>y</answer>", "<answer>z</answer>")
    assert episode.turns[0].view.answers == (("a?", "x"), ("b?", "y"), ("c?", "z"))
    play(episode, "<answer>x, y, z</answer>")
    assert (episode.ledger.rounds, episode.ledger.rounds_together) == (4, 2)
    assert episode.ledger.latency == 6  # plan, split, plan, retrieval, answer, summary


@pytest.mark.parametrize(
    ("text", "agents"),
    [
        ("nonsense", ["serial_decomposer"]),
        ("<workflow>QDP</workflow>", ["parallel_decomposer"]),
        ("<workflow>DS,AG</workflow>", ["serial_decomposer"]),
    ],
)
def test_a_malformed_plan_at_the_root_decomposes_serially(text: str, agents: list[str]) -> None:
    episode = episode_of()
    play(episode, text)
    assert [t.agent for t in episode.turns] == agents


def test_a_malformed_plan_of_a_subquestion_retrieves_and_answers() -> None:
    episode = episode_of()
    play(episode, "<workflow>QDS</workflow>", "<q1>a?</q1>", "<workflow>QDS</workflow>")
    assert episode.ledger.malformed == 1  # decomposing is illegal at max_depth
    assert episode.turns[0].agent == "answer_generator"
    assert episode.turns[0].view.retrieved


def test_format_penalties_cost_their_author_only_and_follow_the_preset() -> None:
    for preset, penalty in (("paper", -1.0), ("code", -2.0)):
        episode = episode_of(reward={"preset": preset})
        turn = episode.turns[0]
        assert episode.act(turn, parse(turn.kind, "?", **turn.context)) == penalty
        assert episode.trace.played[0].penalty == penalty


def test_an_unreadable_split_opens_the_question_itself() -> None:
    episode = episode_of()
    play(episode, "<workflow>QDP</workflow>", "I would rather not")
    assert [n.question for n in episode.trace.nodes] == [QUESTION.text, QUESTION.text]


def test_a_selector_keeps_all_documents_when_its_output_is_malformed() -> None:
    episode = episode_of()
    play(episode, "<workflow>R,DS,AG</workflow>", "Document1")
    assert len(episode.turns[0].view.documents) == 3


def test_a_selector_is_not_asked_when_nothing_was_found() -> None:
    episode = episode_of()
    turn = episode.turns[0]
    episode.act(turn, parse(turn.kind, "<workflow>R,DS,AG</workflow>", **turn.context))
    episode.supply(episode.pending_queries[0], [])
    assert episode.turns[0].agent == "answer_generator"


def test_limits_bound_depth_rounds_and_turns() -> None:
    split = {"workflow": "<workflow>QDP</workflow>", "subquestions_parallel": "<q1>a</q1><q2>b</q2><q3>c</q3>"}
    deep = episode_of(limits={"max_depth": 3, "max_rounds": 10, "max_turns": 64})
    play_out(deep, lambda turn: split.get(turn.kind, "<answer>x</answer>"))
    assert deep.ledger.rounds <= 10 and len(deep.trace.nodes) <= 10
    assert max(node.depth for node in deep.trace.nodes) <= 3
    short = episode_of(limits={"max_turns": 5})
    play_out(short, lambda turn: split.get(turn.kind, "<answer>Toral</answer>"))
    assert short.ledger.turns == 5 and short.answer == "" and short.result is not None and not short.truncated
    assert all(node.answer is not None for node in short.trace.nodes)


def test_what_a_serial_sub_question_leaves_of_its_rounds_goes_to_the_next() -> None:
    split = "<q1>a</q1><q2>b</q2><q3>c</q3>"
    episode = episode_of(limits={"max_depth": 3, "max_rounds": 12, "max_turns": 64})
    play(episode, "<workflow>QDS</workflow>", split)
    first, second, third = episode.trace.root.children
    assert (first.room, second.room, third.room) == (3, 3, 2), "what is left of twelve, the remainder to the first"
    play(episode, "<workflow>AG</workflow>", "<answer>x</answer>", "<query>b of x</query>", "<workflow>QDP</workflow>")
    assert (first.left, second.room) == (0, 6)
    play(episode, split)
    assert [child.room for child in second.children] == [1, 1, 1] and (second.room, second.left) == (6, 0)


def test_a_plan_that_no_text_could_say_is_answered_without_decomposing_and_a_view_stays_as_it_was() -> None:
    episode = episode_of()
    root = episode.turns[0]
    play(episode, "<workflow>QDP</workflow>", "".join(f"<q{i}>part {i}</q{i}>" for i in range(1, 8)))
    assert ("QDP",) in root.view.workflows, "looked at only now"
    child = episode.turns[0]
    episode.act(child, Output("workflow", True, ("QDP",)))
    decomposer = next(turn for turn in episode.turns if turn.node is child.node)
    episode.act(decomposer, parse(decomposer.kind, "<q1>a</q1><q2>b</q2>", **decomposer.context))
    assert child.node.workflow == ("R", "AG") and not child.node.children


def test_a_static_scenario_has_no_planner_and_starts_with_its_chain() -> None:
    rules = Rules.of(load_scenario("static"))
    assert rules.agents == ("query_rewriter", "document_selector", "answer_generator")
    assert Episode(QUESTION, rules).turns[0].agent == "query_rewriter"


def test_a_static_scenario_that_retrieves_first_waits_for_documents() -> None:
    episode = episode_of(workflows=[["R", "AG"]])
    assert not episode.turns and episode.pending_queries[0].query == QUESTION.text
    assert Rules.of(load_scenario("cooperative", {"workflows": [["R", "AG"]]})).agents == ("answer_generator",)


def test_a_turn_cannot_be_played_twice_or_with_another_kind() -> None:
    episode = episode_of()
    turn = episode.turns[0]
    with pytest.raises(JadeError, match="planner writes workflow, not answer"):
        episode.act(turn, parse("answer", "<answer>x</answer>"))
    play(episode, "<workflow>AG</workflow>")
    with pytest.raises(JadeError, match="no such turn open"):
        episode.act(turn, parse("workflow", ""))


def test_a_truncated_episode_has_no_result() -> None:
    episode = episode_of()
    play(episode, "<workflow>R,AG</workflow>")
    episode.truncate("the retriever is down")
    assert episode.finished and episode.result is None and not episode.turns


def test_a_list_is_worth_its_squared_share() -> None:
    question = Question(
        "l", "Where were A, B, C and D born?", ("W, X, Y, Z",), metadata={"list_items": ["W", "X", "Y", "Z"]}
    )
    episode = episode_of(question)
    play(episode, "<workflow>AG</workflow>", "<answer>W, X</answer>")
    assert episode.result is not None
    assert episode.result.outcome == pytest.approx(0.25)
    assert episode.result.scores.f1 == pytest.approx(2 / 3)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_text_from_anybody_ends_within_the_limits(data: st.DataObject) -> None:
    episode = episode_of(limits={"max_depth": 2, "max_turns": 24})
    words = st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            [
                "<workflow>QDP</workflow>",
                "<workflow>QDS</workflow>",
                "<workflow>R,DS,AG</workflow>",
                "<q1>#1</q1><q2>#9 {query}</q2>",
                "<answer></answer>",
            ]
        ),
    )
    turns = 0
    while not episode.finished:
        turn = data.draw(st.sampled_from(episode.turns))
        episode.act(turn, parse(turn.kind, data.draw(words), **turn.context))
        supply(episode)
        turns += 1
        assert turns <= 24
    assert episode.result is not None and episode.ledger.turns == turns


def test_a_solver_below_a_decomposition_searches_within_the_rounds_of_all() -> None:
    team = [
        "planner",
        "serial_decomposer",
        "parallel_decomposer",
        "query_rewriter",
        "answer_generator",
        "solver",
        "answer_summarizer",
    ]
    for split in ("QDS", "QDP"):
        episode = episode_of(team=team, workflows=["AG", "SOLVE", "QDS", "QDP"], limits__max_rounds=8)
        play(episode, f"<workflow>{split}</workflow>", "<q1>Who?</q1><q2>Where?</q2><q3>When?</q3>")
        outputs = {
            "workflow": "<workflow>SOLVE</workflow>",
            "search_or_answer": "<search>more of it</search>",
            "query": "<query>Where then?</query>",
            "answer": "<answer>Toral</answer>",
        }
        play_out(
            episode,
            lambda turn, outputs=outputs: (
                outputs[turn.kind] if turn.kind != "search_or_answer" or turn.view.may_search else outputs["answer"]
            ),
        )
        assert (episode.ledger.rounds, episode.ledger.malformed) == (8, 0)


def test_answers_are_put_into_sub_questions_in_one_pass() -> None:
    assert substitute("What of #1, and #3?", ["A#2", "see #1"]) == "What of A#2, and #3?"
    assert substitute("Is #2 near #12, #0 or #123?", ["A"] * 11 + ["B"]) == "Is A near B, #0 or #123?"
    assert len(substitute("#1" * 1000, ["x" * 1000])) < 40_000
    team = ["planner", "serial_decomposer", "answer_generator", "answer_summarizer"]
    episode = episode_of(team=team, workflows=["AG", "QDS"])
    play(episode, "<workflow>QDS</workflow>", "<q1>Who?</q1><q2>What of #1, and #3?</q2><q3>Is #2 it?</q3>")
    play(episode, "<answer>A#2</answer>")
    assert episode.turns[0].view.query == "What of A#2, and #3?"
