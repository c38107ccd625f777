"""What `jade train` and `jade warm-start` train: what they are told, or with `--resume` what a run was begun with.

Knows run folders by their `config.json`; imports no learning library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jade_env.config import flat
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, DataError
from jade_env.language_recipe import PpoRecipe, WarmStartRecipe
from jade_env.policy.fingerprint import fingerprint
from jade_env.recipe import AnyRecipe, load_recipe, recipe_of, split_overrides
from jade_env.scenario import Scenario, load_scenario, scenario_of


class Training(NamedTuple):
    """A run as it begins, or was begun: its game, how it learns, its folder, its seed, and where its data is."""

    game: Scenario
    recipe: AnyRecipe
    run: Path
    seed: int
    data: Path | None


@dataclass(frozen=True, slots=True)
class Given:
    """What a command was told.

    Attributes:
        scenario, policy: by name or path.
        overrides: of both.
        out: the run folder; runs/SCENARIO-RECIPE-SEED where None.
        seed: 0 where None.
        data: the data location.
    """

    scenario: str
    policy: str
    overrides: Mapping[str, Any]
    out: Path | None
    seed: int | None
    data: Path | None

    def new(self) -> Training:
        """A run that begins.

        Raises:
            ConfigError: the scenario, the recipe or an override is not valid.
        """
        for_scenario, for_recipe = split_overrides(self.overrides)
        game, recipe = load_scenario(self.scenario, for_scenario), load_recipe(self.policy, for_recipe)
        return Training(game, recipe, self.folder(game.name, recipe.name), self.seed or 0, self.data)

    def folder(self, scenario: str, recipe: str) -> Path:
        """The run folder."""
        return self.out or Path("runs") / f"{scenario}-{recipe}-{self.seed or 0}"


def begun(given: Given, policy_said: bool) -> Training:
    """A run that is gone on with: all that it was begun with, changed by what is told anew.

    Args:
        given: overrides that the run was begun with need not be said again, nor its seed and its data.
        policy_said: whether the recipe was named, and has to be the run's.

    Raises:
        ConfigError: the run is of another scenario or recipe, or an override is not valid.
        DataError: there is no run in the folder.
    """
    scenario, recipe = load_scenario(given.scenario).name, load_recipe(given.policy).name
    run = given.folder(scenario, recipe)
    noted = _noted(run, "run to resume")
    for what, tree, name in (("scenario", noted.game, scenario), ("recipe", noted.recipe, recipe)):
        if name != tree.get("name") and (what == "scenario" or policy_said):
            raise ConfigError(f"{run} was begun with the {what} {tree.get('name')}, and cannot go on with {name}")
    for_scenario, for_recipe = split_overrides(given.overrides)
    return Training(
        scenario_of(noted.game, noted.place, for_scenario),
        recipe_of(noted.recipe, noted.place, for_recipe),
        run,
        noted.seed if given.seed is None else given.seed,
        given.data or noted.data,
    )


def kept(given: Given, training: Training, policy_said: bool) -> list[str]:
    """Where a run that is gone on with is not what its files say now, in sentences: it was begun so, or they have changed since.

    Raises:
        ConfigError: as `begun`.
    """
    for_scenario, for_recipe = split_overrides(given.overrides)
    said = load_scenario(given.scenario, for_scenario)
    if isinstance(
        training.recipe, PpoRecipe | WarmStartRecipe
    ):  # a model reads and writes text, whatever the file says
        said = said.model_copy(update={"mode": training.game.mode, "prompt": training.game.prompt})
    pairs = [(given.scenario, training.game.resolved(), said.resolved())]
    if policy_said:
        pairs.append((given.policy, _tree(training.recipe), _tree(load_recipe(given.policy, for_recipe))))
    found = []
    for name, own, plain in pairs:
        ours, theirs = flat(own), flat(plain)
        others = [
            f"{key}={_shown(ours.get(key))} ({_shown(theirs.get(key))})"
            for key in dict.fromkeys((*ours, *theirs))
            if ours.get(key) != theirs.get(key)
        ]
        if others:
            found.append(f"goes on as it was begun, not as {name} has it: {', '.join(others)}")
    return found


def _tree(recipe: AnyRecipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"summary"})


def _shown(value: object) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def game_of(run: Path, overrides: Mapping[str, Any]) -> tuple[Scenario, Path | None]:
    """The game that a run was begun with, changed by overrides, and where its data is.

    Raises:
        ConfigError: an override is not valid.
        DataError: there is no run in the folder.
    """
    noted = _noted(run, "run")
    return scenario_of(noted.game, noted.place, overrides), noted.data


def changed_files(run: Path, game: Scenario, data: Path | None) -> list[str]:
    """The files of questions and passages that are not those which a run was trained on."""
    noted = _noted(run, "run").files
    here = open_source(game, data).files(*(name for name in noted if name != "corpus"))
    return [
        f"{name}.jsonl"
        for name, file in here.items()
        if noted.get(name) not in (None, fingerprint(file.parent, file.name))
    ]


class _Noted(NamedTuple):
    """What a run's `config.json` says."""

    game: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    data: Path | None
    place: str
    files: dict[str, str]


def _noted(run: Path, what: str) -> _Noted:
    place = run / "config.json"
    try:
        config = json.loads(place.read_bytes())
        data = Path(config["data"]) if config.get("data") else None
        files = {str(name): str(holds) for name, holds in config.get("files", {}).items()}
        return _Noted(dict(config["scenario"]), dict(config["recipe"]), int(config["seed"]), data, str(place), files)
    except FileNotFoundError:
        raise DataError(f"{run}: there is no {what} here, as config.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{place}: cannot be read as the configuration of a run: {error}") from None
