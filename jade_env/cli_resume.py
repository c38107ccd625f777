"""What `jade train` and `jade warm-start` train: what is said, or with `--resume` what a run was begun with.

Knows run folders by their `config.json`; imports no learning library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jade_env.errors import ConfigError, DataError
from jade_env.recipe import AnyRecipe, load_recipe, recipe_of, split_overrides
from jade_env.scenario import Scenario, load_scenario, scenario_of


@dataclass(frozen=True, slots=True)
class Begun:
    """A run as it begins, or was begun: its game, how it learns, its seed, and where its data is."""

    game: Scenario
    recipe: AnyRecipe
    seed: int
    data: Path | None


def configured(
    run: Path | None,
    scenario: str,
    policy: str | None,
    overrides: Mapping[str, Any],
    *,
    default: str,
    seed: int | None,
    data: Path | None,
) -> Begun:
    """What a command trains: what it says itself, or how a run was begun that it goes on with.

    Args:
        run: the folder of a run to go on with; None for a new one.
        scenario, policy: as they are named; without a policy the run's, or `default` for a new one.
        overrides: of the scenario and the recipe. Those that a run was begun with need not be said again.
        seed, data: as they are said; else the run's, or 0 and none.

    Raises:
        ConfigError: the run is of another scenario or recipe, or an override is not valid.
        DataError: there is no run in the folder.
    """
    for_scenario, for_recipe = split_overrides(overrides)
    if run is None:
        game, recipe = load_scenario(scenario, for_scenario), load_recipe(policy or default, for_recipe)
        return Begun(game, recipe, seed or 0, data)
    place = run / "config.json"
    try:
        config = json.loads(place.read_bytes())
        trees, its_seed = (dict(config["scenario"]), dict(config["recipe"])), int(config["seed"])
    except FileNotFoundError:
        raise DataError(f"{run}: there is no run to resume here, as config.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: cannot be read as the configuration of a run: {error}") from None
    named = load_scenario(scenario).name, None if policy is None else load_recipe(policy).name
    for what, tree, name in zip(("scenario", "recipe"), trees, named, strict=True):
        if name is not None and name != tree.get("name"):
            raise ConfigError(f"{run} was begun with the {what} {tree.get('name')}, and cannot go on with {name}")
    game = scenario_of(trees[0], str(place), for_scenario)
    recipe = recipe_of(trees[1], str(place), for_recipe)
    its_data = Path(config["data"]) if config.get("data") else None
    return Begun(game, recipe, its_seed if seed is None else seed, data or its_data)
