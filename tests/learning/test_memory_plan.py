"""What the memory plan of a training reads from a recipe."""

from __future__ import annotations

import re
from typing import Any

from jade_env.language_recipe import PpoRecipe
from jade_env.learning.memory_plan import plan
from jade_env.recipe import load_recipe
from jade_env.scenario import load_scenario


def width(**overrides: Any) -> int:
    """Tokens in a slot of the key-value cache."""
    recipe = load_recipe("jade_joint", overrides)
    assert isinstance(recipe, PpoRecipe)
    parts, _ = plan(load_scenario("cooperative"), recipe)
    (found,) = [re.search(r"slots x (\d+) tokens", part.name) for part in parts if "cache" in part.name]
    assert found
    return int(found[1])


def test_the_cache_is_as_wide_as_the_longest_turn_of_any_agent() -> None:
    cards = load_scenario("cooperative").cards
    written = max(card.max_tokens for card in cards.values())
    one = width(max_prompt=100)
    assert one == 100 + written
    assert width(max_prompt={"default": 100}) == one
    assert width(max_prompt={"default": 50, "planner": 200}) == max(200 + cards["planner"].max_tokens, 50 + written)
    assert width(max_prompt={"planner": 100}) == width(), "the others may fill the context"
