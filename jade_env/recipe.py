"""The typed form of `policies/*.yaml`: who drives the roles and how it learns, every knob with its unit and default.

Knows what may be written; the learners that obey it are in `learning/`, the policies in `policy/`. A *turn* is one
output of one agent, which is one row of a learner's rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from jade_env.chat_recipe import RemoteChatRecipe
from jade_env.config import Settings, answering, apply_overrides, beside, load_tree, nearest, validate
from jade_env.errors import ConfigError
from jade_env.language_recipe import BY_AGENT, PpoRecipe, WarmStartRecipe
from jade_env.marl_recipe import MarlRecipe
from jade_env.scenario import Limits, Reward, Scenario

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Script = Literal["random", "heuristic", "teacher", "ceiling", "idle"]
SCRIPTS: tuple[str, ...] = get_args(Script)
PAST = "past"

_COMMON = ("name", "summary", "learner")


class Recipe(Settings):
    """One way to drive a team: a scripted policy, or networks that learn with Stable-Baselines3."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = Field(min_length=1, max_length=200)
    """One line for listings."""
    learner: Literal["sb3", "scripted"]
    """`sb3` trains MaskablePPO; `scripted` plays a fixed policy and has no other knob than `script`."""
    script: Script | None = None
    """The policy that a scripted recipe plays."""

    train: Literal["all"] | tuple[str, ...] = "all"
    """The agents that learn: `all`, or a list such as `[planner]`; the others are frozen."""
    partners: str = Field(min_length=1, default="heuristic")
    """Who plays the frozen agents: a scripted policy, the folder of a run, or in a duel `past`: past selves of the learner, one a
    game, the one it began as among them."""
    freeze_every: Positive = 50_000
    """With `partners: past`: turns after which the learner is frozen as one more of them."""
    start: str = ""
    """The folder of a run whose network this one begins as; a new one where not given."""
    sharing: Literal["all", "per_role"] = "all"
    """`all`: one network plays every role. `per_role`: a network for each."""
    network: tuple[Positive, ...] = Field(min_length=1, max_length=8, default=(64, 64))
    """Hidden layers of the candidate scorer, in units each, first to last."""

    total_timesteps: Positive = 300_000
    """Length of the training, in turns of the agents that learn; the last rollout is played whole."""
    n_envs: Positive = 32
    """Episodes played side by side."""
    n_steps: Positive = 64
    """Turns collected in each of them before an update, so a rollout has `n_envs * n_steps` turns."""
    batch_size: Annotated[int, Field(gt=1)] = 512
    """Turns in a minibatch of the update; at most a rollout."""
    n_epochs: Positive = 4
    """Passes over a rollout in one update."""

    gamma: Share = 1.0
    """Discount per turn; 1 because an episode is short and its reward comes at the end."""
    gae_lambda: Share = 0.95
    """Generalised advantage estimation: 0 trusts the critic, 1 the return."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """AdamW's step size at the start."""
    learning_rate_end: Annotated[float, Field(ge=0, le=1)] | None = None
    """Its value at the end, reached linearly; constant where not given."""
    ent_coef: Weight = 0.01
    """Weight of the entropy bonus at the start."""
    ent_coef_end: Weight | None = None
    """Its value at the end, reached linearly; constant where not given."""
    ent_planning: Weight = 1.0
    """How many times as much it weighs for planners and decomposers, whose right choices pay only once executors are good."""
    clip_range: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """PPO's clipping of the probability ratio."""
    vf_coef: Weight = 0.5
    """Weight of the value loss."""
    weight_decay: Weight = 0.0
    """AdamW's weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """Gradients are scaled down to this global norm."""
    target_kl: Annotated[float, Field(gt=0)] | None = None
    """An update stops early beyond this divergence from the policy that played, in nats; never where not given."""

    explore_until: Share = 0.0
    """Share of the training during which the planner's choice for an original question is drawn evenly and not learned from,
    so that executors learn every workflow before the planner learns to choose among them; never where it learns alone."""
    held_out: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the train questions kept from training; the checkpoint that does best on them is the one a run is judged by.
    With 0 it is the last one."""
    threads: Positive = 2
    """Threads of the tensor library. Runs are identical to the last bit for one number of threads."""
    eval_every: Positive = 50_000
    """Turns between evaluations on the dev split and on the held-out train questions."""
    eval_episodes: Positive = 200
    """Questions in each of those, at most the split."""
    checkpoint_every: Positive = 50_000
    """Turns between checkpoints."""
    keep: Positive = 3
    """How many checkpoints stay in the run folder: the newest ones, and the best one beside them."""

    @field_validator("train", mode="before")
    @classmethod
    def _all_or_a_list(cls, given: Any) -> Any:
        if given == "all" or (isinstance(given, list | tuple) and given and all(isinstance(a, str) for a in given)):
            return given
        raise ValueError(f"expected all, or a list of agents such as [planner], found {given!r}")

    @model_validator(mode="after")
    def _hangs_together(self) -> Recipe:
        fields = type(self).model_fields
        written = [key for key, field in fields.items() if key not in _COMMON and getattr(self, key) != field.default]
        if self.learner == "scripted":
            if self.script is None:
                raise ValueError(f"script: a scripted recipe needs one of {', '.join(SCRIPTS)}")
            if foreign := [key for key in written if key != "script"]:
                raise ValueError(f"{foreign[0]}: a scripted recipe does not learn, so it has no knob but script")
        elif self.script is not None:
            raise ValueError(f"script: only a scripted recipe plays one, and this one's learner is {self.learner}")
        if self.batch_size > self.rollout:
            raise ValueError(
                f"batch_size: {self.batch_size} is more than a rollout has, n_envs * n_steps = {self.rollout} turns"
            )
        if self.learner == "sb3" and self.rollout % self.batch_size == 1:
            raise ValueError(
                f"batch_size: {self.batch_size} leaves a last minibatch of one of the n_envs * n_steps = {self.rollout} turns, "
                f"which cannot be normalised; give {self.batch_size + 1} or another"
            )
        if self.learner == "sb3" and "/" not in self.partners and self.partners not in (*SCRIPTS, PAST):
            raise ValueError(
                f"partners: {self.partners!r} is not one of {', '.join((*SCRIPTS, PAST))}, nor a path such as runs/first"
            )
        if isinstance(self.train, tuple) and len(set(self.train)) < len(self.train):
            raise ValueError("train: an agent stands twice")
        return self

    def resolved(self) -> dict[str, Any]:
        """Every knob that means something for this learner, with its value; `load_recipe` reads it back."""
        tree = self.model_dump(mode="json")
        if self.learner == "scripted":
            return {key: tree[key] for key in (*_COMMON, "script")}
        return {key: value for key, value in tree.items() if key != "script"}

    @property
    def rollout(self) -> int:
        """Turns collected for one update."""
        return self.n_envs * self.n_steps

    def trained(self, team: Mapping[str, Sequence[str]] | Sequence[str]) -> tuple[str, ...]:
        """The agents of a team that learn, in team order; `team` as `Rules.names` gives it, or agents alone.

        Raises:
            ConfigError: `train` names an agent that the team does not have.
        """
        if self.train == "all":
            return tuple(team)
        return answering(team, self.train, f"recipe {self.name}: train")


AnyRecipe = Recipe | MarlRecipe | WarmStartRecipe | PpoRecipe | RemoteChatRecipe
_LEARNERS: Mapping[str, type[AnyRecipe]] = {
    "benchmarl": MarlRecipe,
    "sft": WarmStartRecipe,
    "ppo": PpoRecipe,
    "remote_chat": RemoteChatRecipe,
}
LEARN: tuple[type[AnyRecipe], ...] = (Recipe, MarlRecipe, WarmStartRecipe, PpoRecipe)
"""The kinds of recipe that learn, and so have knobs to be set from outside."""
_MOST_ANCESTORS = 8


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> AnyRecipe:
    """Load a recipe by shipped name or by path, with overrides such as `{"total_timesteps": 50_000}`.

    A recipe that says `extends: NAME` has all keys of that one but those it gives itself.

    Raises:
        ConfigError: the recipe does not exist or is not valid; one line for each mistake.
    """
    return recipe_of(*_extended(name_or_path), overrides)


def recipe_of(tree: dict[str, Any], label: str, overrides: Mapping[str, Any] | None = None) -> AnyRecipe:
    """The typed form of a recipe's tree, with overrides; errors begin with the label.

    Raises:
        ConfigError: as `load_recipe`.
    """
    if overrides:
        tree = apply_overrides(tree, overrides, label, BY_AGENT if tree.get("learner") == "ppo" else ())
        label = f"{label} (with {', '.join(f'{key}={value}' for key, value in overrides.items())})"
    return validate(_LEARNERS.get(str(tree.get("learner")), Recipe), tree, label)


def _extended(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """A recipe's tree over the one it extends, and so on upwards."""
    tree, label = load_tree("policies", name_or_path)
    file = name_or_path
    for _ in range(_MOST_ANCESTORS):
        if (parent := tree.pop("extends", None)) is None:
            return tree, label
        if not isinstance(parent, str):
            raise ConfigError(f"{label}: extends: expected the name of a recipe, found {parent!r}")
        file = beside(file, parent)
        try:
            above, _ = load_tree("policies", file)
        except ConfigError as error:
            raise ConfigError(f"{label}: extends: {error}") from None
        tree.setdefault("summary", f"{parent} with other {', '.join(key for key in tree if key != 'name')}"[:200])
        tree = above | tree
    raise ConfigError(f"{label}: extends: more than {_MOST_ANCESTORS} recipes extend one another, perhaps in a circle")


def split_overrides(overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort overrides into those of the scenario and those of the recipe, by the first part of the key.

    Raises:
        ConfigError: a key that neither has, or that both have.
    """
    sides: dict[str, dict[str, Any]] = {"scenario": {}, "recipe": {}}
    knobs = {name for learner in LEARN for name in learner.model_fields}
    fields = {"scenario": Scenario.model_fields, "recipe": knobs}
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        owners = [side for side in sides if first in fields[side]]
        if first in sides and rest:
            sides[first][rest] = value
        elif len(owners) == 1:
            sides[owners[0]][key] = value
        elif owners:
            raise ConfigError(f"override {key!r}: both have it: write scenario.{key} or recipe.{key}")
        elif key == "seed":
            raise ConfigError("override 'seed': the seed is an option: --seed N")
        else:
            raise ConfigError(f"override {key!r}: neither a scenario nor a recipe has it{_nearest_key(key)}")
    return sides["scenario"], sides["recipe"]


def _nearest_key(key: str) -> str:
    nested = [f"reward.{name}" for name in Reward.model_fields] + [f"limits.{name}" for name in Limits.model_fields]
    for dotted in nested:
        if dotted.endswith(f".{key}"):
            return f"; did you mean {dotted!r}?"
    return nearest(key, [*(name for kind in LEARN for name in kind.model_fields), *Scenario.model_fields, *nested])


__all__ = [
    "AnyRecipe",
    "MarlRecipe",
    "PpoRecipe",
    "Recipe",
    "Script",
    "WarmStartRecipe",
    "load_recipe",
    "recipe_of",
    "split_overrides",
]
