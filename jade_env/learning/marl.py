"""`train_marl`: a team learns numbered candidates with IPPO, MAPPO or QMIX of BenchMARL, and leaves a run folder as others do.

The networks are those that `sb3_shared` trains, so that what differs is the algorithm; what was learned is played by
`learning/player.py`. Knows BenchMARL; of the game it knows the parallel environment. Needs benchmarl, which has requirements of its
own: examples/requirements-benchmarl.txt.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import contextlib
import io
import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from jade_env.envs.encoding import Encoder
from jade_env.envs.parallel import ParallelEnv
from jade_env.envs.pool import as_scenario
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, JadeError
from jade_env.game.episode import Rules
from jade_env.learning import checkpoint
from jade_env.learning.candidate_net import CandidateNet, Layout
from jade_env.learning.checkpoint import Checkpoint
from jade_env.learning.curves import learning_curve
from jade_env.learning.evaluation import evaluate, means
from jade_env.learning.player import NetworkPolicy, feature_names
from jade_env.learning.run_folder import PICTURE, RunFolder, versions
from jade_env.learning.session import Progress, RunSummary, reproducible, terminate_as_interrupt
from jade_env.marl_recipe import MarlRecipe
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario

try:
    from benchmarl.algorithms import algorithm_config_registry
    from benchmarl.environments.common import TaskClass
    from benchmarl.experiment import Experiment, ExperimentConfig
    from benchmarl.experiment.callback import Callback
    from benchmarl.models.common import Model, ModelConfig
    from benchmarl.models.mlp import MlpConfig
    from tensordict import TensorDictBase
    from torchrl.data import Composite
    from torchrl.envs import EnvBase
    from torchrl.objectives import ValueEstimators

    from jade_env.learning.torchrl_env import GROUP, ParallelEnvs
except ImportError as error:
    raise JadeError(
        f"{error.name or 'benchmarl'} is not installed: recipes of learner benchmarl need an environment of their own, "
        "see examples/requirements-benchmarl.txt"
    ) from None

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
    with reproducible(plan.threads), terminate_as_interrupt():
        return _Training(game, plan, Path(out), seed, data, progress).run()


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
        self.folder = RunFolder(out, _config(game, plan, seed, data, self.team), resume=False)
        self.envs: list[ParallelEnvs] = []
        self.experiment = _experiment(plan, _Task(game, data, self.envs), seed)
        self.experiment.callbacks.append(self)
        self.turns = self.evaluated = 0
        self.losses: dict[str, float] = {}
        self.began = time.monotonic()

    # ---- the course of a run ----------------------------------------------------------------------------------------

    def run(self) -> RunSummary:
        """Train to the end, and leave the summary."""
        path = self.folder.path
        try:
            self.folder.rewind(0)
            self._save()
            self.folder.log({"timesteps": 0, DEV: self._evaluate()})
            with _quiet():
                try:
                    self.experiment.run()
                except _Enough:
                    self.experiment.close()
            self._save()
            return self._finish()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped after {self.turns} of {self.plan.total_timesteps} turns; BenchMARL's runs cannot be gone on with: "
                f"remove {path} and begin again"
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
        if not all(map(math.isfinite, losses.values())):
            raise JadeError(
                f"the training diverged after {now} turns: a loss is not a number; try a lower learning_rate"
            )
        record: dict[str, Any] = {"timesteps": now, **self._played(), "learning_rate": self._rate(), **losses}
        if over or now // plan.eval_every > before // plan.eval_every:
            self.evaluated = now
            record[DEV] = self._evaluate()
        self.folder.log(record | {"seconds": round(time.monotonic() - self.began, 3)})
        if over:
            raise _Enough
        self._anneal()

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
        folder, plan = self.folder, self.plan
        picture = folder.write_picture(learning_curve(folder.records, f"{self.game.name}, {plan.name}"))
        dev = folder.records[-1][DEV]
        seconds = round(time.monotonic() - self.began, 3)
        summary = RunSummary(folder.path, self.turns, seconds, self.turns, dev, picture)
        folder.finish(
            {
                "scenario": self.game.name,
                "recipe": plan.name,
                "timesteps": self.turns,
                "seconds": seconds,
                "best_timesteps": self.turns,
                "dev": dev,
                "picture": PICTURE,
            }
        )
        return summary

    # ---- measuring and keeping --------------------------------------------------------------------------------------

    @property
    def net(self) -> CandidateNet:
        """The network that plays, its critic the one that was trained, if that is of the same kind."""
        model = _candidate_model(self.experiment.group_policies[GROUP])
        return model.net

    def _evaluate(self) -> dict[str, float]:
        policy = NetworkPolicy(self.net, self.team)
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
        weights = {name: tensor.detach().clone() for name, tensor in self.net.state_dict().items()}
        weights |= _critic_weights(self.experiment, weights)
        checkpoint.save(
            self.folder.path, Checkpoint(self.turns, weights, {}, {"seconds": time.monotonic() - self.began})
        )


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


# ---- BenchMARL's side -----------------------------------------------------------------------------------------------


class _Task(TaskClass):  # type: ignore[misc]
    """The parallel environment of a scenario as one of BenchMARL's tasks; all agents are one group."""

    def __init__(self, game: Scenario, data: str | Path | None, made: list[ParallelEnvs]) -> None:
        super().__init__(game.name, {})
        self._game, self._data, self._made = game, data, made

    def __getstate__(self) -> dict[str, Any]:
        """BenchMARL pickles its configuration, which nobody reads."""
        return {"name": self.name, "config": self.config}

    def get_env_fun(
        self, num_envs: int, continuous_actions: bool, seed: int | None, device: Any
    ) -> Callable[[], EnvBase]:
        def make() -> EnvBase:
            first = (seed or 0) * num_envs
            envs = [ParallelEnv(self._game, seed=first + place, data=self._data) for place in range(num_envs)]
            self._made.append(ParallelEnvs(envs))
            return self._made[-1]

        return make

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def max_steps(self, env: EnvBase) -> int:
        return int(self._game.limits.max_turns)

    def has_render(self, env: EnvBase) -> bool:
        return False

    def group_map(self, env: EnvBase) -> dict[str, list[str]]:
        return {GROUP: list(env.agents)}

    def observation_spec(self, env: EnvBase) -> Composite:
        return _only(env, "observation")

    def action_mask_spec(self, env: EnvBase) -> Composite:
        return _only(env, "action_mask")

    def info_spec(self, env: EnvBase) -> None:
        return None

    def state_spec(self, env: EnvBase) -> Composite:
        return Composite({"state": env.full_observation_spec_unbatched["state"].clone()})

    def action_spec(self, env: EnvBase) -> Composite:
        return env.full_action_spec_unbatched

    @staticmethod
    def env_name() -> str:
        return "jade"


def _only(env: EnvBase, key: str) -> Composite:
    """The spec of one key of the agents'."""
    group = env.full_observation_spec_unbatched[GROUP]
    return Composite({GROUP: Composite({key: group[key].clone()}, shape=group.shape)})


class _Candidates(Model):  # type: ignore[misc]
    """`CandidateNet` for all agents at once: logits or action values of shape [.., A, K]; of a critic, values [.., A, 1]."""

    def __init__(self, layout: tuple[int, int, int], network: tuple[int, ...], per_role: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.net = CandidateNet(Layout(*layout), network, per_role)

    def _forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        seen, layout = tensordict[self.in_key], self.net.layout
        if self.is_critic:
            values = self.net(seen.reshape(-1, seen.shape[-1]))[1]
            return tensordict.set(self.out_key, values.reshape(*seen.shape[:-1], 1))
        # Most agents have no turn in a tick, and so no candidates: only the no-op, whose logit or value is 0.
        acting = (seen[..., layout.width : 2 * layout.width] != 0).any(-1)
        found = seen.new_zeros((*seen.shape[:-1], layout.actions(seen.shape[-1])))
        found[acting] = self.net(seen[acting])[0].clamp(min=_LEAST)
        return tensordict.set(self.out_key, found)


_LEAST = -1e4
"""The logit of what is no candidate; masks rule it out."""


@dataclass
class _CandidatesConfig(ModelConfig):  # type: ignore[misc]
    layout: tuple[int, int, int] = (1, 0, 1)
    network: tuple[int, ...] = (64, 64)
    per_role: bool = False

    @staticmethod
    def associated_class() -> type[Model]:
        return _Candidates


def _experiment(plan: MarlRecipe, task: _Task, seed: int) -> Experiment:
    encoder = Encoder(task._game)
    layout = encoder.width, encoder.turn_width, len(encoder.agents)
    model = _CandidatesConfig(layout, plan.network, plan.sharing == "per_role")
    critic: ModelConfig = _CandidatesConfig(layout, plan.network, plan.sharing == "per_role")
    algorithm = algorithm_config_registry[plan.algorithm].get_from_yaml()
    if plan.algorithm == "qmix":
        algorithm.mixing_embed_dim = plan.mixer
    else:
        algorithm.lmbda, algorithm.clip_epsilon, algorithm.entropy_coef = (
            plan.gae_lambda,
            plan.clip_range,
            plan.ent_coef,
        )
    if plan.algorithm == "mappo":
        critic = MlpConfig(
            num_cells=list(plan.critic_network), layer_class=torch.nn.Linear, activation_class=torch.nn.ReLU
        )
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        made = Experiment(
            task=task,
            algorithm_config=algorithm,
            model_config=model,
            critic_model_config=critic,
            seed=seed,
            config=_settings(plan, scratch),
        )
    if (
        plan.algorithm == "ippo"
    ):  # its critic looks for candidates, whose number is not known beforehand, as vmap wants it
        made.losses[GROUP].make_value_estimator(
            ValueEstimators.GAE, gamma=plan.gamma, lmbda=plan.gae_lambda, deactivate_vmap=True
        )
    return made


def _settings(plan: MarlRecipe, scratch: str) -> ExperimentConfig:
    rollout = plan.n_envs * plan.n_steps
    found = ExperimentConfig.get_from_yaml()
    found.max_n_frames = rollout * math.ceil(plan.total_timesteps / rollout)  # a tick has a turn at least: turns end it
    found.gamma, found.lr, found.clip_grad_val = plan.gamma, plan.learning_rate, plan.max_grad_norm
    found.on_policy_collected_frames_per_batch = found.off_policy_collected_frames_per_batch = rollout
    found.on_policy_n_envs_per_worker = found.off_policy_n_envs_per_worker = plan.n_envs
    found.on_policy_n_minibatch_iters, found.on_policy_minibatch_size = plan.n_epochs, plan.batch_size
    found.off_policy_n_optimizer_steps, found.off_policy_train_batch_size = plan.updates, plan.batch_size
    found.off_policy_memory_size, found.polyak_tau = plan.memory, plan.target_rate
    found.exploration_eps_init, found.exploration_eps_end = plan.explore_start, plan.explore_end
    found.exploration_anneal_frames = max(1, round(plan.explore_share * plan.total_timesteps))
    found.evaluation, found.evaluation_episodes, found.loggers, found.create_json = False, 1, [], False
    found.save_folder = scratch
    return found


def _candidate_model(module: torch.nn.Module) -> _Candidates:
    return next(part for part in module.modules() if isinstance(part, _Candidates))


def _critic_weights(experiment: Experiment, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the playing network's own critic is to be: ippo's, which is of the same shape; a silent one where there is none."""
    critics = [name for name in weights if ".critic" in name]
    algorithm = experiment.algorithm
    if hasattr(algorithm, "get_critic") and experiment.algorithm_name == "ippo":
        trained = experiment.losses[GROUP].critic_network_params.flatten_keys(".")
        found = {key: cast(Tensor, value) for key, value in trained.items()}
        own = {name: next(value for key, value in found.items() if key.endswith(name)) for name in critics}
        return {name: value.detach().clone() for name, value in own.items()}
    return {name: torch.zeros_like(weights[name]) for name in critics}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what BenchMARL and TorchRL print: progress is reported by us."""
    logger = logging.getLogger("torchrl")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _config(
    game: Scenario, plan: MarlRecipe, seed: int, data: str | Path | None, team: tuple[str, ...]
) -> dict[str, Any]:
    """The resolved configuration, in the form of other runs."""
    return {
        "scenario": game.model_dump(mode="json"),
        "recipe": plan.resolved(),
        "seed": seed,
        "data": None if data is None else str(data),
        "agents": list(team),
        "learned": list(team),
        "features": feature_names(),
        "versions": versions(),
    }
