"""The typed form of `studies/*.yaml`: which arms play which scenarios with which seeds, and how they are judged.

Knows what may be written and what it resolves to: one `Run` for each arm, scenario and seed. Trains and plays nothing; that
is `compare.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from jade_env.chat_recipe import RemoteChatRecipe
from jade_env.config import Settings, apply_overrides, beside, load_tree, names, nearest, validate
from jade_env.errors import ConfigError
from jade_env.game.episode import Rules
from jade_env.language_recipe import LANGUAGE_MODEL, refuse_fp16
from jade_env.policy import REMOTE, RUN_FILES, SCRIPTED, Policy, make_policy
from jade_env.policy.idle import IdlePolicy
from jade_env.policy.team import make_team, members_of, players_of
from jade_env.recipe import MarlRecipe, PpoRecipe, Recipe, WarmStartRecipe, load_recipe
from jade_env.scenario import Scenario, load_scenario

Manner = Literal["greedy", "sampled"]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=60)]
Seed = Annotated[int, Field(ge=0)]
Overrides = dict[str, Any]
Learning = Recipe | MarlRecipe | PpoRecipe
"""Recipes of arms that can be trained."""
_TABLES = ("overrides", "scenario_overrides", "budget")


class StudyScenario(Settings):
    """A scenario of a study. A bare name or path stands for one without overrides."""

    scenario: str
    """A shipped scenario's name, or a path."""
    name: Name | None = None
    """What the study calls it; the file's name where not given."""
    overrides: Overrides = Field(default_factory=dict)
    """Dotted keys of the scenario, for all arms."""

    @property
    def label(self) -> str:
        """What the study calls it."""
        return self.name or Path(self.scenario).stem


class ArmWarmStart(Settings):
    """What an arm's language model learns from a teacher before anything else. A bare name or path stands for one without more."""

    policy: str
    """A warm start's recipe, by name or path."""
    overrides: Overrides = Field(default_factory=dict)
    """Dotted keys of that recipe."""
    seed: Seed = 0
    """Of the warm start: one for all seeds of the arm, as a shipped backbone is."""


class Arm(Settings):
    """One of the things compared."""

    policy: str
    """A recipe by name or path, a scripted policy such as heuristic, the folder of a run that is there already, or a team of those
    that need no training, as `planner=runs/p1,default=heuristic` or as a mapping."""
    train: bool = True
    """Whether the recipe is trained; else its team plays as it would begin."""
    warm_start: ArmWarmStart | None = None
    """The arm's model learns the arm's game from a teacher first, once for each scenario, in place of the recipe's backbone."""
    overrides: Overrides = Field(default_factory=dict)
    """Dotted keys of the recipe."""
    scenario_overrides: Overrides = Field(default_factory=dict)
    """Dotted keys of the scenario for this arm alone, such as `workflows` or `reward.outcome`. Whatever it learns from, it is
    judged by the rewards of the scenario."""

    @field_validator("warm_start", mode="before")
    @classmethod
    def _bare_name(cls, given: Any) -> Any:
        return {"policy": given} if isinstance(given, str) else given

    @field_validator("policy", mode="before")
    @classmethod
    def _in_words(cls, given: Any) -> Any:
        """A mapping as the words that mean the same."""
        if not isinstance(given, Mapping):
            return given
        parts = {str(agent): str(spec) for agent, spec in given.items()}
        if broken := next((part for part in (*parts, *parts.values()) if "," in part), None):
            raise ValueError(f"{broken!r} has a comma, which stands between the members of a team")
        return ",".join(f"{agent}={spec}" for agent, spec in parts.items())


class Study(Settings):
    """One comparison: every arm on every scenario with every seed."""

    name: Name
    summary: str = Field(min_length=1, max_length=200)
    """One line for listings."""
    scenarios: tuple[StudyScenario, ...] = Field(min_length=1)
    """What is played."""
    arms: dict[Name, Arm] = Field(min_length=1)
    """What is compared, in the order shown."""
    baseline: str | None = None
    """The arm that the others are compared with; the first one where not given."""
    seeds: tuple[Seed, ...] = Field(min_length=1, default=(0, 1, 2, 3, 4))
    """Seeds of the training. Two are needed for intervals over runs, five are better."""
    budget: Overrides = Field(default_factory=dict)
    """Dotted keys of the recipe for all arms that are trained, such as `steps: 60`; a key goes to the recipes that have it."""
    splits: tuple[Name, ...] = Field(min_length=1, default=("test",))
    """The splits that the arms are judged on."""
    questions: Annotated[int, Field(gt=0)] | None = None
    """How many questions of each split, the same for all; the whole split where not given."""
    modes: tuple[Manner, ...] = Field(min_length=1, default=("greedy",))
    """How trained arms play when they are judged: the likeliest action, or drawn ones. Scripted arms play one way."""

    @field_validator("scenarios", mode="before")
    @classmethod
    def _bare_names(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            raise ValueError("expected a list of scenarios such as [small_world]")
        return tuple({"scenario": item} if isinstance(item, str) else item for item in given)

    @model_validator(mode="after")
    def _hangs_together(self) -> Study:
        tables: dict[str, Sequence[object]] = {
            "scenarios": [item.label for item in self.scenarios],
            "seeds": self.seeds,
            "splits": self.splits,
            "modes": self.modes,
        }
        for key, items in tables.items():
            twice = [item for item, count in Counter(items).items() if count > 1]
            if twice:
                mend = "; give one a name of its own" if key == "scenarios" else ""
                raise ValueError(f"{key}: {twice[0]} stands twice{mend}")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(
                f"baseline: there is no arm {self.baseline!r}{nearest(self.baseline, self.arms)} arms: {', '.join(self.arms)}"
            )
        return self

    @property
    def against(self) -> str:
        """The arm that the others are compared with."""
        return self.baseline or next(iter(self.arms))


@dataclass(frozen=True, slots=True)
class Run:
    """One arm on one scenario with one seed.

    Attributes:
        scenario, arm, seed: which.
        game: what it is trained on, with the arm's overrides.
        judged: what it is judged on: the same game with the rewards of the study's scenario.
        player: a scripted policy's name, a run folder or a team; None where a recipe plays.
        recipe: how it learns; None where `player` plays.
        train: whether there is anything to train.
        warm: what its model learns first, from a teacher; None where the recipe's backbone is taken as it is.
        warm_seed: of that.
    """

    scenario: str
    arm: str
    seed: int
    game: Scenario
    judged: Scenario
    player: str | None
    recipe: Learning | None
    train: bool
    warm: WarmStartRecipe | None = None
    warm_seed: int = 0

    @property
    def name(self) -> str:
        """Its name, and its folder's place in the study's."""
        return f"{self.scenario}/{self.arm}/{self.seed}"

    @property
    def team(self) -> Mapping[str, str]:
        """Who plays whom, where the player is a team; empty where it is not."""
        return members_of(self.player or "")

    @property
    def scripted(self) -> bool:
        """Whether it has one way to play, as nobody who was trained is in it."""
        return self.recipe is None and not any(Path(player).is_dir() for player in players_of(self.player or ""))

    @property
    def side(self) -> str:
        """The side of a duel that it is judged by: the one that learns, else the first; "" where there is one team."""
        learned: Sequence[str] = self.recipe.trained(Rules.names(self.game)) if self.recipe else ()
        if isinstance(self.recipe, PpoRecipe):  # whose `policies` may say that others play
            from jade_env.learning.language_team import learned_of

            learned = learned_of(self.game, self.recipe)
        sides = Rules.sides(self.judged)
        return next((rules for rules in sides if set(rules.agents).intersection(learned)), sides[0]).team


def load_study(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Load a study by shipped name or by path, with overrides such as `{"budget.steps": 2}`.

    Behind `overrides`, `scenario_overrides` and `budget` the rest of a dotted key is one key of that table.

    Raises:
        ConfigError: the study does not exist or is not valid; one line for each mistake.
    """
    tree, label = load_tree("studies", name_or_path)
    tree = _from_its_folder(name_or_path, tree)
    for dotted, value in (overrides or {}).items():
        parts = dotted.split(".")
        cut = next((i + 1 for i, part in enumerate(parts) if part in _TABLES), len(parts))
        if cut == len(parts):
            tree = apply_overrides(tree, {dotted: value}, label)
        else:
            tree = _in_table(tree, parts[:cut], ".".join(parts[cut:]), value, label)
    if overrides:
        label = f"{label} (with {', '.join(f'{key}={value}' for key, value in overrides.items())})"
    return validate(Study, tree, label)


def _from_its_folder(file: str | Path, tree: Mapping[str, Any]) -> dict[str, Any]:
    """A study's tree with the paths of its scenarios, recipes and warm starts as they are from the file's own folder."""
    found = dict(tree)
    if isinstance(scenarios := tree.get("scenarios"), list):
        found["scenarios"] = [_path_of(file, item, "scenario") for item in scenarios]
    if isinstance(arms := tree.get("arms"), Mapping):
        found["arms"] = {name: _path_of(file, arm, "policy") for name, arm in arms.items()}
        for arm in found["arms"].values():
            if isinstance(arm, dict) and "warm_start" in arm:
                arm["warm_start"] = _path_of(file, arm["warm_start"], "policy")
    return found


def _path_of(file: str | Path, item: Any, key: str) -> Any:
    """A bare path, a server's settings, or a mapping that has one under a key."""
    if isinstance(item, Mapping):
        return {**item, key: _path_of(file, item[key], key)} if key in item else dict(item)
    if isinstance(item, str) and item.startswith(f"{REMOTE}:"):
        return f"{REMOTE}:{beside(file, item.removeprefix(f'{REMOTE}:'))}"
    return beside(file, item)


def _in_table(tree: Mapping[str, Any], place: Sequence[str], key: str, value: Any, label: str) -> dict[str, Any]:
    """The tree with one dotted key set in the table of overrides at a place."""
    found: Any = tree
    for part in place:
        found = (found.get(part) if isinstance(found, Mapping) else None) or {}
    return apply_overrides(tree, {".".join(place): {**found, key: value}}, label)


def runs_of(study: Study) -> list[Run]:
    """All runs of a study, seed by seed, so that whole comparisons are there early.

    Raises:
        ConfigError: a scenario, recipe or override is not valid; the message names the arm.
    """
    for key in study.budget:
        _check_budget(study, key)
    cells = [_cell(study, item, arm) for item in study.scenarios for arm in study.arms]
    taken = {name for cell in cells if cell.recipe for name in type(cell.recipe).model_fields}
    for key in study.budget:
        if key.split(".")[0] not in taken:
            raise ConfigError(f"study {study.name}: budget.{key}: no recipe of its arms has it")
    return [replace(cell, seed=seed) for seed in study.seeds for cell in cells]


def _cell(study: Study, item: StudyScenario, name: str) -> Run:
    """One arm on one scenario, for whichever seed."""
    arm = study.arms[name]
    with _at(f"study {study.name}: scenario {item.label}"):
        base = load_scenario(item.scenario, item.overrides)
    with _at(f"study {study.name}: arms.{name}"):
        game = load_scenario(item.scenario, {**item.overrides, **arm.scenario_overrides})
        player, recipe = _who(study, arm, game)
        train = recipe is not None and arm.train and recipe.train != "none"
        warm = _warm_start(arm.warm_start, recipe)
        if recipe is not None:
            recipe.trained(Rules.names(game))
        if isinstance(recipe, PpoRecipe):
            from jade_env.learning.language_team import learned_of

            learned_of(game, recipe)  # also who would learn decides which side of a duel is judged
            if train:
                refuse_fp16(recipe)
        if isinstance(recipe, MarlRecipe):
            recipe.check(game)
        if isinstance(recipe, Recipe | MarlRecipe) and not train:
            raise ConfigError(
                "train: networks that have learned nothing play at random: say policy: random, or let it train"
            )
    judged = game.model_copy(update={"reward": base.reward})
    seed = arm.warm_start.seed if arm.warm_start else 0
    return Run(item.label, name, 0, game, judged, player, recipe, train, warm, seed)


def _warm_start(wanted: ArmWarmStart | None, recipe: Learning | None) -> WarmStartRecipe | None:
    """The recipe of an arm's warm start."""
    if wanted is None:
        return None
    if not isinstance(recipe, PpoRecipe):
        raise ConfigError("warm_start: only a recipe of a language model has one")
    with _at("warm_start"):
        found = load_recipe(wanted.policy, wanted.overrides)
    if not isinstance(found, WarmStartRecipe):
        raise ConfigError(f"warm_start: {found.name} is no warm start: its learner is {found.learner}, not sft")
    return found


def _who(study: Study, arm: Arm, game: Scenario) -> tuple[str | None, Learning | None]:
    """The player or the recipe of an arm."""
    if arm.policy in SCRIPTED or Path(arm.policy).is_dir() or arm.policy.startswith(LANGUAGE_MODEL):
        player: str | None = arm.policy
    elif arm.policy.startswith(f"{REMOTE}:"):
        _stand_in(arm.policy, game, ())
        player = arm.policy
    elif team := members_of(arm.policy):
        make_team(team, game, lambda spec, roles: _stand_in(spec, game, roles))
        player = arm.policy
    else:
        if "/" in arm.policy and not arm.policy.endswith((".yaml", ".yml")):
            raise ConfigError(f"policy: {arm.policy}: no such run folder, and a recipe's path ends in .yaml")
        plain = load_recipe(arm.policy)
        player = plain.script if isinstance(plain, Recipe) else None
        if isinstance(plain, RemoteChatRecipe):
            player = arm.policy
    if player is not None:
        if arm.overrides:
            key = next(iter(arm.overrides))
            raise ConfigError(f"overrides.{key}: {arm.policy} is not trained here, so it has no knobs")
        return player, None
    fields = set(type(plain).model_fields) - set(plain.foreign if isinstance(plain, MarlRecipe) else ())
    budget = {key: value for key, value in study.budget.items() if key.split(".")[0] in fields}
    recipe = load_recipe(arm.policy, {**budget, **arm.overrides})
    if isinstance(recipe, WarmStartRecipe | RemoteChatRecipe):
        raise ConfigError(f"policy: {recipe.name} is a warm start: train it with jade warm-start, and give the others")
    return None, recipe


def _stand_in(spec: str, game: Scenario, roles: Collection[str]) -> Policy:
    """Something in the place of a member that can be made, which is left to the runs: it may take memory and data.

    Raises:
        ConfigError: it cannot; the sentence is that of `jade eval`.
    """
    folder, place = Path(spec), spec.removeprefix(f"{REMOTE}:")
    if spec in SCRIPTED or any((folder / name).is_file() for name in RUN_FILES):
        return IdlePolicy()
    if place != spec or place.endswith((".yaml", ".yml")) or place in names("policies"):
        recipe = load_recipe(place)
        if isinstance(recipe, RemoteChatRecipe) or (recipe.learner == "scripted" and place == spec):
            return IdlePolicy()
    return make_policy(spec, game, roles=roles)


def _check_budget(study: Study, key: str) -> None:
    learners: tuple[type[Learning], ...] = (Recipe, MarlRecipe, PpoRecipe)
    known = [name for learner in learners for name in learner.model_fields]
    if key.split(".")[0] not in known:
        raise ConfigError(f"study {study.name}: budget.{key}: no recipe has it{nearest(key, known)}")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Say where in the study a mistake stands."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("\n".join(f"{place}: {line}" for line in str(error).splitlines())) from None


def list_studies() -> list[str]:
    """The names of all shipped studies, sorted."""
    return names("studies")
