"""Processes that train one model together: each plays and learns its share of a step, and all end it with the same weights.

A process has a rank, 0 for the one that was called and writes the run. Where there is one process, which is the rule, nothing here
does or costs anything. Knows torch.distributed; knows no game, no recipe and no run folder.
"""

from __future__ import annotations

import jade_env.policy.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from jade_env.errors import ConfigError, JadeError

T = TypeVar("T")


class Lost(JadeError):
    """Another process is not there any more."""


HOST = "127.0.0.1"
HELPER = "jade_env.learning.helper"
PATIENCE = timedelta(hours=1)
"""How long a process waits for the others, which play questions of other lengths."""
INTERFACE = "GLOO_SOCKET_IFNAME"
LOST = 3
"""Exit code of a helper that has nothing to say but that another process is not there any more."""
BUCKET = 2**26
"""Numbers of a gradient that are summed at once."""


_joined = False
"""Whether this process is one of several that `helpers` has called together; any other process group is no business of ours."""


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _joined else 1


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
    summed(torch.zeros(1))  # all are there, after a wait that can be interrupted
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
            work = dist.all_reduce(tensor, dist.ReduceOp.MAX if highest else dist.ReduceOp.SUM, async_op=True)
            pause = 1e-5
            while not work.is_completed():  # Ctrl-C is heard between two looks
                time.sleep(pause)
                pause = min(2 * pause, 0.02)
            work.wait()
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
        ConfigError: this process is in a process group already.
        JadeError: a helper has failed; with its words.
    """
    if processes == 1:
        yield
        return
    if dist.is_initialized():
        raise ConfigError("processes: this process is in a torch.distributed group already, so it cannot call another")
    with socket.create_server((HOST, 0)) as door:  # a store that listened for itself would do so on every address
        port = door.getsockname()[1]
        store = TCPStore(HOST, port, processes, is_master=True, wait_for_workers=False, master_listen_fd=door.detach())
    hook, own = sys.excepthook, list[tuple[subprocess.Popen[str], IO[str]]]()
    try:
        for number in range(1, processes):
            own.append(_start({**job, "rank": number, "size": processes, "port": port}))
        while not store.check([f"ready {number}" for number in range(1, processes)]):
            _all_there(own)
            time.sleep(0.05)
        take_device(0)
        with nobody_else():
            _meet(store, processes, own)
        yield
    except Lost as error:
        if not (said := _last_words(own)):
            raise
        raise JadeError(f"a process that trains with this one has stopped: {said}") from error
    finally:
        _leave()
        sys.excepthook = hook  # torch's own names the rank in front of every line
        for helper, log in own:
            helper.kill()
            helper.wait()
            log.close()


def join(store: TCPStore, own: int, processes: int) -> None:
    """Become one of the processes.

    Raises:
        Lost: the others are not there.
    """
    global _joined
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _losing():
        dist.init_process_group(backend, store=store, rank=own, world_size=processes, timeout=PATIENCE)
    _joined = True


@contextmanager
def nobody_else() -> Iterator[None]:
    """Who joins inside is reached from this machine alone."""
    before = os.environ.get(INTERFACE)
    if sys.platform == "linux":
        os.environ[INTERFACE] = "lo"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(INTERFACE, None)
        else:
            os.environ[INTERFACE] = before


def _meet(store: TCPStore, processes: int, own: Sequence[tuple[subprocess.Popen[str], IO[str]]]) -> None:
    """Join as rank 0 in a thread, since torch's own wait hears neither Ctrl-C nor that a helper has ended."""
    failed: list[Exception] = []

    def meeting() -> None:
        try:
            take_device(0)
            join(store, 0, processes)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=meeting, daemon=True)
    thread.start()
    while thread.is_alive():
        _all_there(own)
        thread.join(0.02)
    if failed:
        raise failed[0]


def _all_there(own: Sequence[tuple[subprocess.Popen[str], IO[str]]]) -> None:
    if any(helper.poll() is not None for helper, _ in own):
        raise Lost("a process that trains with this one could not begin")


def take_device(own: int) -> None:
    """Let this process use a GPU of its own, where there are some."""
    if torch.cuda.is_available():
        torch.cuda.set_device(own % torch.cuda.device_count())


def _leave() -> None:
    global _joined
    if _joined:
        _joined = False
        with suppress(RuntimeError, ValueError, AssertionError):
            dist.destroy_process_group()


def _start(job: Mapping[str, Any]) -> tuple[subprocess.Popen[str], IO[str]]:
    """A helper in a session of its own, so that Ctrl-C reaches only the process that was called; and what it says."""
    log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed when the helper has ended
    helper = subprocess.Popen(
        [sys.executable, "-P", "-m", HELPER],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        start_new_session=True,
    )
    assert helper.stdin is not None
    with suppress(BrokenPipeError), helper.stdin as pipe:
        pipe.write(json.dumps(job))
    return helper, log


def _last_words(own: Sequence[tuple[subprocess.Popen[str], IO[str]]]) -> str:
    """The last line of a helper that has ended, of those that only lost another one last; empty where all go on for a while."""
    until, ended = time.monotonic() + 5.0, list[tuple[subprocess.Popen[str], IO[str]]]()
    while time.monotonic() < until and not any(helper.returncode != LOST for helper, _ in ended):
        ended = [(helper, log) for helper, log in own if helper.poll() is not None]
        time.sleep(0.05)
    for helper, log in sorted(ended, key=lambda pair: pair[0].returncode == LOST):
        log.seek(0)
        lines = log.read().strip().splitlines()
        killed = helper.returncode < 0  # by a signal, so that what it said last is no reason
        return lines[-1] if lines and not killed else f"it ended with {helper.returncode}"
    return ""
