"""Who plays: scripted policies, trained runs, and mixtures of them. Importing this loads no learning library."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jade_env.config import names, nearest, validate
from jade_env.errors import ConfigError, MissingExtra
from jade_env.language_recipe import LANGUAGE_MODEL
from jade_env.policy.base import Policy

if TYPE_CHECKING:
    from jade_env.chat_recipe import RemoteChatRecipe
    from jade_env.policy.mixed import MixedPolicy
    from jade_env.retrieval import Retriever
    from jade_env.scenario import Scenario

SCRIPTED = ("random", "heuristic", "teacher", "teacher:grounded", "ceiling", "idle")
"""The policies that have a name; any other is the folder of a run, a model behind a server, or a team of several."""
REMOTE = "remote_chat"
RUN_FILES = ("config.json", "run.json")
"""Either makes a folder a run: the first is written when it starts, the second when it is done."""

__all__ = ["SCRIPTED", "MixedPolicy", "Policy", "make_policy"]


def make_policy(
    spec: str | Path | Mapping[str, Any] | Policy,
    scenario: str | Path | Scenario,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    greedy: bool = True,
    roles: Collection[str] | None = None,
    retriever: Retriever | None = None,
) -> Policy:
    """Make the policy that `spec` names for a scenario.

    Args:
        spec: one of `SCRIPTED`; the folder of a run made by `jade train`; `language_model:PLACE`, a model in the Hugging
            Face layout or of its hub (or `jade-tiny`), as it is, with the scenario's prompts; a recipe that needs no training,
            such as `remote_chat:FILE` for a model behind a server, or the settings of such a file as a mapping; or a team, as
            `planner=runs/p1,default=heuristic` or as a mapping from agents to specs and policies; a policy is returned as it is.
        scenario: what will be played: a name, a path, or a loaded scenario.
        data: the data location for scenarios with files; else JADE_DATA.
        seed: seed of the policy's own draws; most have none.
        greedy: whether a trained run plays what it finds most probable, or draws.
        roles: the roles that it will be asked to play, which a run has to have learned; all of the scenario's where not given.
        retriever: one of your own in place of the scenario's, for those that look for themselves: `heuristic` and `ceiling`.

    Raises:
        ConfigError: there is no such policy, or it cannot play this scenario.
        DataError: the data that it has to look at, or the run, cannot be read.
        MissingExtra: it needs a package that is not installed.
    """
    from jade_env.chat_recipe import RemoteChatRecipe
    from jade_env.policy.team import make_team, read_team
    from jade_env.scenario import as_scenario

    loaded = as_scenario(scenario)

    def make(part: Any, played: Collection[str] | None) -> Policy:
        return make_policy(part, loaded, data=data, seed=seed, greedy=greedy, roles=played, retriever=retriever)

    if isinstance(spec, Mapping):
        if "learner" in spec:
            return _remote(validate(RemoteChatRecipe, spec, REMOTE), seed)
        return make_team(spec, loaded, make, roles)
    if not isinstance(spec, str | Path):
        if isinstance(spec, Policy) and not isinstance(spec, type):
            return spec
        raise ConfigError(f"policy: expected a name, a run's folder, or a mapping from agents to such, found {spec!r}")
    name = str(spec)
    if name in SCRIPTED:
        return _scripted(name, loaded, data, seed, retriever)
    if name.startswith(LANGUAGE_MODEL):
        return _language_model(name.removeprefix(LANGUAGE_MODEL), loaded, greedy)
    if not Path(spec).is_dir():
        if "=" in name and not name.startswith(f"{REMOTE}:"):
            return make_team(read_team(name), loaded, make, roles)
        if name.startswith(f"{REMOTE}:") or name.endswith((".yaml", ".yml")) or name in names("policies"):
            return _from_recipe(name, seed, lambda script: make(script, roles))
    return _from_run(Path(spec), loaded, data, seed, greedy, roles)


def _scripted(name: str, scenario: Scenario, data: str | Path | None, seed: int, retriever: Retriever | None) -> Policy:
    """One of `SCRIPTED`."""
    if name == "random":
        from jade_env.policy.random_policy import RandomPolicy

        return RandomPolicy(seed)
    if name == "heuristic":
        from jade_env.policy.heuristic import HeuristicPolicy

        return HeuristicPolicy(scenario, data, retriever=retriever)
    if name == "ceiling":
        from jade_env.policy.ceiling import CeilingPolicy

        return CeilingPolicy(scenario, data, retriever)
    if name == "idle":
        from jade_env.policy.idle import IdlePolicy

        return IdlePolicy()
    from jade_env.policy.teacher import TeacherPolicy

    return TeacherPolicy(scenario, data, grounded=name == "teacher:grounded")


def _language_model(place: str, scenario: Scenario, greedy: bool) -> Policy:
    """A model that plays every role by its prompts, untrained by us."""
    if not place:
        raise ConfigError(
            f"{LANGUAGE_MODEL} needs a model: jade-tiny, a folder in the Hugging Face layout, or an id of its hub"
        )
    from jade_env.policy.backbone import load_backbone
    from jade_env.policy.language_model import LanguageModelPolicy, Manner

    return LanguageModelPolicy(load_backbone(place), Manner(scenario.prompt, greedy))


def _from_recipe(name: str, seed: int, scripted: Callable[[str], Policy]) -> Policy:
    """Who plays by a recipe as it stands: a script, or a model behind a server."""
    from jade_env.chat_recipe import RemoteChatRecipe
    from jade_env.recipe import load_recipe

    recipe = load_recipe(name.removeprefix(f"{REMOTE}:"))
    if isinstance(recipe, RemoteChatRecipe):
        return _remote(recipe, seed)
    if name.startswith(f"{REMOTE}:"):
        raise ConfigError(f"{name}: learner: {recipe.learner} is no server's model; that is learner: {REMOTE}")
    if recipe.learner == "scripted":
        return scripted(str(recipe.script))
    train = f"jade train SCENARIO --policy {name} --out RUN"
    raise ConfigError(f"{name} is a recipe and has learned nothing yet: {train}, then use RUN in its place")


def _remote(settings: RemoteChatRecipe, seed: int) -> Policy:
    from jade_env.policy.remote_chat import RemoteChatPolicy

    return RemoteChatPolicy(settings, seed)


def _from_run(
    folder: Path, scenario: Scenario, data: str | Path | None, seed: int, greedy: bool, roles: Collection[str] | None
) -> Policy:
    if any((folder / name).is_file() for name in RUN_FILES):
        try:
            if _is_language_run(folder):
                player = import_module("jade_env.learning.language_player")
                return cast(Policy, player.load_language_policy(folder, scenario, greedy=greedy, roles=roles))
            player = import_module("jade_env.learning.player")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("jade_env"):
                raise
            raise MissingExtra(error.name, "train") from None
        return cast(Policy, player.load_policy(folder, scenario, greedy=greedy, data=data, seed=seed, roles=roles))
    if folder.is_dir():
        raise ConfigError(
            f"{folder}: there is no {' or '.join(RUN_FILES)} in this folder, so jade train did not make it"
        )
    raise ConfigError(
        f"there is no policy {str(folder)!r}{nearest(str(folder), (*SCRIPTED, REMOTE))}: {', '.join(SCRIPTED)}, "
        f"{REMOTE}:FILE, {LANGUAGE_MODEL}PLACE, AGENT=POLICY,..., or the folder of a run"
    )


def __getattr__(name: str) -> object:
    if name == "MixedPolicy":
        from jade_env.policy.mixed import MixedPolicy

        return MixedPolicy
    raise AttributeError(f"module 'jade_env.policy' has no attribute {name!r}")


def _is_language_run(folder: Path) -> bool:
    """Whether a run was made by a recipe for language models; a folder that cannot be read is none."""
    try:
        recipe = json.loads((folder / "config.json").read_bytes()).get("recipe")
    except (OSError, ValueError, AttributeError):
        return False
    return isinstance(recipe, dict) and recipe.get("learner") in ("ppo", "sft")
