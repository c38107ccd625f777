"""Checkpoints after a kill at a bad moment."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch

from jade_env.errors import DataError
from jade_env.learning import checkpoint


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    def saved(step: int) -> None:
        weights = {"w": torch.full((2,), float(step))}
        checkpoint.save(tmp_path, checkpoint.Checkpoint(step, weights, {}, {}))

    saved(1)
    folder = tmp_path / checkpoint.FOLDER
    (folder / f"{checkpoint.PARTIAL}best.json").write_text("{")  # killed while the best was marked
    (folder / f"{checkpoint.PARTIAL}000000002").mkdir()  # and while the next was written
    saved(2)
    assert checkpoint.saved_timesteps(tmp_path) == [1, 2]
    assert len({file.stat().st_mode for file in (folder / "000000002").iterdir()}) == 1, "as the user has files made"
    assert checkpoint.load_weights(tmp_path, 2)["w"].tolist() == [2.0, 2.0]
    assert not list(folder.glob(f"{checkpoint.PARTIAL}*"))


def test_a_disk_that_fills_up_is_a_sentence_and_leaves_the_earlier_checkpoints(tmp_path: Path) -> None:
    def save(step: int, numbers: int) -> None:
        tensors = {"w": torch.zeros(numbers)}
        checkpoint.save(tmp_path, checkpoint.Checkpoint(step, {"w": torch.zeros(2)}, tensors, {}))

    save(1, 10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(
            DataError, match=r"checkpoints/000000002: cannot be written: .*nothing half-written is left"
        ):
            save(2, 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in (tmp_path / checkpoint.FOLDER).iterdir()] == ["000000001"]
    save(2, 1 << 20)
    assert checkpoint.load(tmp_path, 2).learner["w"].shape == (1 << 20,)


def test_json_of_a_run_takes_halves_of_characters() -> None:
    tree = {"answer": "Os\udc00lo, Tromsø"}
    assert json.loads(checkpoint.as_json(tree)) == tree
