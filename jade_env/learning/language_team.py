"""A recipe's team of language models: the backbone it begins with, how it is asked to play, and who plays whom.

Knows recipes and policies; knows no training.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jade_env.config import answering
from jade_env.errors import ConfigError
from jade_env.game.episode import Rules
from jade_env.game.workflow import codes, decomposes
from jade_env.language_recipe import DEFAULT, LANGUAGE_MODEL, OWN, PpoRecipe
from jade_env.policy import Policy, make_policy
from jade_env.policy.backbone import Backbone, Lora, load_backbone
from jade_env.policy.fingerprint import fingerprint
from jade_env.policy.fixed import FixedPlanner
from jade_env.policy.language_model import LanguageModelPolicy, Manner
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
        lora=None if lora is None else Lora(lora.rank, lora.alpha, lora.modules),
        groups=recipe.adapters(team),
        gradient_checkpointing=recipe.gradient_checkpointing,
    )


def specs_of(game: Scenario, recipe: PpoRecipe) -> dict[str, str]:
    """What plays each agent: OWN, `language_model:PLACE`, or anything that `make_policy` makes.

    Raises:
        ConfigError: `policies` names an agent that the scenario does not have.
    """
    names = Rules.names(game)
    answering(names, set(recipe.policies) - {DEFAULT}, f"recipe {recipe.name}: policies")
    answering(names, [name for group in recipe.groups.values() for name in group], f"recipe {recipe.name}: groups")
    return {
        agent: next((recipe.policies[name] for name in (*known, DEFAULT) if name in recipe.policies), OWN)
        for agent, known in names.items()
    }


def backbone_named(spec: str, recipe: PpoRecipe) -> str:
    """The backbone that a spec means; "" where it means none."""
    return recipe.backbone if spec == OWN else spec.partition(":")[2] if spec.startswith(LANGUAGE_MODEL) else ""


def places_of(recipe: PpoRecipe, specs: Iterable[str]) -> dict[str, dict[str, str]]:
    """Where the backbones of specs lie, and what they hold; of the hub's and the shipped one, nothing."""
    found = {}
    for spec in dict.fromkeys(specs):
        place = backbone_named(spec, recipe)
        if place and (holds := fingerprint(place)):
            found[spec] = {"place": str(Path(place).absolute()), "holds": holds}
    return found


def learned_of(game: Scenario, recipe: PpoRecipe) -> tuple[str, ...]:
    """The agents that learn, in team order: those of `train` that a language model of this training plays.

    Raises:
        ConfigError: `train` names an agent that something else plays, or nobody is left who learns.
    """
    names, specs, planner = Rules.names(game), specs_of(game, recipe), Rules.of(game).planner
    planned = {planner.name} if recipe.fixed_plan and planner else set()
    if planned and planner is not None:
        _check_plan(game, recipe)
    wanted = [agent for agent in recipe.trained(names) if not planned.intersection(names[agent])]
    foreign = [agent for agent in wanted if not backbone_named(specs[agent], recipe)]
    if foreign and recipe.train != "all":
        raise ConfigError(
            f"recipe {recipe.name}: train: {foreign[0]} is played by {specs[foreign[0]]}, which does not learn here"
        )
    found = tuple(agent for agent in wanted if agent not in foreign)
    if not found and recipe.train != "none":
        raise ConfigError(
            f"recipe {recipe.name}: nobody would learn: something that does not plays those of train (policies, fixed_plan); "
            "train: none if that is meant"
        )
    return found


def _check_plan(game: Scenario, recipe: PpoRecipe) -> None:
    """Whether a fixed plan can be played, before anything is."""
    rules = Rules.of(game)
    root, below = codes(recipe.fixed_plan[0]), codes(recipe.fixed_plan[-1])
    # of sub-questions some are at the limit of depth or rounds, where no decomposition is legal
    for workflow, legal in ((root, rules.workflows), (below, rules.leaf_workflows if decomposes(root) else (below,))):
        if workflow not in legal:
            shown = ", ".join(f'"{",".join(chain)}"' for chain in legal)
            raise ConfigError(f'recipe {recipe.name}: fixed_plan: "{",".join(workflow)}" is not legal: {shown} are')


def team_of(
    game: Scenario,
    recipe: PpoRecipe,
    learned: Sequence[str],
    models: Mapping[str, tuple[Policy, Policy]],
    data: str | Path | None = None,
    seed: int = 0,
    greedy: bool = False,
) -> dict[str, Policy]:
    """Who plays each agent: a model that learns, what it began as, the fixed plan, or whoever else the recipe names.

    Args:
        game: what is played.
        recipe: its `policies` and `fixed_plan` are obeyed.
        learned: agents that learn.
        models: by spec: the model as it is, and as it began.
        data, seed: for policies that are made here.
        greedy: whether language models that are made here take the most probable token; runs that are named always do.
    """
    names, planner, made = Rules.names(game), Rules.of(game).planner, dict[str, Policy]()
    team: dict[str, Policy] = {}
    for agent, spec in specs_of(game, recipe).items():
        if spec in models:
            team[agent] = models[spec][agent not in learned]
            continue
        if spec not in made:
            place = backbone_named(spec, recipe)
            made[spec] = (
                LanguageModelPolicy(
                    load_backbone(place, dtype=recipe.dtype, device=recipe.device), manner_of(recipe, greedy)
                )
                if place
                else make_policy(spec.removeprefix("sb3:"), game, data=data, seed=seed)
            )
        team[agent] = made[spec]
    if recipe.fixed_plan and planner is not None:
        team |= dict.fromkeys(answering(names, [planner.name], "fixed_plan"), FixedPlanner(*recipe.fixed_plan))
    return team


def other(number: int) -> str:
    """What the names of a learner's tensors begin with in a checkpoint; nothing for the first one."""
    return f"{number}:" if number else ""
