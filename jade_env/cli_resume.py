"""What `--resume` goes on with: the configuration that a run was begun with, in which only its length may be changed.

Knows run folders by their `config.json`; imports no learning library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jade_env.errors import ConfigError, DataError
from jade_env.recipe import AnyRecipe, load_recipe, recipe_of
from jade_env.scenario import Scenario, load_scenario, scenario_of


@dataclass(frozen=True, slots=True)
class Begun:
    """A run as it was begun: its game, how it learns, its seed, and where its data is."""

    game: Scenario
    recipe: AnyRecipe
    seed: int
    data: Path | None


def begun(
    run: Path, scenario: str, policy: str | None, for_scenario: Mapping[str, Any], for_recipe: Mapping[str, Any]
) -> Begun:
    """Read what a run was begun with, and set what is given anew.

    Args:
        run: its folder.
        scenario, policy: as they are named now; other ones than those of the run are refused. No policy: the run's.
        for_scenario, for_recipe: overrides, which need not be said again.

    Raises:
        ConfigError: the run is of another scenario or recipe, or an override is not valid.
        DataError: there is no run in the folder.
    """
    place = run / "config.json"
    try:
        config = json.loads(place.read_bytes())
        trees, seed, data = (dict(config["scenario"]), dict(config["recipe"])), int(config["seed"]), config.get("data")
    except FileNotFoundError:
        raise DataError(f"{run}: there is no run to resume here, as config.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: cannot be read as the configuration of a run: {error}") from None
    named = load_scenario(scenario).name, None if policy is None else load_recipe(policy).name
    for what, tree, name in zip(("scenario", "recipe"), trees, named, strict=True):
        if name is not None and name != tree.get("name"):
            raise ConfigError(f"{run} was begun with the {what} {tree.get('name')}, and cannot go on with {name}")
    return Begun(
        scenario_of(trees[0], str(place), for_scenario),
        recipe_of(trees[1], str(place), for_recipe),
        seed,
        None if data is None else Path(data),
    )
