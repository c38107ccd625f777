"""Knobs of joint training that are one number or a table by agent: how they are written, overridden and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jade_env.config import parse_overrides
from jade_env.errors import ConfigError
from jade_env.game.episode import Rules
from jade_env.language_recipe import PpoRecipe, said_of
from jade_env.recipe import load_recipe, split_overrides
from jade_env.scenario import load_scenario


def written(*pairs: str, recipe: str | Path = "jade_joint") -> PpoRecipe:
    """A recipe with overrides as a command line gives them."""
    found = load_recipe(recipe, split_overrides(parse_overrides(pairs))[1])
    assert isinstance(found, PpoRecipe)
    return found


@pytest.mark.parametrize(
    ("pairs", "temperature", "max_prompt"),
    [
        ((), 0.7, None),
        (("temperature=0.8",), 0.8, None),
        (("temperature.planner=1.3",), {"default": 0.7, "planner": 1.3}, None),
        (("temperature=0.8", "temperature.planner=1.3"), {"default": 0.8, "planner": 1.3}, None),
        (("temperature.planner=1.3", "temperature=0.8"), 0.8, None),
        (("temperature={default: 0.6, planner: 2}", "temperature.planner=3"), {"default": 0.6, "planner": 3.0}, None),
        (("max_prompt=300",), 0.7, 300),
        (("max_prompt.answer_generator=200",), 0.7, {"answer_generator": 200}),
        (("max_prompt=300", "max_prompt.planner=90"), 0.7, {"default": 300, "planner": 90}),
    ],
)
def test_a_number_stays_one_and_naming_an_agent_makes_it_the_default_of_a_table(
    pairs: tuple[str, ...], temperature: object, max_prompt: object
) -> None:
    recipe = written(*pairs)
    assert (recipe.temperature, recipe.max_prompt) == (temperature, max_prompt)
    assert PpoRecipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.resolved()))) == recipe


def test_a_table_in_a_file_is_extended_by_an_override(tmp_path: Path) -> None:
    lines = "name: mine\nsummary: own\nextends: qwen2.5-7b\ntemperature: {default: 1.0, planner: 1.3}\n"
    (tmp_path / "mine.yaml").write_text(lines)
    recipe = written("temperature.answer_generator=0.7", "max_prompt.planner=512", recipe=tmp_path / "mine.yaml")
    assert recipe.temperature == {"default": 1.0, "planner": 1.3, "answer_generator": 0.7}
    assert recipe.max_prompt == {"default": 3072, "planner": 512}


def test_a_setting_is_read_by_the_first_name_that_a_table_has() -> None:
    names = ("red_planner", "planner", "red")
    assert said_of(names, 0.8) == 0.8 and said_of(names, None) is None
    assert said_of(names, {"default": 1.0, "red": 2.0, "planner": 3.0}) == 3.0
    assert said_of(names, {"default": 1.0, "blue": 2.0}) == 1.0 and said_of(names, {"blue": 2.0}) is None


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"temperature": 0}, "temperature: input should be greater than 0, found 0"),
        ({"temperature": 4.5}, "temperature: input should be less than or equal to 4, found 4.5"),
        ({"temperature": None}, "temperature: input should be a valid number, found nothing"),
        ({"temperature.planner": 0}, "temperature.planner: input should be greater than 0, found 0"),
        ({"temperature": {"default": 5, "planner": 1}}, "temperature.default: input should be less than or equal to 4"),
        ({"temperature.planner": "hot"}, "temperature.planner: input should be a valid number"),
        ({"max_prompt": 0}, "max_prompt: input should be greater than 0, found 0"),
        ({"max_prompt.planner": -1}, "max_prompt.planner: input should be greater than 0, found -1"),
        ({"max_prompt.planner": 0.5}, "max_prompt.planner: input should be a valid integer"),
        ({"steps.planner": 3}, "override 'steps.planner': steps holds no keys"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_place_in_one_line(overrides: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe("jade_joint", overrides)
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "name", "near"),
    [
        ("temperature", "planer", "planner"),
        ("max_prompt", "answer_genrator", "answer_generator"),
        ("temperature", "sub_planner", "planner"),
    ],
)
def test_a_name_that_nobody_in_the_team_has_is_refused_with_the_nearest(key: str, name: str, near: str) -> None:
    recipe = written(f"{key}.{name}=2")
    with pytest.raises(ConfigError, match=f"jade_joint: {key}: '{name}' is not in the team: .*mean '{near}'"):
        recipe.trained(Rules.names(load_scenario("cooperative")))


def test_agents_roles_and_teams_of_a_duel_may_be_named() -> None:
    names = Rules.names(load_scenario("duel"))
    assert written("temperature.red=2", "temperature.planner=2", "temperature.blue_planner=2").trained(names)


def test_a_warm_start_has_one_budget_for_all_prompts() -> None:
    with pytest.raises(ConfigError, match="max_prompt: input should be a valid integer, found keys and values"):
        load_recipe("jade_tiny", {"max_prompt.planner": 50})
    assert getattr(load_recipe("jade_tiny", {"max_prompt": 50}), "max_prompt") == 50  # noqa: B009
