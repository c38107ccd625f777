"""Checkpoints: a folder of safetensors and JSON, written whole or not at all, with everything needed to go on exactly.

    checkpoints/000081920/{policy,learner}.safetensors, state.json      best.json names the one to be judged by

Knows torch's modules, optimizers and random states, and files. Knows no game and no learner.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import errno
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jade_env.errors import DataError
from jade_env.files import PARTIAL, as_json, sync_folder, write_through, write_whole, writing

FOLDER, BEST = "checkpoints", "best.json"
POLICY, LEARNER, STATE = "policy.safetensors", "learner.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A moment of a training run.

    Attributes:
        timesteps: turns trained on so far; of a language model, steps.
        policy: the network's tensors by name.
        learner: the optimizer's tensors and the states of the random generators, by name.
        state: everything else, as JSON.
    """

    timesteps: int
    policy: Mapping[str, Tensor]
    learner: Mapping[str, Tensor]
    state: Mapping[str, Any]


# ---- what a moment consists of --------------------------------------------------------------------------------------


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's own moments and step counts, not copied, by parameter number and name."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{key}": value for i, entry in state.items() for key, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimizer_tensors` back."""
    tree = optimizer.state_dict()
    tree["state"] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            number, _, key = rest.partition(".")
            tree["state"].setdefault(int(number), {})[key] = value
    optimizer.load_state_dict(tree)


def random_tensors() -> dict[str, Tensor]:
    """The states of torch's, numpy's and Python's global generators."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    assert name == "MT19937"
    version, words, next_gauss = random.getstate()
    assert version == 3
    spare = [float(has_gauss), float(gauss), float(next_gauss is not None), float(next_gauss or 0.0)]
    return {
        "random.torch": torch.get_rng_state(),
        "random.numpy": torch.tensor([*map(int, keys), int(position)], dtype=torch.int64),
        "random.python": torch.tensor(words, dtype=torch.int64),
        "random.spare": torch.tensor(spare, dtype=torch.float64),
    }


def restore_random(tensors: Mapping[str, Tensor]) -> None:
    """Put `random_tensors` back."""
    has_gauss, gauss, has_next, next_gauss = tensors["random.spare"].tolist()
    *keys, position = tensors["random.numpy"].tolist()
    torch.set_rng_state(tensors["random.torch"])
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, int(has_gauss), gauss))
    random.setstate((3, tuple(tensors["random.python"].tolist()), next_gauss if has_next else None))


# ---- files ----------------------------------------------------------------------------------------------------------


def save(run: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, whole or not at all; return its folder.

    Raises:
        DataError: the disk is full, or the folder cannot be written; the earlier checkpoints are as they were.
    """
    folder = run / FOLDER
    final = folder / f"{checkpoint.timesteps:09d}"
    partial = folder / (PARTIAL + final.name)
    with writing(final):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(
            PARTIAL + "*"
        ):  # of a process that was killed: a folder, or the file that names the best
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        if not final.exists():
            try:
                partial.mkdir()
                _write_tensors(partial / POLICY, checkpoint.policy)
                _write_tensors(partial / LEARNER, checkpoint.learner)
                write_through(partial / STATE, json.dumps(dict(checkpoint.state), allow_nan=False).encode())
                sync_folder(partial)
                partial.rename(final)
                sync_folder(folder)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    return final


def prune(run: Path, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the best one.

    Raises:
        DataError: the folder cannot be written.
    """
    folder, best = run / FOLDER, best_timesteps(run)
    with writing(folder):
        for old in saved_timesteps(run)[:-keep]:
            if old != best:
                shutil.rmtree(folder / f"{old:09d}")


def saved_timesteps(run: Path) -> list[int]:
    """At which numbers of turns, or of steps, there are checkpoints, ascending."""
    folder = run / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def mark_best(run: Path, timesteps: int, figures: Mapping[str, float]) -> None:
    """Say that the checkpoint of `timesteps` is the one to be judged by, with the figures that made it so."""
    write_whole(run / FOLDER / BEST, as_json({"timesteps": timesteps, **figures}))


def chosen_timesteps(run: Path, which: Literal["first", "best", "last"] = "best") -> int:
    """Which checkpoint is the first, the best one, or the last; the last where none was marked as the best.

    Raises:
        DataError: there is none, or the mark cannot be read.
    """
    saved = saved_timesteps(run)
    if not saved:
        raise DataError(f"{run}: there is no checkpoint in this run")
    best = best_timesteps(run) if which == "best" else None
    return 0 if which == "first" else saved[-1] if best is None else best


def best_timesteps(run: Path) -> int | None:
    """Which checkpoint is the best one; None where none has been marked.

    Raises:
        DataError: the mark cannot be read.
    """
    path = run / FOLDER / BEST
    if not path.exists():
        return None
    found = read_json(path).get("timesteps")
    if not isinstance(found, int):
        raise DataError(f"{path}: timesteps should be a number, found {found!r}")
    return found


def load(run: Path, timesteps: int) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: it is missing or damaged.
    """
    folder = run / FOLDER / f"{timesteps:09d}"
    return Checkpoint(
        timesteps, _read_tensors(folder / POLICY), _read_tensors(folder / LEARNER), read_json(folder / STATE)
    )


def load_weights(run: Path, timesteps: int) -> dict[str, Tensor]:
    """Read only the network's tensors of a checkpoint.

    Raises:
        DataError: it is missing or damaged.
    """
    return _read_tensors(run / FOLDER / f"{timesteps:09d}" / POLICY)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file of a run.

    Raises:
        DataError: the file is missing, damaged, or not an object.
    """
    tree = _read(path, lambda place: json.loads(place.read_bytes()))
    if not isinstance(tree, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(tree).__name__}")
    return tree


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, each in memory of its own, and none of them twice."""

    def parse(path: Path) -> dict[str, Tensor]:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no mapping

    found: dict[str, Tensor] = _read(path, parse)
    return found


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    try:
        return parse(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such file; the run is not complete, or it is no run") from None
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors from where they lie, so that a large optimizer is in memory once."""
    path.touch()
    mode = path.stat().st_mode  # as the user has files made; what saves tensors makes them for the owner alone
    try:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error)) from None
    path.chmod(mode)
    with path.open("rb") as file:
        os.fsync(file.fileno())
