"""The game as BenchMARL sees it: a task, a model that scores candidates, and the experiment that a recipe describes.

Knows BenchMARL and the parallel environment; knows no run folder. Needs benchmarl, which has requirements of its own.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import contextlib
import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jade_env.envs.encoding import Encoder
from jade_env.envs.parallel import ParallelEnv
from jade_env.errors import JadeError
from jade_env.files import writing
from jade_env.learning.candidate_net import CandidateNet, Layout
from jade_env.marl_recipe import MarlRecipe
from jade_env.scenario import Scenario

try:
    import benchmarl.experiment.experiment as benchmarl_loop
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
        "with jade-env[train], 'benchmarl>=1.5.2,<1.6' and 'torchrl>=0.11,<0.12' (examples/requirements-benchmarl.txt)"
    ) from None

__all__ = [
    "GROUP", "Callback", "ParallelEnvs", "Task", "TensorDictBase", "experiment_of", "player_of", "quiet", "weights_of",
]  # fmt: skip


class Task(TaskClass):  # type: ignore[misc]
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


class Candidates(Model):  # type: ignore[misc]
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
class CandidatesConfig(ModelConfig):  # type: ignore[misc]
    """What a `Candidates` is made of: `CandidateNet`'s arguments."""

    layout: tuple[int, int, int] = (1, 0, 1)
    network: tuple[int, ...] = (64, 64)
    per_role: bool = False

    @staticmethod
    def associated_class() -> type[Model]:
        return Candidates


def experiment_of(plan: MarlRecipe, task: Task, seed: int) -> Experiment:
    """BenchMARL's experiment of a recipe, with nothing played yet."""
    encoder = Encoder(task._game)
    layout = encoder.width, encoder.turn_width, len(encoder.agents)
    model = CandidatesConfig(layout, plan.network, plan.sharing == "per_role")
    critic: ModelConfig = CandidatesConfig(layout, plan.network, plan.sharing == "per_role")
    algorithm = algorithm_config_registry[plan.algorithm].get_from_yaml()
    if plan.algorithm == "qmix":
        algorithm.mixing_embed_dim = plan.mixer
    else:
        algorithm.lmbda, algorithm.entropy_coef, algorithm.clip_epsilon = (
            plan.gae_lambda,
            plan.ent_coef,
            plan.clip_range,
        )
    if plan.algorithm == "mappo":
        critic = MlpConfig(
            num_cells=list(plan.critic_network), layer_class=torch.nn.Linear, activation_class=torch.nn.ReLU
        )
    with writing(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as scratch, quiet():
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
    ):  # vmap cannot be where a critic looks for candidates, whose number nobody knows beforehand
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


def player_of(experiment: Experiment) -> CandidateNet:
    """The network that plays."""
    policy = experiment.group_policies[GROUP]
    return next(part.net for part in policy.modules() if isinstance(part, Candidates))


def weights_of(experiment: Experiment) -> dict[str, Tensor]:
    """The playing network's weights, copied. Its critic is ippo's, which is of the same shape, or silent: others have another."""
    weights = {name: tensor.detach().clone() for name, tensor in player_of(experiment).state_dict().items()}
    critic = [name for name in weights if ".critic" in name]
    if experiment.algorithm_name != "ippo":
        return weights | {name: torch.zeros_like(weights[name]) for name in critic}
    trained = dict(experiment.losses[GROUP].critic_network_params.flatten_keys(".").items())
    own = {name: next(tensor for key, tensor in trained.items() if key.endswith(name)) for name in critic}
    return weights | {name: tensor.detach().clone() for name, tensor in own.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what BenchMARL and TorchRL print and warn of, and BenchMARL's bar: progress is reported by us, on stderr."""
    logger = logging.getLogger("torchrl")
    level, bar = logger.level, benchmarl_loop.tqdm
    logger.setLevel(logging.WARNING)
    benchmarl_loop.tqdm = partial(bar, disable=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        benchmarl_loop.tqdm = bar
