"""The teacher plays gold decompositions perfectly, and with `grounded=True` answers only what was retrieved."""

from __future__ import annotations

from pathlib import Path

import pytest

from jade_env.errors import ConfigError
from jade_env.policy import gold, make_policy
from jade_env.policy.mixed import MixedPolicy
from jade_env.policy.random_policy import RandomPolicy
from jade_env.policy.teacher import UNKNOWN, TeacherPolicy
from jade_env.questions import Question
from jade_env.questions.question import Step
from jade_env.scenario import load_scenario

WORLD = {"data.passages": 1000, "data.train": 300, "data.dev": 300, "data.test": 300}
KINDS = {
    "direct": {("AG",)},
    "single": {("R", "AG")},
    "bridge2": {("QDS",)},
    "bridge3": {("QDS",)},
    "list": {("QDP",)},
    "compare_which": {("QDP",)},
    "compare_yesno": {("QDP",)},
}


@pytest.mark.parametrize("mode", ["text", "discrete"])
@pytest.mark.parametrize("name", ["cooperative", "deep", "static"])
def test_teacher_answers_every_question_of_the_world_and_writes_nothing_malformed(play, mean_f1, name, mode) -> None:
    scenario = load_scenario(name, WORLD | {"mode": mode})
    episodes = play(TeacherPolicy(scenario), scenario, "test", 200)
    assert mean_f1(episodes) == 1.0
    assert sum(episode.ledger.malformed for episode in episodes) == 0


def test_teacher_plans_by_the_kind_of_question(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    for episode in play(TeacherPolicy(scenario), scenario, "test", 100):
        assert episode.trace.root.workflow in KINDS[episode.question.kind]


def test_grounded_teacher_reaches_95_percent_on_the_world(play, mean_f1) -> None:
    scenario = load_scenario("cooperative")
    assert mean_f1(play(TeacherPolicy(scenario, grounded=True), scenario, "test", 500)) >= 0.95


def test_grounded_teacher_without_retrieval_knows_only_what_the_question_says(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    teacher = TeacherPolicy(scenario, grounded=True, root=("AG",))
    for episode in play(teacher, scenario, "test", 100):
        assert (episode.answer != UNKNOWN) == (episode.question.kind == "direct")


def test_grounded_teacher_gives_the_items_of_a_list_that_it_has_read(play) -> None:
    scenario = load_scenario("cooperative", WORLD)
    teacher = TeacherPolicy(scenario, grounded=True, root=("R", "AG"))
    lists = [episode for episode in play(teacher, scenario, "test", 200) if episode.question.is_list]
    assert any(0 < episode.result.outcome < 1 for episode in lists)
    for episode in lists:
        read = {document.id for document in episode.trace.root.documents}
        told = [step.answer for step in episode.question.decomposition if step.supporting_id in read]
        assert episode.answer == (", ".join(told) or UNKNOWN)


def test_a_chain_played_side_by_side_is_lost_for_the_grounded_teacher(play) -> None:
    scenario = load_scenario("cooperative", WORLD | {"data.mixture": {"bridge2": 1.0}})
    teacher = TeacherPolicy(scenario, grounded=True, root=("QDP",))
    assert {episode.answer for episode in play(teacher, scenario, "test", 50)} == {UNKNOWN}


@pytest.mark.parametrize("dataset", ["musique", "2wikimultihopqa"])
def test_teacher_plays_real_questions_with_decompositions(play, mean_f1, shared_data: Path, dataset: str) -> None:
    scenario = load_scenario(dataset, {"mode": "text"})
    episodes = play(make_policy("teacher", scenario, data=shared_data), scenario, "dev", 200, shared_data)
    assert mean_f1(episodes) >= 0.9
    assert sum(episode.ledger.malformed for episode in episodes) == 0
    chains = [episode.trace.root for episode in episodes if episode.trace.root.workflow == ("QDS",)]
    assert len(chains) > len(episodes) / 2
    assert all(any("#" in child.question for child in root.children) for root in chains)


def test_teacher_refuses_a_dataset_without_decompositions(shared_data: Path) -> None:
    with pytest.raises(ConfigError, match="no question of hotpotqa has a gold decomposition"):
        make_policy("teacher", "hotpotqa", data=shared_data)


def test_teacher_takes_single_hop_questions_as_one_step(play, mean_f1, shared_data: Path) -> None:
    scenario = load_scenario("xquad_en")
    episodes = play(TeacherPolicy(scenario, shared_data), scenario, "dev", 50, shared_data)
    assert mean_f1(episodes) == 1.0
    assert {episode.trace.root.workflow for episode in episodes} == {("R", "AG")}


def test_teacher_goes_on_sensibly_below_plans_and_splits_that_are_not_its_own(play, mean_f1) -> None:
    scenario = load_scenario("deep", WORLD | {"mode": "text"})
    teacher, draws = TeacherPolicy(scenario), RandomPolicy(3)
    splits = dict.fromkeys(("planner", "serial_decomposer", "parallel_decomposer"), draws)
    episodes = play(MixedPolicy({"default": teacher, **splits}), scenario, "test", 100)
    assert mean_f1(episodes) == 1.0
    assert sum(episode.ledger.malformed for episode in episodes) == 0
    assert any(node.depth > 1 for episode in episodes for node in episode.trace.nodes)


def _question(*steps: tuple[str, str]) -> Question:
    return Question("q", "?", ("x",), decomposition=tuple(Step(text, answer) for text, answer in steps))


def test_triples_refer_to_the_steps_whose_answers_they_start_from() -> None:
    links = gold.chain(
        _question(
            ("The Married Flapper >> director", "Stuart Paton"),
            ("The Doolins >> director", "Gordon Douglas"),
            ("stuart paton >> date of birth", "1883"),
            ("Gordon Douglas (director) >> date of birth", "1907"),
        )
    )
    assert links.texts[2:] == ("#1 >> date of birth", "#2 >> date of birth")
    assert links.needs == ((), (), (0,), (1,))
    assert links.last(range(4)) == [2, 3]


def test_two_triples_that_would_say_the_same_stay_apart() -> None:
    links = gold.chain(
        _question(
            ("A >> director", "Ann"), ("B >> director", "Ann"), ("Ann >> country", "Peru"), ("Ann >> country", "Peru")
        )
    )
    assert links.texts[2:] == ("#1 >> country", "#2 >> country")


def test_independent_steps_are_not_serial() -> None:
    links = gold.chain(_question(("A >> country", "Peru"), ("B >> country", "Chile")))
    assert not links.serial((0, 1))
