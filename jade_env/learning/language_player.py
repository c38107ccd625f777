"""A run of a language model as a `Policy`: how it is read back from its folder. Knows no learner."""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from pathlib import Path
from typing import Literal

from jade_env.errors import ConfigError, DataError
from jade_env.game.episode import Rules
from jade_env.language_recipe import PpoRecipe, WarmStartRecipe
from jade_env.learning import checkpoint
from jade_env.learning.language_team import backbone_of, manner_of, team_of
from jade_env.policy import Policy
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.mixed import MixedPolicy
from jade_env.policy.tiny import make_tiny
from jade_env.scenario import Scenario

CONFIG = "config.json"


def load_language_policy(
    run: str | Path, scenario: Scenario, *, greedy: bool = True, which: Literal["best", "last"] = "best"
) -> Policy:
    """Read the team that a run has trained: the trained model for the roles that learned, the one it began with for the others.

    Args:
        run: the run folder of a warm start or of joint training.
        scenario: what it will play.
        greedy: takes the most probable token; else draws.
        which: the checkpoint that did best on the dev split, or the last.

    Raises:
        ConfigError: the run's roles or its backbone do not fit.
        DataError: the run cannot be read, or has no checkpoint.
    """
    folder = Path(run)
    config = checkpoint.read_json(folder / CONFIG)
    try:
        team, learned, tree, seed = (
            list(config["agents"]),
            list(config["learned"]),
            config["recipe"],
            int(config["seed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / CONFIG}: {error} is missing; this is not the configuration of a run") from None
    playing = Rules.of(scenario).agents
    if unknown := [agent for agent in playing if agent not in team]:
        raise ConfigError(f"{folder} has learned {', '.join(team)}, and cannot play {', '.join(unknown)}")
    saved = checkpoint.saved_timesteps(folder)
    if not saved:
        raise DataError(f"{folder}: there is no checkpoint in this run")
    best = checkpoint.best_timesteps(folder) if which == "best" else None
    weights = checkpoint.load_weights(folder, saved[-1] if best is None else best)
    if tree.get("learner") == "sft":
        warm = WarmStartRecipe.model_validate(tree)
        backbone = _warm(warm, seed)
        backbone.load_learned(weights)
        return LanguageModelPolicy(
            backbone, Manner(warm.prompt, greedy, max_prompt=warm.max_prompt, overlong=warm.overlong)
        )
    recipe = PpoRecipe.model_validate(tree)
    manner = manner_of(recipe, greedy)
    backbone = backbone_of(recipe, team)
    backbone.load_learned(weights)
    policy = LanguageModelPolicy(backbone, manner)
    if set(playing) <= set(learned):
        return policy
    frozen = LanguageModelPolicy(backbone_of(recipe, team), manner)
    return MixedPolicy(team_of(scenario, recipe, learned, policy, frozen))


def _warm(recipe: WarmStartRecipe, seed: int) -> Backbone:
    if recipe.backbone == "fresh":
        return make_tiny(seed)
    return load_backbone(recipe.backbone, dtype=recipe.dtype, device=recipe.device)
