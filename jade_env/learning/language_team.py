"""A recipe's team of language models: the backbone it begins with, how it is asked to play, and who plays whom.

Knows recipes and policies; knows no training.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Sequence

from jade_env.game.episode import Rules
from jade_env.language_recipe import PpoRecipe
from jade_env.policy import Policy
from jade_env.policy.backbone import Backbone, Lora, load_backbone
from jade_env.policy.fixed import FixedPlanner
from jade_env.policy.language_model import Manner
from jade_env.scenario import Scenario


def manner_of(recipe: PpoRecipe, greedy: bool = False) -> Manner:
    """How a recipe's model is asked to play."""
    return Manner(
        prompt=recipe.prompt,
        greedy=greedy,
        temperature=recipe.temperature,
        constrained=recipe.constrained,
        max_prompt=recipe.max_prompt,
        overlong=recipe.overlong,
        slots=recipe.slots,
    )


def backbone_of(recipe: PpoRecipe, team: Sequence[str]) -> Backbone:
    """The backbone as a recipe's training begins with it."""
    lora = recipe.lora
    return load_backbone(
        recipe.backbone,
        dtype=recipe.dtype,
        device=recipe.device,
        lora=None if lora is None else Lora(lora.rank, lora.alpha, lora.dropout, lora.modules),
        groups=recipe.adapters(team),
        gradient_checkpointing=recipe.gradient_checkpointing,
    )


def team_of(
    game: Scenario, recipe: PpoRecipe, learned: Sequence[str], player: Policy, frozen: Policy
) -> dict[str, Policy]:
    """Who plays each agent: the model that learns, the one it began as, or the fixed plan."""
    rules = Rules.of(game)
    team = {agent: player if agent in learned else frozen for agent in rules.agents}
    if recipe.fixed_plan and rules.planner is not None:
        team[rules.planner.name] = FixedPlanner(*recipe.fixed_plan)
    return team
