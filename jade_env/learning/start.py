"""The one way into every training: which learner a recipe is for. Learners take seconds to load, so each is when it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jade_env.language_recipe import PpoRecipe
from jade_env.marl_recipe import MarlRecipe
from jade_env.recipe import Recipe
from jade_env.scenario import Scenario

if TYPE_CHECKING:
    from jade_env.learning.session import RunSummary


def train_recipe(
    game: Scenario,
    recipe: Recipe | PpoRecipe | MarlRecipe,
    out: Path,
    seed: int,
    *,
    resume: bool = False,
    data: str | Path | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> RunSummary:
    """Train by a recipe of any learner; arguments and errors are those of its own function.

    Args:
        game: what is played.
        recipe: of a language model's PPO, of BenchMARL (which cannot be resumed), or of Stable-Baselines3.
        out: the run folder.
        seed: of everything that is drawn.
        resume: go on with the run in `out`; BenchMARL begins it anew.
        data: the data location for scenarios with files.
        processes: how many share each step of a language model; the others train in one.
        progress: told how far it is, (done, total).
        notice: told what a user should know; BenchMARL says nothing.
    """
    if isinstance(recipe, PpoRecipe):
        from jade_env.learning.joint import train_language

        return train_language(
            game, recipe, out, seed, resume=resume, data=data, processes=processes, progress=progress, notice=notice
        )
    if isinstance(recipe, MarlRecipe):
        from jade_env.learning.marl import train_marl

        return train_marl(game, recipe, out, seed, data=data, progress=progress)
    from jade_env.learning.trainer import train

    return train(game, recipe, out, seed, resume=resume, data=data, progress=progress, notice=notice)
