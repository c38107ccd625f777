"""Whether a run folder is a language model's, and whether a recipe can make one. Imports no learning library."""

from __future__ import annotations

import json
from pathlib import Path

from jade_env.errors import ConfigError
from jade_env.language_recipe import PpoRecipe, WarmStartRecipe

LEARNERS = ("ppo", "sft")


def is_language_run(folder: Path) -> bool:
    """Whether the run in a folder was made by a recipe for language models; a folder that cannot be read is none."""
    try:
        recipe = json.loads((folder / "config.json").read_bytes()).get("recipe")
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(recipe, dict) and recipe.get("learner") in LEARNERS


def refuse_fp16(recipe: PpoRecipe | WarmStartRecipe) -> None:
    """Refuse to learn in fp16: small gradients are 0 in it where the loss is not scaled up. Playing in it is fine.

    Raises:
        ConfigError: the recipe trains somebody in fp16.
    """
    if recipe.dtype == "fp16" and (isinstance(recipe, WarmStartRecipe) or recipe.train != "none"):
        raise ConfigError(
            f"recipe {recipe.name}: dtype: fp16 is for playing, as small gradients vanish in it: train with dtype=bf16"
        )
