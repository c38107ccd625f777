"""The typed form of `learner: benchmarl`: numbered candidates, played by networks that learn with an algorithm of BenchMARL.

Knows what may be written; `learning/marl.py` obeys it. A *tick* is a step of the parallel environment: every agent that has a turn
takes one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from jade_env.config import Settings
from jade_env.errors import ConfigError
from jade_env.scenario import Scenario

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Algorithm = Literal["ippo", "mappo", "qmix"]

ON_POLICY = ("n_epochs", "gae_lambda", "clip_range", "ent_coef")
OFF_POLICY = ("memory", "updates", "mixer", "explore_start", "explore_end", "explore_share", "target_rate")
CENTRAL = ("critic_network",)


class MarlRecipe(Settings):
    """A team of agents with one reward, which learns with IPPO, MAPPO or QMIX."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    summary: str = Field(min_length=1, max_length=200)
    """One line for listings."""
    learner: Literal["benchmarl"]
    algorithm: Algorithm
    """`ippo`: PPO with a critic that sees what its agent sees. `mappo`: its critic sees the central state. `qmix`: values of
    actions, mixed into the team's with weights that depend on the central state."""
    train: Literal["all"] = "all"
    """All agents learn."""
    sharing: Literal["all", "per_role"] = "all"
    """`all`: one network plays every role. `per_role`: a network for each."""
    network: tuple[Positive, ...] = Field(min_length=1, max_length=8, default=(64, 64))
    """Hidden layers of the candidate scorer, in units each, first to last."""
    critic_network: tuple[Positive, ...] = Field(min_length=1, max_length=8, default=(128, 128))
    """Hidden layers of mappo's central critic."""

    total_timesteps: Positive = 300_000
    """Length of the training, in turns of all agents together; the last rollout is played whole."""
    n_envs: Positive = 32
    """Episodes played side by side."""
    n_steps: Positive = 64
    """Ticks of each of them before the networks are updated."""
    batch_size: Annotated[int, Field(gt=1)] = 512
    """Ticks in a minibatch."""
    learning_rate: Rate = 1e-3
    """Adam's step size at the start."""
    learning_rate_end: Annotated[float, Field(ge=0, le=1)] | None = None
    """Its value at the end, reached linearly; constant where not given."""
    gamma: Share = 1.0
    """Discount per tick."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 0.5
    """Gradients of each network (of actor and critic apart) are scaled down to this norm."""

    n_epochs: Positive = 4
    """ippo, mappo: passes over what was played."""
    gae_lambda: Share = 0.95
    """ippo, mappo: generalised advantage estimation, over ticks."""
    clip_range: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """ippo, mappo: PPO's clipping of the probability ratio."""
    ent_coef: Weight = 0.01
    """ippo, mappo: weight of the entropy bonus."""

    memory: Positive = 20_000
    """qmix: ticks that are remembered; one of `cooperative` takes 90 kB."""
    updates: Positive = 16
    """qmix: minibatches after every `n_envs * n_steps` ticks."""
    mixer: Positive = 32
    """qmix: units of the mixing network."""
    explore_start: Share = 1.0
    """qmix: share of actions that are drawn evenly, at the start."""
    explore_end: Share = 0.05
    """qmix: that share later on."""
    explore_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """qmix: the part of the training in which it falls from one to the other, as if every tick had one turn."""
    target_rate: Rate = 0.01
    """qmix: how much of the networks the target networks take over in each update."""

    threads: Positive = 1
    """Threads of the tensor library. Runs are identical to the last bit for one number of threads."""
    eval_every: Positive = 50_000
    """Turns between evaluations on the dev split."""
    eval_episodes: Positive = 200
    """Questions in each of those, at most the split."""

    @model_validator(mode="after")
    def _hangs_together(self) -> MarlRecipe:
        played = self.n_envs * self.n_steps
        for key in self.foreign:
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: {self.algorithm} has no such knob")
        if self.algorithm != "qmix" and self.batch_size > played:
            raise ValueError(f"batch_size: {self.batch_size} is more than is played, n_envs * n_steps = {played} ticks")
        if self.algorithm == "qmix" and self.memory < max(played, self.batch_size):
            raise ValueError(
                f"memory: {self.memory} is less than n_envs * n_steps = {played} ticks, or than a minibatch of {self.batch_size}"
            )
        if self.explore_end > self.explore_start:
            raise ValueError(f"explore_end: {self.explore_end} is more than explore_start, {self.explore_start}")
        return self

    @property
    def foreign(self) -> tuple[str, ...]:
        """The knobs of other algorithms."""
        if self.algorithm == "qmix":
            return (*ON_POLICY, *CENTRAL)
        return OFF_POLICY if self.algorithm == "mappo" else (*OFF_POLICY, *CENTRAL)

    def resolved(self) -> dict[str, Any]:
        """Every knob that means something for this algorithm, with its value; `load_recipe` reads it back."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in self.foreign}

    def trained(self, team: Mapping[str, Sequence[str]] | Sequence[str]) -> tuple[str, ...]:
        """The agents that learn: all of the team."""
        return tuple(team)

    def check(self, scenario: Scenario) -> None:
        """Whether a scenario can be learned.

        Raises:
            ConfigError: its agents have different rewards.
        """
        if scenario.reward.sharing != "team":
            raise ConfigError(
                f"recipe {self.name}: {scenario.name}: BenchMARL's learners train one team with one reward here"
            )
