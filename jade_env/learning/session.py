"""What every training has around it: a set number of threads, signals that stop it between two steps, and a summary at the end.

Knows no learner.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from jade_env.learning.checkpoint import best_timesteps
from jade_env.learning.run_folder import PICTURE, RunFolder

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a finished run came to.

    Attributes:
        folder: where everything is.
        timesteps: what it was trained on: turns, or steps of a language model.
        seconds: wall-clock time of the training, stops and goes added up.
        best_timesteps: the checkpoint that the run is judged by.
        dev: the figures of the last evaluation on the dev split, as `evaluation.means_of` gives them.
        picture: the learning curve.
    """

    folder: Path
    timesteps: int
    seconds: float
    best_timesteps: int
    dev: Mapping[str, float]
    picture: Path


def finished(
    folder: RunFolder, scenario: str, recipe: str, timesteps: int, seconds: float, unit: str = "turns", **more: Any
) -> RunSummary:
    """Draw the learning curve and write `run.json`: the run is done.

    Args:
        folder: of the run, with all its records.
        scenario, recipe: names.
        timesteps, seconds: as in RunSummary.
        unit: what timesteps are.
        more: what else the learner has to say in `run.json`.
    """
    from jade_env.learning.curves import learning_curve  # draws with matplotlib, which players do not need

    picture = folder.write_picture(learning_curve(folder.records, f"{scenario}, {recipe}", unit))
    dev = next((dict(record["dev"]) for record in reversed(folder.records) if "dev" in record), {})
    best = best_timesteps(folder.path)
    done = RunSummary(folder.path, timesteps, round(seconds, 3), timesteps if best is None else best, dev, picture)
    own = {"timesteps": timesteps, "seconds": done.seconds, "best_timesteps": done.best_timesteps, "dev": dev}
    folder.finish({"scenario": scenario, "recipe": recipe, **own, **more, "picture": PICTURE})
    return done


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """A set number of threads for as long as the training takes; all that it computes is deterministic under it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM stops the training as Ctrl-C does. Signals reach only the main thread; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _hearing(handler: Any) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to a handler. Signals reach only the main thread; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, handler) for kind in kinds]
    try:
        yield
    finally:
        for kind, own in zip(kinds, before, strict=True):
            signal.signal(kind, own)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A second Ctrl-C waits until what is being saved is saved."""
    with _hearing(signal.SIG_IGN):
        yield


@contextmanager
def finishing(say: Callable[[str], None]) -> Iterator[None]:
    """A first Ctrl-C or SIGTERM is heard at the end of what is under way, which `say` is told; a second one at once."""
    heard = list[int]()

    def hear(number: int, _: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)
        with suppress(RuntimeError):  # something was being printed at this very moment
            say("stopping when this step is done; once more stops at once, and goes on from the last checkpoint")

    with _hearing(hear):
        yield
    if heard:
        raise KeyboardInterrupt


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A Ctrl-C or SIGTERM that comes meanwhile is heard at the end."""
    heard = list[int]()
    with _hearing(lambda number, _: heard.append(number)):
        yield
    if heard:
        raise KeyboardInterrupt
