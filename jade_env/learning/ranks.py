"""Processes that train one model together: each plays and learns its share of a step, and all end it with the same weights.

A process has a rank, 0 for the one that was called and writes the run. Where there is one process, which is the rule, nothing here
does or costs anything. Knows torch.distributed; knows no game, no recipe and no run folder.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from jade_env.errors import JadeError

T = TypeVar("T")


class Lost(JadeError):
    """Another process is not there any more."""


HOST = "127.0.0.1"
HELPER = "jade_env.learning.helper"
PATIENCE = timedelta(hours=1)
"""How long a process waits for the others, which play questions of other lengths."""
BUCKET = 2**26
"""Numbers of a gradient that are summed at once."""


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return dist.get_rank() if size() > 1 else 0


def share_of(items: Iterable[T]) -> list[T]:
    """Every n-th of some items: this process's."""
    return list(items)[rank() :: size()]


def bounds(count: int) -> tuple[int, int]:
    """The first and the end of this process's run of `count` things in order."""
    return count * rank() // size(), count * (rank() + 1) // size()


def gathered(own: T) -> list[T]:
    """What each process has, by rank.

    Raises:
        Lost: another one has stopped.
    """
    if size() == 1:
        return [own]
    found: list[Any] = [None] * size()
    with _losing():
        dist.all_gather_object(found, own)
    return found


def summed(tensor: Tensor, *, highest: bool = False) -> Tensor:
    """The sum over processes, or the highest of each number, put in the tensor's place.

    Raises:
        Lost: another one has stopped.
    """
    if size() > 1 and tensor.numel():
        with _losing():
            dist.all_reduce(tensor, dist.ReduceOp.MAX if highest else dist.ReduceOp.SUM)
    return tensor


@torch.no_grad()
def add_gradients(parameters: Sequence[Tensor]) -> None:
    """Add up the gradients of all processes; a parameter of which nobody has one keeps none.

    Raises:
        Lost: another one has stopped.
    """
    if size() == 1 or not parameters:
        return
    known = summed(torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)).tolist()
    bucket: list[Tensor] = []
    for parameter in (p for p, count in zip(parameters, known, strict=True) if count):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        held = sum(gradient.numel() for gradient in bucket)
        if bucket and (bucket[0].dtype != parameter.dtype or held + parameter.numel() > BUCKET):
            _add(bucket)
            bucket = []
        bucket.append(parameter.grad)
    _add(bucket)


def _add(gradients: Sequence[Tensor]) -> None:
    if not gradients:
        return
    flat = summed(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Lost(f"a process that trains with this one has stopped: {str(error).splitlines()[0]}") from None


# ---- processes -------------------------------------------------------------------------------------------------------


@contextmanager
def helpers(processes: int, job: Mapping[str, Any]) -> Iterator[None]:
    """Run what is inside as rank 0 of so many processes; the others do `job`, which `jade_env.learning.helper` understands.

    Raises:
        JadeError: a helper has failed; with its words.
    """
    if processes == 1:
        yield
        return
    store = TCPStore(HOST, 0, processes, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory(prefix="jade-") as folder:
        own: list[tuple[subprocess.Popen[str], Path]] = []
        try:
            for number in range(1, processes):
                log = Path(folder) / str(number)
                own.append((_start({**job, "rank": number, "size": processes, "port": store.port}, log), log))
            while not store.check([f"ready {number}" for number in range(1, processes)]):
                if any(helper.poll() is not None for helper, _ in own):
                    raise Lost("a process that trains with this one could not begin")
                time.sleep(0.05)
            join(store, 0, processes)
            yield
        except Lost as error:
            if not (said := _last_words(own)):
                raise
            raise JadeError(f"a process that trains with this one has stopped: {said}") from error
        finally:
            with suppress(RuntimeError, ValueError, AssertionError):
                dist.destroy_process_group()
            for helper, _ in own:
                helper.kill()
                helper.wait()


def join(store: TCPStore, own: int, processes: int) -> None:
    """Become one of the processes."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody else may speak to them
    if torch.cuda.is_available():
        torch.cuda.set_device(own % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=own, world_size=processes, timeout=PATIENCE)


def _start(job: Mapping[str, Any], log: Path) -> subprocess.Popen[str]:
    """A helper in a session of its own, so that Ctrl-C reaches only the process that was called."""
    with log.open("w") as file:
        helper = subprocess.Popen(
            [sys.executable, "-P", "-m", HELPER],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            start_new_session=True,
        )
    assert helper.stdin is not None
    with suppress(BrokenPipeError), helper.stdin as pipe:
        pipe.write(json.dumps(job))
    return helper


def _last_words(own: Sequence[tuple[subprocess.Popen[str], Path]]) -> str:
    """What the first helper that has ended said last; empty where all go on for a while."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        for helper, log in own:
            if helper.poll() is not None:
                lines = log.read_text(errors="replace").strip().splitlines()
                return lines[-1] if lines else f"it ended with {helper.returncode}"
        time.sleep(0.05)
    return ""
