"""A run of a language model as a `Policy`: how it is read back from its folder. Knows no learner."""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from jade_env.config import validate
from jade_env.errors import ConfigError, DataError
from jade_env.game.episode import Rules
from jade_env.language_recipe import OWN, PpoRecipe, WarmStartRecipe
from jade_env.learning import checkpoint
from jade_env.learning.language_team import backbone_named, backbone_of, manner_of, other, specs_of, team_of
from jade_env.learning.learner import under
from jade_env.policy import Policy
from jade_env.policy.fingerprint import fingerprint
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.policy.mixed import MixedPolicy
from jade_env.policy.team import unlearned
from jade_env.policy.tiny import begin
from jade_env.scenario import Scenario

CONFIG = "config.json"
MODELS = "JADE_MODELS"
"""The environment variable that names a folder in which models that have moved are looked for, by their folders' names."""


def load_language_policy(
    run: str | Path,
    scenario: Scenario,
    *,
    greedy: bool = True,
    which: Literal["first", "best", "last"] = "best",
    roles: Collection[str] | None = None,
    temperature: float | None = None,
) -> Policy:
    """Read the team that a run has trained: the trained model for the roles that learned, the one it began with for the others.

    In a duel roles are both sides', whichever has learned: `red=RUN,blue=...` gives it a rival.

    Args:
        run: the run folder of a warm start or of joint training.
        scenario: what it will play.
        greedy: takes the most probable token; else draws.
        which: the checkpoint that did best on the dev split, or the last, or the model that training began with.
        roles: the roles that it will be asked to play; all of the scenario's where not given.
        temperature: of its draws, in place of the one that it was trained at.

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
    playing = [role for role in Rules.of(scenario).agents if roles is None or role in roles]
    if unknown := [role for role in playing if role not in team]:
        raise unlearned(folder, team, unknown)
    weights = None if which == "first" else checkpoint.load_weights(folder, checkpoint.chosen_timesteps(folder, which))
    game = validate(Scenario, config.get("scenario", {}), f"{folder / CONFIG}: scenario")
    if tree.get("learner") == "sft":
        warm = validate(WarmStartRecipe, tree, f"{folder / CONFIG}: recipe")
        backbone = begin(warm.backbone, seed, kinds=game.kinds, dtype=warm.dtype, device=warm.device)
        if weights is not None:
            backbone.load_learned(weights)
        manner = Manner(warm.prompt, greedy, temperature or 1.0, max_prompt=warm.max_prompt, overlong=warm.overlong)
        return LanguageModelPolicy(backbone, manner)
    recipe = validate(PpoRecipe, tree, f"{folder / CONFIG}: recipe")
    if temperature is not None:
        recipe = recipe.model_copy(update={"temperature": temperature})
    known = {role for role in team if any(agent == role or agent.endswith(f"_{role}") for agent in learned)}
    agents = [agent for agent, names in Rules.names(scenario).items() if known.intersection(names)]
    specs, own = specs_of(scenario, recipe), specs_of(game, recipe)
    models = dict[str, tuple[Policy, Policy]]()
    for number, spec in enumerate(_trained(own, recipe, learned)):
        everybody = {agent for agent, its in specs.items() if its == spec} <= set(agents)
        whole = recipe.lora is None and everybody and weights is not None
        own_copy = folder / (f"backbone-{number}" if number else "backbone") if whole else None
        place = _place(folder, backbone_named(spec, recipe), config.get("backbones", {}).get(spec), own_copy)
        plan = recipe.model_copy(update={"backbone": place})
        models[spec] = _players(
            plan, team, None if weights is None else under(weights, other(number)), greedy, everybody
        )
    if list(models) == [OWN] and set(specs.values()) == {OWN} and known.issuperset(playing):
        return models[OWN][0]
    try:
        return MixedPolicy(team_of(scenario, recipe, agents, models, seed=seed, greedy=greedy))
    except ConfigError as error:  # a partner's place is that of where the training was begun
        raise ConfigError(f"{folder}: those who play beside what it has learned: {error}") from None


def _trained(specs: Mapping[str, str], recipe: PpoRecipe, learned: Sequence[str]) -> list[str]:
    """The models that a run has checkpoints of, in their order: its own, and others that an agent has learned with."""
    learning = {specs[agent] for agent in learned}
    return [s for s in dict.fromkeys(specs.values()) if s == OWN or (backbone_named(s, recipe) and s in learning)]


def _players(
    plan: PpoRecipe, team: Sequence[str], weights: Mapping[str, Tensor] | None, greedy: bool, everybody: bool
) -> tuple[Policy, Policy]:
    """A model as it has learned, and as it began, which plays those who have not."""
    manner, backbone = manner_of(plan, greedy), backbone_of(plan, team)
    if weights is not None:
        backbone.load_learned(dict(weights))
    policy = LanguageModelPolicy(backbone, manner)
    if everybody:
        return policy, policy
    if plan.lora is not None:
        return policy, LanguageModelPolicy(backbone, manner, bare=True)
    return policy, LanguageModelPolicy(backbone_of(plan, team), manner)


def _place(run: Path, named: str, noted: Mapping[str, str] | None, own_copy: Path | None) -> str:
    """Where the model lies that a run began with, or, if all of it was trained anew, the run's own copy of it.

    Raises:
        ConfigError: the model is not there any more, or another one is in its place.
    """
    if noted is None:  # of the hub, shipped, or not noted
        return named
    moved = [str(Path(models) / Path(named).name)] if (models := os.environ.get(MODELS)) else []
    for place in (named, noted.get("place", ""), *moved):
        if place and fingerprint(place) == noted.get("holds"):
            return place
    if own_copy is not None and own_copy.is_dir():
        return str(own_copy)
    found = "holds another model now" if fingerprint(named) else "is not there any more"
    raise ConfigError(
        f"{run} was trained from {named} ({noted.get('place')}), which {found}; if it has moved, {MODELS} says into which folder"
    )
