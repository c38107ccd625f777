"""Teams of several policies, named in words or as a mapping: who plays whom is settled before anybody plays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jade_env.errors import ConfigError
from jade_env.learning.evaluation import evaluate
from jade_env.policy import MixedPolicy, make_policy
from jade_env.policy.random_policy import RandomPolicy
from jade_env.policy.teacher import TeacherPolicy
from jade_env.scenario import load_scenario

SMALL = {"data.passages": 200, "data.train": 20, "data.dev": 20}
GAME = load_scenario("cooperative", SMALL)


def test_words_and_mappings_name_the_same_team(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nsummary: x\nlearner: scripted\nscript: random\n")
    words = make_policy(f"planner=teacher, document_selector={recipe},default=random", GAME)
    mapping = make_policy({"planner": "teacher", "document_selector": recipe, "default": "random"}, GAME)
    for team in (words, mapping):
        assert isinstance(team, MixedPolicy)
        assert isinstance(team.member("planner"), TeacherPolicy)
        assert isinstance(team.member("document_selector"), RandomPolicy)
        assert isinstance(team.member("answer_generator"), RandomPolicy)


def test_a_member_that_plays_several_agents_is_made_once() -> None:
    team = make_policy("planner=random,document_selector=random,default=teacher", GAME)
    assert isinstance(team, MixedPolicy)
    assert team.member("planner") is team.member("document_selector")


def test_a_ready_policy_is_taken_as_it_is() -> None:
    mine = RandomPolicy(7)
    team = make_policy({"planner": mine, "default": RandomPolicy(8)}, GAME)
    assert isinstance(team, MixedPolicy)
    assert team.member("planner") is mine is not team.member("document_selector")


def test_a_recipe_that_plays_a_script_is_another_name_for_it() -> None:
    assert isinstance(make_policy("policies/random.yaml", GAME), RandomPolicy)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("planer=random,default=teacher", "'planer' has no turns in cooperative; did you mean 'planner'?"),
        ({"defualt": "random"}, "'defualt' has no turns in cooperative; did you mean 'default'?"),
        ("planner=random", "nobody plays query_rewriter, .*answer_summarizer: name their policy, or a 'default' one"),
        ("planner=heuristc,default=random", "there is no policy 'heuristc'; did you mean 'heuristic'?"),
        ("planner=sb3_shared,default=random", "sb3_shared is a recipe and has learned nothing yet"),
        ("planner=random,", "expected AGENT=POLICY, such as planner=runs/p1,default=heuristic"),
        ("planner=,default=random", "'planner=': expected AGENT=POLICY"),
        ("default=random,default=teacher", "default is named twice"),
        ("nothing.yaml", "nothing.yaml: no such file"),
    ],
)
def test_a_team_that_cannot_play_is_refused_at_once(spec: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        make_policy(spec, GAME)


def test_sides_and_roles_of_a_duel_are_names_too() -> None:
    team = make_policy("red=teacher,blue_planner=random,default=teacher", load_scenario("duel", SMALL))
    assert isinstance(team, MixedPolicy)
    assert isinstance(team.member("red_planner", "planner", "red"), TeacherPolicy)
    assert isinstance(team.member("blue_planner", "planner", "blue"), RandomPolicy)


class Short:
    """Answers with whatever it was given."""

    def __init__(self, actions: Any) -> None:
        self.actions = actions

    def act(self, turns: Any) -> Any:
        return self.actions


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        (object(), "object is no policy: it needs act(turns)"),
        (Short([1]), "act of Short gave 1 actions for 4 turns"),
        (Short(None), "act of Short gave a NoneType for 4 turns"),
        (Short("<id>"), "act of Short gave a str for 4 turns"),
        (Short({1: 2}), "act of Short gave a dict for 4 turns"),
    ],
)
def test_what_is_no_policy_is_said_in_a_sentence(policy: Any, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        evaluate(policy, GAME, "dev", 4)
    assert says in str(refused.value)
