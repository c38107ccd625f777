"""Whether a run folder is a language model's. Imports no learning library."""

from __future__ import annotations

import json
from pathlib import Path

LEARNERS = ("ppo", "sft")


def is_language_run(folder: Path) -> bool:
    """Whether the run in a folder was made by a recipe for language models; a folder that cannot be read is none."""
    try:
        recipe = json.loads((folder / "config.json").read_bytes()).get("recipe")
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(recipe, dict) and recipe.get("learner") in LEARNERS
