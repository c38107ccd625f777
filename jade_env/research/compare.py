"""`compare`: every arm of a study on every scenario with every seed, each run in a folder of its own, and one tidy file at the end.

    OUT/results.jsonl               one line a question played: the same bytes however often the study was stopped
    OUT/summary.json                tables and curves as numbers (`aggregates.py`)
    OUT/runs.jsonl                  one line a run: done or failed and why, and how long it took
    OUT/study.json                  the study, with every default filled in
    OUT/runs/SCENARIO/ARM/SEED/     one run (`one_run.py`)

A run that has its rows is done; any other is gone on with, from its last checkpoint, by starting the study again. Knows the order
of events; how one learns is in `learning/`, what a study may say in `study.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, DataError
from jade_env.files import as_json, as_line, read, write_whole
from jade_env.policy.fingerprint import fingerprint
from jade_env.policy.team import players_of
from jade_env.recipe import PpoRecipe
from jade_env.research.one_run import (
    LOG,
    PLAN,
    ROWS,
    TIMES,
    TRAINING,
    Say,
    attempt,
    curves_of,
    failure_of,
    folder_of,
    warm_folder,
)  # fmt: skip
from jade_env.research.study import Run, Study, runs_of

RESULTS, SUMMARY, RUNS, STUDY = "results.jsonl", "summary.json", "runs.jsonl", "study.json"

Progress = Callable[[float, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a comparison ended: where its results are, which runs failed, with their reasons, and what `summary.json` says."""

    folder: Path
    runs: int
    failed: Mapping[str, str]
    summary: Mapping[str, Any]


def compare(
    study: Study,
    out: str | Path,
    *,
    data: str | Path | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Outcome:
    """Run what is not done yet of a study, and write its results.

    Args:
        study: what is compared.
        out: the study's folder: empty, not there, or one that this study was begun in.
        data: the data location for scenarios with files; else JADE_DATA.
        processes: runs at work at once; with 1 they run in this process.
        progress: called with (runs done, with a part for the one at work; runs in all).
        say: called with a line when a run is done or has failed, and with what a training warns of.

    Raises:
        ConfigError: the study is not valid, or a run in the folder was begun with another configuration.
        DataError: the questions cannot be read, or the folder is not a study's.
        KeyboardInterrupt: by Ctrl-C; the same call goes on.
    """
    folder, runs, tell = Path(out), runs_of(study), say or (lambda line: None)
    _prepare(study, runs, folder, data)
    todo = [run for run in runs if not (folder_of(folder, run) / ROWS).exists()]
    if len(todo) < len(runs):
        tell(f"{len(runs) - len(todo)} of {len(runs)} runs are there already")
    watch = _Watch(len(runs), len(runs) - len(todo), progress, tell)
    try:
        if processes == 1:
            for run in todo:
                watch.over(run, attempt(study, run, folder, data, watch.part, tell), folder)
        else:
            with _terminate_as_interrupt():
                _side_by_side(todo, folder, data, processes, watch)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped after {watch.done} of {len(runs)} runs; the same command goes on from there"
        ) from None
    return collect(study, folder)


def look(study: Study, out: str | Path) -> Outcome:
    """The summary of the runs that are done, without writing anything.

    Raises:
        ConfigError: a run in the folder was begun with another configuration.
        DataError: no study was begun in the folder, or it cannot be read.
    """
    folder = Path(out)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / STUDY).exists():
        raise DataError(f"{folder}: no study was begun in this folder, as {STUDY} is missing")
    for run in runs_of(study):
        if (path := folder_of(folder, run) / PLAN).exists():
            there = {key: value for key, value in json.loads(read(path)).items() if key not in ("files", "holds")}
            _same(path, there, _plan(study, run))
    return collect(study, folder, write_results=False)


def collect(study: Study, out: str | Path, *, write_results: bool = True) -> Outcome:
    """Write the results and the summary of the runs that are done.

    Raises:
        DataError: none is done, or the folder cannot be read or written.
    """
    from jade_env.research.aggregates import summarize

    folder, runs = Path(out), runs_of(study)
    places = {run.name: folder_of(folder, run) for run in runs}
    done = [run for run in runs if (places[run.name] / ROWS).exists()]
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder, so nothing of the study {study.name} is done yet")
    failed = {run.name: reason for run in runs if run not in done and (reason := failure_of(places[run.name]))}
    content = b"".join(read(places[run.name] / ROWS) for run in done)
    problems = [
        {"scenario": run.scenario, "arm": run.arm, "seed": run.seed, "reason": failed[run.name]}
        for run in runs
        if run.name in failed
    ]
    rows = [json.loads(line) for line in content.splitlines()]
    curves = [curve for run in done if (curve := curves_of(run, places[run.name]))]
    summary = summarize(study, rows, curves, problems)
    if write_results:
        write_whole(folder / RESULTS, content)
        write_whole(folder / RUNS, b"".join(as_line(_story(run, places[run.name])) for run in runs))
        write_whole(folder / SUMMARY, as_json(summary))
    return Outcome(folder, len(runs), failed, summary)


# ---- many runs ------------------------------------------------------------------------------------------------------


class _Watch:
    """Counts runs, and tells whoever looks on."""

    def __init__(self, total: int, done: int, progress: Progress | None, say: Say) -> None:
        self.total, self.done, self._progress, self._say = total, done, progress, say
        self.part(0.0)

    def part(self, share: float) -> None:
        """So much of the run at work is done."""
        if self._progress:
            self._progress(self.done + share, self.total)

    def repeat(self, run: Run, log: Path) -> None:
        """Say what a run in a process of its own has said of itself."""
        for sentence in read(log).decode(errors="replace").splitlines() if log.exists() else ():
            if sentence.startswith(f"{run.name}: "):
                self._say(sentence)

    def over(self, run: Run, reason: str | None, out: Path) -> None:
        """A run is done, or has failed."""
        self.done += 1
        self._say(f"[{self.done}/{self.total}] {run.name}: {f'FAILED: {reason}' if reason else _gist(out, run)}")
        self.part(0.0)


def _gist(out: Path, run: Run) -> str:
    rows = [json.loads(line) for line in read(folder_of(out, run) / ROWS).splitlines()]
    first = [row for row in rows if (row["split"], row["mode"]) == (rows[0]["split"], rows[0]["mode"])]
    f1, net, rounds = (sum(row[name] for row in first) / len(first) for name in ("f1", "net", "rounds"))
    seconds = sum(json.loads(read(folder_of(out, run) / TIMES)).values())
    return f"F1 {f1:.3f}, net {net:.3f}, {rounds:.2f} rounds ({rows[0]['split']}, {rows[0]['mode']}); {seconds:.0f} s"


def _side_by_side(todo: Sequence[Run], out: Path, data: str | Path | None, processes: int, watch: _Watch) -> None:
    """Each run in a process with one thread, some at a time."""
    waiting, working = list(todo), dict[str, tuple[Run, subprocess.Popen[bytes]]]()
    try:
        while waiting or working:
            for name in [name for name, (_, process) in working.items() if process.poll() is not None]:
                run, process = working.pop(name)
                place = folder_of(out, run)
                reason = None
                if not (place / ROWS).exists():
                    reason = failure_of(place) or f"its process ended with code {process.returncode}; see {place / LOG}"
                watch.repeat(run, place / LOG)
                watch.over(run, reason, out)
            while len(working) < processes and (new := _next(waiting, [run for run, _ in working.values()], out)):
                waiting.remove(new)
                working[new.name] = (new, _start(new, out, data))
            time.sleep(0.2)
    finally:
        for _, process in working.values():
            process.terminate()
        for _, process in working.values():
            process.wait()


def _next(waiting: Sequence[Run], working: Sequence[Run], out: Path) -> Run | None:
    """The first run that need not wait for a warm start which another is at work on; None where all have to."""
    busy = {warm_folder(out, run) for run in working if run.warm and not (warm_folder(out, run) / TIMES).exists()}
    return next((run for run in waiting if not run.warm or warm_folder(out, run) not in busy), None)


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM ends the processes that were started, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start(run: Run, out: Path, data: str | Path | None) -> subprocess.Popen[bytes]:
    place = folder_of(out, run)
    place.mkdir(parents=True, exist_ok=True)
    where = ["--data", str(data)] if data else []
    command = [sys.executable, "-m", "jade_env.research.compare", str(out), run.name, *where]
    with (place / LOG).open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    """Do one run of a study that has been begun: what `compare` starts where it has several processes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    study = Study.model_validate_json(read(given.out / STUDY))
    run = next(run for run in runs_of(study) if run.name == given.run)
    try:
        reason = attempt(study, run, given.out, given.data, lambda share: None, print)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(f"failed: {reason}" if reason else 0)


# ---- files ----------------------------------------------------------------------------------------------------------


def _prepare(study: Study, runs: Sequence[Run], out: Path, data: str | Path | None) -> None:
    """Refuse, before anything is trained, what cannot come to an end; then say in the folder what is compared."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; a study needs a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / STUDY).exists():
        raise DataError(f"{out} is not empty, and no study was begun in it: choose another --out")
    _refuse_other_questions(study, runs, data)
    plans = {run.name: _plan(study, run) | _held(study, run, data) for run in runs}
    for run in runs:
        if (path := folder_of(out, run) / PLAN).exists():
            _same(path, json.loads(read(path)), plans[run.name])
    for run in runs:
        place = folder_of(out, run)
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / PLAN, as_json(plans[run.name]))
    write_whole(out / STUDY, as_json(study.model_dump(mode="json")))


def _refuse_other_questions(study: Study, runs: Sequence[Run], data: str | Path | None) -> None:
    """Refuse arms that would be asked other questions than the first arm of their scenario, or more than there are."""
    asked: dict[tuple[str, str], tuple[str, list[Any]]] = {}
    for run in {(run.scenario, run.arm): run for run in runs}.values():
        for split in study.splits:
            questions = open_source(run.judged, data).questions(split)
            if study.questions and study.questions > len(questions):
                raise ConfigError(
                    f"study {study.name}: questions: {study.questions} are more than the {len(questions)} of {run.judged.name}, "
                    f"split {split!r}"
                )
            own = [(question.id, question.text, question.golden_answers) for question in questions]
            first, others = asked.setdefault((run.scenario, split), (run.arm, own))
            if own != others:
                raise ConfigError(
                    f"study {study.name}: arms.{run.arm}: scenario_overrides: it would be asked other questions of the split "
                    f"{split!r} than {first}: arms are compared question by question"
                )


def _held(study: Study, run: Run, data: str | Path | None) -> dict[str, Any]:
    """What the files hold that a run reads: questions, passages, the runs and the model it begins from; of worlds nothing."""
    files = open_source(run.game, data).files("train", "dev", *study.splits)
    found = {name: fingerprint(file.parent, file.name) for name, file in files.items()}
    if isinstance(run.recipe, PpoRecipe) and (weights := fingerprint(run.recipe.backbone)):
        found["backbone"] = weights
    return {key: value for key, value in (("files", found), ("holds", _holds(run))) if value}


def _plan(study: Study, run: Run) -> dict[str, Any]:
    """Everything that the rows of a run depend on, but the versions of libraries and what files hold."""
    return {
        "scenario": run.game.resolved(),
        "judged_by": run.judged.reward.model_dump(mode="json"),
        "player": run.player,
        "recipe": None if run.recipe is None else run.recipe.resolved(),
        "train": run.train,
        **({"warm_start": {**run.warm.resolved(), "seed": run.warm_seed}} if run.warm else {}),
        "seed": run.seed,
        "splits": list(study.splits),
        "questions": study.questions,
        "modes": list(study.modes),
    }


def _holds(run: Run) -> dict[str, str]:
    """What the checkpoints of run folders hold that play in a run; of others nothing."""
    players = players_of(run.player) if run.player else []
    return {player: held for player in players if (held := fingerprint(player, "checkpoints/*/*.safetensors"))}


def _same(path: Path, there: Any, here: Any, place: str = "") -> None:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*there, *here)):
            if key == "files" and not place and key not in there:  # of runs begun before
                continue
            if place == "files" and not there.get(key):  # it was not there to be read
                continue
            _same(path, there.get(key), here.get(key), f"{place}.{key}" if place else key)
    elif there != here and place.startswith("files."):
        name = place.removeprefix("files.")
        what = "the model of the recipe's backbone" if name == "backbone" else f"{name}.jsonl"
        raise ConfigError(
            f"{path}: {what} has changed since the run was begun: choose another --out, or remove {path.parent}"
        )
    elif there != here:
        raise ConfigError(
            f"{path}: {place}: the run was begun with {there!r}, and the study says {here!r} now: choose another --out, "
            f"or remove {path.parent}"
        )


def _story(run: Run, place: Path) -> dict[str, Any]:
    """How a run went, for `runs.jsonl`."""
    done = (place / ROWS).exists()
    failure = None if done else failure_of(place)
    return {
        "scenario": run.scenario,
        "arm": run.arm,
        "seed": run.seed,
        "state": "done" if done else "failed" if failure else "not run",
        "reason": failure,
        "folder": (folder_of(Path(), run) / TRAINING).as_posix() if run.train else None,
        **(json.loads(read(place / TIMES)) if done else {}),
    }


if __name__ == "__main__":
    main()
