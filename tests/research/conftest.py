"""A study that is over in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

WORLD = {"data.passages": 300, "data.train": 40, "data.dev": 8, "data.test": 12}
NETWORK = {
    "n_envs": 8, "n_steps": 16, "batch_size": 64, "n_epochs": 1, "network": [8], "threads": 1,
    "eval_every": 256, "eval_episodes": 4, "checkpoint_every": 128,
}  # fmt: skip
TINY = {
    "name": "tiny",
    "summary": "over in seconds",
    "scenarios": [{"scenario": "cooperative", "name": "world", "overrides": WORLD}],
    "arms": {"random": {"policy": "random"}, "heuristic": {"policy": "heuristic"}},
    "seeds": [0, 1],
    "modes": ["greedy", "sampled"],
}
SB3 = {"sb3": {"policy": "sb3_shared", "overrides": NETWORK}}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A study of scripted arms, as a file."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def learning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with an arm that learns, as a file."""
    path = tmp_path_factory.mktemp("studies") / "learning.yaml"
    tree = TINY | {"arms": {"random": {"policy": "random"}, **SB3}, "seeds": [0], "budget": {"total_timesteps": 1024}}
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path
