"""Checkpoints after a kill at a bad moment."""

from __future__ import annotations

from pathlib import Path

import torch

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
    assert checkpoint.load_weights(tmp_path, 2)["w"].tolist() == [2.0, 2.0]
    assert not list(folder.glob(f"{checkpoint.PARTIAL}*"))
