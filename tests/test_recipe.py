from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jade_env.config import names
from jade_env.errors import ConfigError
from jade_env.language_recipe import PpoRecipe, WarmStartRecipe
from jade_env.recipe import MarlRecipe, Recipe, load_recipe, split_overrides


@pytest.mark.parametrize("name", names("policies"))
def test_every_shipped_recipe_loads_under_its_file_name_and_survives_being_written_down(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    kind = type(recipe)
    assert kind.model_validate(yaml.safe_load(yaml.safe_dump(recipe.resolved()))) == recipe
    assert kind.model_validate(recipe.model_dump(mode="json")) == recipe


def test_the_shipped_scripts_are_the_four_scripted_policies() -> None:
    scripts = {getattr(load_recipe(name), "script", None) for name in names("policies")} - {None}
    assert scripts == {"random", "heuristic", "teacher", "ceiling"}


@pytest.mark.parametrize("kind", [Recipe, MarlRecipe, PpoRecipe, WarmStartRecipe])
def test_every_knob_is_documented(kind: type[Recipe | MarlRecipe | PpoRecipe | WarmStartRecipe]) -> None:
    undocumented = [
        key for key, field in kind.model_fields.items() if not field.description and key not in ("name", "learner")
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("planner_only", {"train"}),
        ("executors_only", {"train"}),
        ("frozen", {"train"}),
        ("static_joint", {"train", "fixed_plan", "plans", "executions"}),
    ],
)
def test_a_paradigm_differs_from_joint_training_only_in_what_makes_it_one(name: str, lines: set[str]) -> None:
    one, joint = load_recipe(name).resolved(), load_recipe("jade_joint").resolved()
    assert {key for key in joint if one[key] != joint[key]} == lines | {"name", "summary"}
    assert (
        one["questions"] * one["plans"] * one["executions"] == joint["questions"] * joint["plans"] * joint["executions"]
    )


def test_a_recipe_extends_another_and_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nsummary: own\nextends: jade_joint\nclip: 0.1\n")
    mine = load_recipe(tmp_path / "mine.yaml")
    assert isinstance(mine, PpoRecipe) and (mine.clip, mine.credit) == (0.1, "tied_group")
    (tmp_path / "a.yaml").write_text("name: a\nextends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("name: b\nextends: a.yaml\n")
    with pytest.raises(ConfigError, match="in a circle"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "c.yaml").write_text("name: c\nextends: jade_join\n")
    with pytest.raises(ConfigError, match="did you mean 'jade_joint'"):
        load_recipe(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"credit": "episode_gae"}, "episode_gae needs one: head or separate"),
        ({"plans": 1, "executions": 1}, "plans x executions must be 2 or more"),
        ({"sharing": "per_role"}, "per_role is a matter of adapters: give lora"),
        ({"credit": "tied"}, "did you mean 'tied_group'"),
        ({"lora": {"rnk": 4}}, "lora.rnk: unknown key; did you mean 'rank'"),
        ({"critic": "head"}, "critic: tied_group asks none; give critic: none, or credit: episode_gae or broadcast"),
        ({"fixed_plan": ["QDP", "R,AG", "AG"]}, "fixed_plan"),
        ({"critic_warmup": 3}, "critic_warmup: there is no critic to warm up"),
        ({"credit": "episode_gae", "critic": "head", "vf_coef": 0.0}, "vf_coef: 0 never trains the critic"),
    ],
)
def test_a_knob_of_a_language_recipe_that_is_not_allowed_is_refused(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("jade_joint", overrides)
    assert says in str(refused.value)


def test_overrides_change_the_recipe() -> None:
    recipe = load_recipe("sb3_shared", {"total_timesteps": 5000, "network": [32], "train": ["planner"]})
    assert (recipe.total_timesteps, recipe.network, recipe.train) == (5000, (32,), ("planner",))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"lerning_rate": 1}, "lerning_rate: unknown key; did you mean 'learning_rate'?"),
        ({"sharing": "al"}, "sharing: 'al' is not one of all, per_role; did you mean 'all'?"),
        ({"learning_rate": "fast"}, "learning_rate: input should be a valid number"),
        ({"train": "planner"}, "train: expected all, or a list of agents such as [planner], found 'planner'"),
        ({"train": ["planner", "planner"]}, "an agent stands twice"),
        ({"train": []}, "train: expected all"),
        ({"batch_size": 10**6}, "batch_size: 1000000 is more than a rollout has"),
        ({"n_envs": 8, "n_steps": 8, "batch_size": 63}, "batch_size: 63 leaves a last minibatch of one"),
        ({"n_steps": 0}, "n_steps: input should be greater than 0, found 0"),
        ({"script": "random"}, "only a scripted recipe plays one"),
        ({"network": [0]}, "network"),
        ({"gamma": 1.5}, "gamma: input should be less than or equal to 1"),
    ],
)
def test_a_knob_that_is_not_allowed_is_refused_with_its_name(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("sb3_shared", overrides)
    assert says in str(refused.value)
    assert str(refused.value).startswith("policies/sb3_shared.yaml (with ")


def test_a_scripted_recipe_has_no_learning_knobs() -> None:
    with pytest.raises(ConfigError, match="gamma: a scripted recipe does not learn"):
        load_recipe("random", {"gamma": 0.5})


def test_a_scripted_recipe_needs_a_script(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nsummary: x\nlearner: scripted\n")
    with pytest.raises(ConfigError, match="needs one of random, heuristic, teacher, ceiling"):
        load_recipe(file)


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="there is no policy 'sb3_sharde'; did you mean 'sb3_shared'"):
        load_recipe("sb3_sharde")


def test_trained_names_agents_in_team_order() -> None:
    team = ("planner", "document_selector", "answer_generator")
    recipe = load_recipe("sb3_shared", {"train": ["answer_generator", "planner"]})
    assert load_recipe("sb3_shared").trained(team) == team
    assert recipe.trained(team) == ("planner", "answer_generator")
    with pytest.raises(ConfigError, match="'planer' is not in the team: .*did you mean 'planner'"):
        load_recipe("sb3_shared", {"train": ["planer"]}).trained(team)


def test_overrides_go_to_whoever_has_the_key() -> None:
    assert split_overrides({"reward.round_cost": 0.1, "gamma": 0.9, "recipe.name": "x", "scenario.name": "y"}) == (
        {"reward.round_cost": 0.1, "name": "y"},
        {"gamma": 0.9, "name": "x"},
    )


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("name", "both have it: write scenario.name or recipe.name"),
        ("round_cost", "did you mean 'reward.round_cost'?"),
        ("total_timestep", "did you mean 'total_timesteps'?"),
        ("zzz", "neither a scenario nor a recipe has it"),
    ],
)
def test_a_key_that_nobody_or_both_have_is_refused(key: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        split_overrides({key: 1})
    assert says in str(refused.value)


def test_a_recipe_that_extends_another_is_not_summed_up_as_that_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nextends: qwen2.5-7b\nsteps: 3\nplans: 2\n")
    assert load_recipe(file).summary == "qwen2.5-7b with other steps, plans"
    file.write_text("name: mine\nsummary: my own\nextends: qwen2.5-7b\n")
    assert load_recipe(file).summary == "my own"
