"""A run folder as a report reads it: configuration, records of its training, summary. Knows files; plays nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jade_env.errors import ConfigError, DataError
from jade_env.game.episode import Rules
from jade_env.language_recipe import OWN
from jade_env.recipe import PAST
from jade_env.scenario import Scenario, scenario_of

CONFIG, METRICS, SUMMARY = "config.json", "metrics.jsonl", "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has left.

    Attributes:
        folder: where it lies.
        config: resolved, as the run wrote it.
        records: of its training, in order.
        summary: what it came to; empty while it is not done.
        game: the scenario it was trained on.
    """

    folder: Path
    config: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    game: Scenario

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Every knob of the recipe."""
        found: Mapping[str, Any] = self.config["recipe"]
        return found

    @property
    def learner(self) -> str:
        """`sb3`, `benchmarl`, `ppo` or `sft`."""
        return str(self.recipe.get("learner"))

    @property
    def networks(self) -> bool:
        """Whether small networks learned, over numbered candidates."""
        return self.learner in ("sb3", "benchmarl")

    @property
    def seed(self) -> int:
        """Of everything that was drawn."""
        return int(self.config["seed"])

    @property
    def learned(self) -> tuple[str, ...]:
        """The agents that learned."""
        return tuple(self.config["learned"])

    @property
    def unit(self) -> str:
        """What the training is counted in."""
        return "turns" if self.networks else "steps"

    @property
    def rival(self) -> str:
        """Who plays those who have not learned, in a duel; empty where there is nobody of that kind."""
        if not self.game.teams or self.learner == "sft" or set(self.learned) >= set(Rules.names(self.game)):
            return ""
        if self.learner == "sb3" and self.recipe["partners"] != PAST:
            return str(self.recipe["partners"])
        policies, who = self.recipe.get("policies", {}), set()
        for agent, known in Rules.names(self.game).items():
            if not any(
                set(rules.agents) & set(self.learned) for rules in Rules.sides(self.game) if agent in rules.agents
            ):
                who.add(next((policies[name] for name in (*known, "default") if name in policies), OWN))
        if others := sorted(who - {OWN}):
            return " and ".join([*others, *(["as training began"] if OWN in who else [])])
        return "as training began" + (", its actions drawn" if self.learner == "sb3" else ", greedy")


def read_run(folder: str | Path) -> Run:
    """Read a run folder, finished or not.

    Raises:
        DataError: a file is missing or damaged; the sentence names it.
        ConfigError: the run's scenario is not one that this version can play.
    """
    path = Path(folder)
    config = _object(path / CONFIG)
    missing = [name for name in ("scenario", "recipe", "seed", "agents", "learned") if name not in config]
    if missing or not isinstance(config["recipe"], dict):
        raise DataError(
            f"{path / CONFIG}: {', '.join(missing) or 'recipe'} is missing; this is not the configuration of a run"
        )
    summary = _object(path / SUMMARY) if (path / SUMMARY).exists() else {}
    return Run(path, config, _records(path / METRICS), summary, _game(path, config["scenario"]))


def _game(path: Path, tree: Any) -> Scenario:
    if not isinstance(tree, dict):
        raise ConfigError(f"{path / CONFIG}: scenario: not one that this version can play")
    return scenario_of(tree, f"{path / CONFIG}: scenario")


def _object(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give the folder of a run of jade train, or of a study") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(tree).__name__}")
    return tree


def _records(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The records of a training; a last line that was cut short is left out."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                break
            raise DataError(f"{path}:{number}: not a JSON object") from None
        if isinstance(record, dict) and isinstance(record.get("timesteps"), int | float):
            found.append(record)
    return tuple(found)
