"""BenchMARL: the game as one of its tasks, for MAPPO or any of its algorithms with discrete actions.

    pip install -r examples/requirements-benchmarl.txt    # in an environment of its own: see there
    python examples/benchmarl_mappo.py 20 mappo           # iterations; mappo, ippo, qmix, vdn, iql, ...

Masks, the central state (for mappo's critic and qmix's mixer) and the team's reward are found by BenchMARL itself.
"""

import sys
import tempfile
from collections.abc import Callable

from benchmarl.algorithms import algorithm_config_registry
from benchmarl.environments.pettingzoo.common import PettingZooClass
from benchmarl.experiment import Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig
from torchrl.envs import EnvBase, MarlGroupMapType, PettingZooWrapper

import jade_env


class JadeTask(PettingZooClass):
    """A scenario, whose name is the task's."""

    def get_env_fun(self, num_envs: int, continuous_actions: bool, seed: int, device: str) -> Callable[[], EnvBase]:
        return lambda: PettingZooWrapper(
            jade_env.parallel_env(self.name),
            return_state=True,
            group_map=MarlGroupMapType.ALL_IN_ONE_GROUP,
            use_mask=False,
            categorical_actions=True,
            seed=seed,
            device=device,
        )

    def supports_continuous_actions(self) -> bool:
        return False

    def supports_discrete_actions(self) -> bool:
        return True

    def has_state(self) -> bool:
        return True

    def has_render(self, env: EnvBase) -> bool:
        return False

    def max_steps(self, env: EnvBase) -> int:
        return 64  # the game's own limit on turns

    @staticmethod
    def env_name() -> str:
        return "jade"


def main(iterations: int = 20, algorithm: str = "mappo", frames: int = 1000) -> float:
    experiment = ExperimentConfig.get_from_yaml()
    experiment.max_n_frames, experiment.gamma, experiment.lr = iterations * frames, 1.0, 3e-4
    experiment.on_policy_collected_frames_per_batch = experiment.off_policy_collected_frames_per_batch = frames
    experiment.on_policy_n_envs_per_worker = experiment.off_policy_n_envs_per_worker = 1
    experiment.on_policy_n_minibatch_iters, experiment.on_policy_minibatch_size = 4, 128
    experiment.off_policy_n_optimizer_steps, experiment.off_policy_memory_size = frames // 32, 5_000  # of 43 kB each
    experiment.evaluation, experiment.loggers, experiment.save_folder = False, [], tempfile.mkdtemp()
    run = Experiment(
        task=JadeTask("cooperative", {}),
        algorithm_config=algorithm_config_registry[algorithm].get_from_yaml(),
        model_config=MlpConfig.get_from_yaml(),
        critic_model_config=MlpConfig.get_from_yaml(),
        seed=0,
        config=experiment,
    )
    run.run()
    print(f"{algorithm}: return {run.mean_return:+.3f} over the last {frames} ticks")
    return float(run.mean_return)


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))
