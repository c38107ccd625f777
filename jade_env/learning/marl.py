"""`train_marl`: a team learns numbered candidates with IPPO, MAPPO or QMIX of BenchMARL, and leaves a run folder as others do.

The networks are those that `sb3_shared` trains, and what was learned is played by `learning/player.py`. All else is the algorithm's
and BenchMARL's own: no schedule of exploration for the planner, advantages that are not normalized, Adam without weight decay.
Knows BenchMARL; of the game it knows the parallel environment. Needs benchmarl, which has requirements of its own:
examples/requirements-benchmarl.txt.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, DataError, JadeError
from jade_env.files import writing
from jade_env.game.episode import Rules
from jade_env.learning import checkpoint
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.evaluation import evaluate, means
from jade_env.learning.marl_task import (
    GROUP,
    Callback,
    ParallelEnvs,
    Task,
    TensorDictBase,
    experiment_of,
    player_of,
    quiet,
    weights_of,
)  # fmt: skip
from jade_env.learning.player import NetworkPolicy, feature_names
from jade_env.learning.run_folder import RunFolder, config_of
from jade_env.learning.session import Progress, RunSummary, finished, reproducible, terminate_as_interrupt, undisturbed
from jade_env.marl_recipe import MarlRecipe
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario, as_scenario

DEV = "dev"


def train_marl(
    scenario: str | Path | Scenario,
    recipe: str | Path | MarlRecipe,
    out: str | Path,
    seed: int = 0,
    *,
    data: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunSummary:
    """Train a recipe of BenchMARL's on a scenario.

    Under one seed, machine and number of threads the weights are the same to the last bit. A run that was stopped cannot be gone on
    with: its replay memory and the state of its environments are not kept.

    Args:
        scenario: a shipped name, a path, or a loaded scenario; one team with one reward.
        recipe: the same for a recipe.
        out: the run folder: empty or not there.
        seed: of the networks, the order of questions, and every draw.
        data: the data location for scenarios with files; else JADE_DATA.
        overrides: dotted keys of the recipe, where that is a name or a path.
        progress: called with (turns trained on, turns in all).

    Raises:
        ConfigError: the scenario or the recipe is not valid, or the scenario's agents have different rewards.
        DataError: the questions cannot be read, or the folder is not empty or cannot be written.
        JadeError: the training diverged.
        KeyboardInterrupt: by Ctrl-C or SIGTERM.
    """
    game = as_scenario(scenario, "discrete")
    plan = recipe if isinstance(recipe, MarlRecipe) else load_recipe(recipe, overrides)
    if not isinstance(plan, MarlRecipe):
        raise ConfigError(f"recipe {plan.name}: its learner is {plan.learner}, not benchmarl")
    plan.check(game)
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed: {seed} is not between 0 and 2**32 - 1")
    with writing(Path(out)):
        if Path(out).is_dir() and any(Path(out).iterdir()):
            raise DataError(f"{out} is not empty, and BenchMARL's runs cannot be gone on with: choose another --out")
    before = checkpoint.random_tensors()  # BenchMARL seeds the generators of the whole process
    try:
        with reproducible(plan.threads), terminate_as_interrupt():
            return _Training(game, plan, Path(out), seed, data, progress).run()
    finally:
        checkpoint.restore_random(before)


class _Enough(BaseException):
    """The budget of turns is used up. No Exception, since BenchMARL prints a failure for those."""


class _Training(Callback):  # type: ignore[misc]
    """A run: BenchMARL's experiment, and what is measured and kept of it."""

    def __init__(
        self,
        game: Scenario,
        plan: MarlRecipe,
        out: Path,
        seed: int,
        data: str | Path | None,
        progress: Progress | None,
    ) -> None:
        super().__init__()
        self.game, self.plan, self.data, self.progress = game, plan, data, progress
        self.team = Rules.of(game).agents
        self.dev = min(plan.eval_episodes, len(open_source(game, data).questions(DEV)))
        self.envs: list[ParallelEnvs] = []
        self.experiment = experiment_of(plan, Task(game, data, self.envs), seed)
        self.experiment.callbacks.append(self)
        config = config_of(game, plan.resolved(), seed, data, self.team, self.team, features=feature_names())
        self.folder = RunFolder(out, config, resume=False)
        self.turns = self.evaluated = 0
        self.began = time.monotonic()

    # ---- the course of a run ----------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        path = self.folder.path
        try:
            self.folder.rewind(0)
            self._save()
            self.folder.log({"timesteps": 0, DEV: self._evaluate()})
            with quiet():
                try:
                    self.experiment.run()
                except _Enough:
                    self.experiment.close()
                except (RuntimeError, ValueError) as error:  # torch draws from no distribution that is not finite
                    if self._finite():
                        raise
                    raise self._diverged() from error
            return self._finish()
        except KeyboardInterrupt:
            with undisturbed():
                self._save()
            raise KeyboardInterrupt(
                f"stopped after {self.turns} of {self.plan.total_timesteps} turns; {path} can be played as it is, "
                "but not be gone on with: begin again with another --out"
            ) from None
        finally:
            self.folder.close()

    def on_batch_collected(self, batch: TensorDictBase) -> None:
        """Count the turns: the agents that could do something else than nothing."""
        self.turns += int((~batch[GROUP, "action_mask"][..., 0]).sum())
        if self.progress:
            self.progress(min(self.turns, self.plan.total_timesteps), self.plan.total_timesteps)

    def on_train_end(self, training_td: TensorDictBase, group: str) -> None:
        """Write down how it goes, at times evaluate, and stop when the budget is used up."""
        plan, now, before = self.plan, self.turns, self.evaluated
        over = now >= plan.total_timesteps
        losses = {own: float(training_td[name].mean()) for name, own in _LEARNER if name in training_td.keys()}  # noqa: SIM118
        if not (self._finite() and all(map(math.isfinite, losses.values()))):
            raise self._diverged()
        record: dict[str, Any] = {"timesteps": now, **self._played(), "learning_rate": self._rate(), **losses}
        if over or now // plan.eval_every > before // plan.eval_every:
            self.evaluated = now
            record[DEV] = self._evaluate()
            self._save()
        self.folder.log(record | {"seconds": round(time.monotonic() - self.began, 3)})
        if over:
            raise _Enough
        self._anneal()

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(p).all()) for p in player_of(self.experiment).parameters())

    def _diverged(self) -> JadeError:
        good = checkpoint.saved_timesteps(self.folder.path)[-1]
        return JadeError(
            f"the training diverged after {self.turns} turns: the loss is not a number; the last good checkpoint is that of {good} "
            f"turns in {self.folder.path}; try a lower learning_rate"
        )

    def _rate(self) -> float:
        return float(next(iter(self.experiment.optimizers[GROUP].values())).param_groups[0]["lr"])

    def _anneal(self) -> None:
        plan = self.plan
        if plan.learning_rate_end is None:
            return
        remaining = max(0.0, 1 - self.turns / plan.total_timesteps)
        rate = plan.learning_rate_end + remaining * (plan.learning_rate - plan.learning_rate_end)
        for optimizer in self.experiment.optimizers[GROUP].values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _finish(self) -> RunSummary:
        seconds = time.monotonic() - self.began
        return finished(self.folder, self.game.name, self.plan.name, self.turns, seconds)

    # ---- measuring and keeping --------------------------------------------------------------------------------------

    def _evaluate(self) -> dict[str, float]:
        policy = NetworkPolicy(player_of(self.experiment), self.team, values=self.plan.algorithm == "qmix")
        with torch.random.fork_rng(devices=[]):
            return means(evaluate(policy, self.game, DEV, self.dev, data=self.data))

    def _played(self) -> dict[str, float]:
        """Means over the episodes that have ended since this was last asked."""
        rows = [row for env in self.envs for row in env.finished]
        for env in self.envs:
            env.finished.clear()
        figures = {key: float(np.mean([row[key] for row in rows])) for key in _PLAYED} if rows else {}
        return {"episodes": len(rows), **figures}

    def _save(self) -> None:
        state = {"seconds": time.monotonic() - self.began}
        checkpoint.save(self.folder.path, Checkpoint(self.turns, weights_of(self.experiment), {}, state))


_LEARNER = (
    ("loss", "value_loss"),
    ("loss_critic", "value_loss"),
    ("loss_objective", "policy_loss"),
    ("entropy", "entropy"),
    ("kl_approx", "kl"),
    ("clip_fraction", "clip_fraction"),
)
"""BenchMARL's figures and what they are called elsewhere here; means over all agents, most of which have no turn in a tick."""
_PLAYED = ("net", "f1", "em", "rounds", "retrievals", "turns")
