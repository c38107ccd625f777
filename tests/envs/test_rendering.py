from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jade_env.envs import rendering
from jade_env.errors import MissingExtra
from jade_env.game.episode import Episode, Rules, Turn
from jade_env.game.outputs import parse
from jade_env.questions import Question
from jade_env.retrieval.types import Document
from jade_env.scenario import load_scenario

QUESTION = Question(
    id="q1",
    text="Were Ada Lund and Boris Vey born in the same city?",
    golden_answers=("no", "they were not"),
    supporting_ids=("d0", "d4"),
)
DOCUMENTS = [
    Document("d0", "Ada Lund", "Ada Lund was born in Oslo."),
    Document("d1", "Lund", "Lund is a city in Sweden."),
    Document("d4", "Boris Vey", "Boris Vey, a painter, was born in Vienna."),
]
ANSWERS = {
    "workflow": "<workflow>R,DS,AG</workflow>",
    "subquestions_parallel": "<q1>Where was Ada Lund born?</q1><q2>Where was Boris Vey born?</q2>",
    "subquestions_serial": "<q1>Where was Ada Lund born?</q1><q2>Was Boris Vey born in #1?</q2>",
    "query": "<query>Boris Vey birthplace</query>",
    "document_ids": "<id>Document0,Document2</id>",
    "answer": "<answer>Oslo</answer>",
}


def play(write: Callable[[Turn], str], turns: int = 100, question: Question = QUESTION) -> Episode:
    """An episode of the cooperative scenario, by hand: what `write` says is played, and every query finds DOCUMENTS."""
    episode = Episode(question, Rules.of(load_scenario("cooperative")))
    for _ in range(turns):
        while episode.pending_queries:
            episode.supply(episode.pending_queries[0], DOCUMENTS)
        if episode.finished:
            break
        turn = episode.turns[0]
        episode.act(turn, parse(turn.kind, write(turn), **turn.context))
    while episode.pending_queries:
        episode.supply(episode.pending_queries[0], DOCUMENTS)
    return episode


def split_first(code: str) -> Callable[[Turn], str]:
    def write(turn: Turn) -> str:
        if turn.kind == "workflow" and turn.node.parent is None:
            return f"<workflow>{code}</workflow>"
        return ANSWERS[turn.kind]

    return write


def test_text_shows_questions_workflows_turns_documents_answer_and_score() -> None:
    text = rendering.ansi(play(split_first("QDP")))
    for expected in (
        QUESTION.text,
        "[QDP]",
        "[R,DS,AG]",
        "#1 Where was Ada Lund born?   #2 Where was Boris Vey born?",
        "2  Where was Boris Vey born?",
        "keeps 0, 2",
        "answer_summarizer    Oslo",
        "gold      no | they were not",
        "F1 0.00",
        "rounds 3   retrievals 2   turns 9",
    ):
        assert expected in text


def test_gold_documents_are_marked_and_others_are_not() -> None:
    text = rendering.ansi(play(split_first("R,DS,AG")))
    assert "0 ★ Ada Lund; 1 Lund; 2 ★ Boris Vey" in text


def test_retrieval_stands_between_the_rewriter_and_the_selector() -> None:
    text = rendering.ansi(play(split_first("QR,R,DS,AG")))
    order = [re.match(r"\s+(\w+)", line) for line in text.splitlines()]
    assert [m[1] for m in order if m][:5] == [
        "planner",
        "query_rewriter",
        "retrieval",
        "document_selector",
        "answer_generator",
    ]


def test_malformed_output_is_shown_as_written_and_called_malformed() -> None:
    episode = play(lambda turn: "no idea" if turn.kind == "answer" else split_first("R,AG")(turn))
    assert "answer_generator     no idea (malformed)" in rendering.ansi(episode)


@pytest.mark.parametrize("turns", range(8))
def test_an_episode_in_play_can_be_shown_after_any_turn(turns: int) -> None:
    episode = play(split_first("QDS"), turns)
    text = rendering.ansi(episode)
    assert all(f"{turn.agent:<20} …" in text for turn in episode.turns)
    assert rendering.rgb_array(episode).any()


def test_a_truncated_episode_says_why() -> None:
    episode = play(split_first("R,AG"), turns=1)
    episode.truncate("the retriever at\x1b[2J example is down")
    assert "cut short the retriever at[2J example is down" in rendering.ansi(episode)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_whatever_agents_write_stays_printable_text(text: str) -> None:
    shown = rendering.ansi(play(lambda turn: text, turns=6))
    assert all(char == "\n" or char.isprintable() for char in shown)
    shown.encode("utf-8")


def test_markup_and_control_characters_in_documents_and_outputs_are_inert(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal is always 80 wide

    hostile = "[bold red]x[/bold red] [/] [link=file:///etc]y[/link] \x1b[31m \u202e\u2066 $\\frac{1}{0$ \ud800"
    episode = Episode(
        Question("q", hostile, ("[/gold]",), supporting_ids=("d",)), Rules.of(load_scenario("cooperative"))
    )
    for written in ("<workflow>R,AG</workflow>", f"<answer>{hostile}</answer>"):
        while episode.pending_queries:
            episode.supply(episode.pending_queries[0], [Document("d", hostile, hostile)])
        turn = episode.turns[0]
        episode.act(turn, parse(turn.kind, written, **turn.context))
    console = Console(width=200, force_terminal=True, color_system=None, record=True)
    with console.capture() as capture:
        console.print(rendering.rich_tree(episode))
    printed = capture.get()
    assert printed.count("[bold red]x[/bold red] [/] [link=file:///etc]y[/link] [31m $\\frac{1}{0$") >= 3
    assert "\x1b" not in printed and "\u202e" not in printed and "[/gold]" in printed
    assert rendering.rgb_array(episode).shape == (720, 1280, 3)


def test_the_picture_is_a_fixed_size_rgb_array_and_depends_only_on_the_episode() -> None:
    one, two = (rendering.rgb_array(play(split_first("QDP"))) for _ in range(2))
    assert one.shape == (720, 1280, 3) and one.dtype == np.uint8
    assert np.array_equal(one, two)
    assert not np.array_equal(one, rendering.rgb_array(play(split_first("QDS"))))


def test_drawing_warns_of_nothing_and_touches_no_pyplot_state() -> None:
    question = Question("q", "誰が書いたか 🎲 \u05e9\u05dc\u05d5\u05dd?", ("北京",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rendering.rgb_array(play(split_first("R,AG"), question=question))
    if "matplotlib.pyplot" in sys.modules:
        from matplotlib import pyplot

        assert not pyplot.get_fignums()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "jade_env.envs.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"jade-env\[report\]"):
        rendering.rgb_array(play(split_first("R,AG")))


def test_long_text_is_cut_and_wide_trees_fit() -> None:
    words = " ".join(f"<q{i}>{'why ' * 60}{i}?</q{i}>" for i in range(1, 8))
    episode = play(lambda turn: words if turn.kind.startswith("sub") else split_first("QDP")(turn))
    assert max(map(len, rendering.ansi(episode, width=100).splitlines())) == 100
    assert rendering.rgb_array(episode).shape == (720, 1280, 3)


@pytest.mark.parametrize(("width", "depth"), [(200, 1), (2, 8), (7, 3)])
def test_trees_far_beyond_the_default_limits_are_drawn_all_the_same(width: int, depth: int) -> None:
    def tree(path: tuple[int, ...]) -> rendering.Branch:
        wide = width if len(path) < 2 else 1
        children = tuple(tree((*path, i)) for i in range(1, wide + 1)) if len(path) < depth else ()
        return rendering.Branch(path, "why?", "QDS" if children else "AG", (), children, (), "so", bool(children))

    from jade_env.envs.picture import draw

    assert draw(tree(()), [("answer", "so")]).shape == (720, 1280, 3)


def shown(scenario: str, *said: str, **overrides: object) -> str:
    """An episode of a scenario in which the texts are written one after another."""
    episode = Episode(QUESTION, Rules.of(load_scenario(scenario, overrides)))
    for text in said:
        while episode.pending_queries:
            episode.supply(episode.pending_queries[0], [*DOCUMENTS, *DOCUMENTS, *DOCUMENTS])
        turn = episode.turns[0]
        episode.act(turn, parse(turn.kind, text, **turn.context))
    assert episode.finished
    return rendering.ansi(episode)


def test_a_lone_solver_s_searches_stand_behind_the_turns_that_asked() -> None:
    text = shown("monolithic", "<search>Ada</search>", "<search>Boris</search>", "<answer>no</answer>")
    rows = [line.split()[:2] for line in text.splitlines() if line.startswith("   ") and "->" not in line]
    assert rows[:4] == [["solver", "search:"], ["retrieval", "Ada"], ["solver", "search:"], ["retrieval", "Boris"]]


def test_an_adversary_that_replaces_nothing_is_shown_to_do_so() -> None:
    text = shown("adversarial_retrieval", "<document></document>", "<answer>no</answer>", workflows=[["R", "AG"]])
    assert "replaces nothing" in text


def test_what_members_spent_themselves_is_part_of_the_reward_s_sum() -> None:
    text = shown("private_costs", "<answer>no</answer>", workflows=[["AG"]], **{"reward.turn_cost": 0.25})
    reward = next(line for line in text.splitlines() if line.startswith("reward"))
    value, outcome, cost, own = map(float, re.findall(r"-?\d+\.\d+", reward))
    assert value == pytest.approx(outcome - cost - own) and own >= 0.25
