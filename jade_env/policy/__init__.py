"""Who plays: scripted policies, trained runs, and mixtures of them. Importing this loads no learning library."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jade_env.config import nearest
from jade_env.errors import ConfigError, MissingExtra
from jade_env.learning.language_run import is_language_run
from jade_env.policy.base import Policy

if TYPE_CHECKING:
    from jade_env.policy.mixed import MixedPolicy
    from jade_env.scenario import Scenario

SCRIPTED = ("random", "heuristic", "teacher", "teacher:grounded", "ceiling")
"""The policies that have a name; any other is the folder of a run."""
RUN_FILES = ("config.json", "run.json")
"""Either makes a folder a run: the first is written when it starts, the second when it is done."""

__all__ = ["SCRIPTED", "MixedPolicy", "Policy", "make_policy"]


def make_policy(
    spec: str | Path,
    scenario: str | Path | Scenario,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    greedy: bool = True,
) -> Policy:
    """Make the policy that `spec` names for a scenario.

    Args:
        spec: one of `SCRIPTED`, or the folder of a run made by `jade train`.
        scenario: what will be played: a name, a path, or a loaded scenario.
        data: the data location for scenarios with files; else JADE_DATA.
        seed: seed of the policy's own draws; most have none.
        greedy: whether a trained run plays what it finds most probable, or draws.

    Raises:
        ConfigError: there is no such policy, or it cannot play this scenario.
        DataError: the data that it has to look at, or the run, cannot be read.
    """
    from jade_env.envs.pool import as_scenario

    name, loaded = str(spec), as_scenario(scenario)
    if name == "random":
        from jade_env.policy.random_policy import RandomPolicy

        return RandomPolicy(seed)
    if name == "heuristic":
        from jade_env.policy.heuristic import HeuristicPolicy

        return HeuristicPolicy(loaded, data)
    if name in ("teacher", "teacher:grounded"):
        from jade_env.policy.teacher import TeacherPolicy

        return TeacherPolicy(loaded, data, grounded=name.endswith("grounded"))
    if name == "ceiling":
        from jade_env.policy.ceiling import CeilingPolicy

        return CeilingPolicy(loaded, data)
    return _from_run(Path(spec), loaded, data, seed, greedy)


def _from_run(folder: Path, scenario: Scenario, data: str | Path | None, seed: int, greedy: bool) -> Policy:
    if any((folder / name).is_file() for name in RUN_FILES):
        try:
            if is_language_run(folder):
                player = import_module("jade_env.learning.language_player")
                return cast(Policy, player.load_language_policy(folder, scenario, greedy=greedy))
            player = import_module("jade_env.learning.player")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("jade_env"):
                raise
            raise MissingExtra(error.name, "train") from None
        return cast(Policy, player.load_policy(folder, scenario, greedy=greedy, data=data, seed=seed))
    if folder.is_dir():
        raise ConfigError(
            f"{folder}: there is no {' or '.join(RUN_FILES)} in this folder, so jade train did not make it"
        )
    raise ConfigError(
        f"there is no policy {str(folder)!r}{nearest(str(folder), SCRIPTED)}: {', '.join(SCRIPTED)}, or the folder of a run"
    )


def __getattr__(name: str) -> object:
    if name == "MixedPolicy":
        from jade_env.policy.mixed import MixedPolicy

        return MixedPolicy
    raise AttributeError(f"module 'jade_env.policy' has no attribute {name!r}")
