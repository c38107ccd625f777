"""A queue of long jobs, some at a time, each in a process with one thread: what is done stays done, and a stopped queue goes on.

A job is a name and a result file; `ready` says whether what it needs is there. The work itself is done by the script that owns the
job, called with `--work NAME`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jade_env.errors import JadeError
from jade_env.files import as_json, write_whole


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work.

    Attributes:
        name: of it, and of its run folder.
        result: the file it leaves when it is done.
        needs: result files of other jobs that it reads.
        leaves: what it makes beside its result. Where that is missing and a job that is not done needs it, it is done again.
    """

    name: str
    result: Path
    needs: tuple[Path, ...] = ()
    leaves: tuple[Path, ...] = ()


def run_all(
    jobs: Sequence[Job], script: str, out: Path, processes: int, hours: float, say: Callable[[str], None] | None = None
) -> None:
    """Work off what is not done, in order, `processes` at a time; hand out nothing more after `hours`.

    Raises:
        JadeError: a job failed; the others are done.
    """
    say = say or Console().print
    until = time.monotonic() + 3600 * hours
    todo, failed = not_done(jobs), list[str]()
    total, running = len(todo), dict[str, subprocess.Popen[bytes]]()
    out.mkdir(parents=True, exist_ok=True)
    try:
        while todo or running:
            for name in [name for name, process in running.items() if process.poll() is not None]:
                code = running.pop(name).returncode
                say(
                    f"{name}: {f'FAILED ({code}), see {out / name}.log' if code else 'done'}; {len(todo)} of {total} wait"
                )
                failed += [name] if code else []
            coming = {job.result for job in todo} | {job.result for job in jobs if job.name in running}
            able = [job for job in todo if all(need.exists() and need not in coming for need in job.needs)]
            if time.monotonic() >= until:
                able = []
            for job in able[: processes - len(running)]:
                todo.remove(job)
                running[job.name] = _start(script, job, out)
            if not running:
                break
            time.sleep(1)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    if failed:
        raise JadeError(f"{', '.join(failed)} failed; the others are done")


def not_done(jobs: Sequence[Job]) -> list[Job]:
    """The jobs without a result, and those whose result is there but not what the others need of them."""
    open_ = [job for job in jobs if not job.result.exists()]
    needed = {need for job in open_ for need in job.needs}
    return [
        job for job in jobs if job in open_ or (job.result in needed and not all(path.exists() for path in job.leaves))
    ]


def _start(script: str, job: Job, out: Path) -> subprocess.Popen[bytes]:
    with (out / f"{job.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, script, "--out", str(out), "--work", job.name],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Leave a job's result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, as_json(dict(result)))


def add_results(parser: argparse.ArgumentParser, default: Path) -> None:
    """The option of another folder to print the table of."""
    parser.add_argument("--results", type=Path, default=default, help="with --table: where from")


def check_results(parser: argparse.ArgumentParser, given: argparse.Namespace, default: Path) -> None:
    """Refuse a folder that is not there, or that nothing is printed from."""
    if given.results != default:
        if not given.table:
            parser.error("--results goes with --table")
        if not given.results.is_dir():
            parser.error(f"--results: {given.results} is not a folder")


def main(
    about: str | None,
    script: str,
    jobs: Callable[[Path], list[Job]],
    work: Callable[[str, Path], None],
    show: Callable[[Path, Console], None],
    results: Path,
) -> None:
    """The command line of a queue: run what is not done, or only print the table of `results`; `--work NAME` does one job."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/claim"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hours", type=float, default=4.0, help="hand out no more jobs after so long")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    add_results(parser, results)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    check_results(parser, given, results)
    name, console = Path(script).stem, Console(width=130)
    try:
        if given.work:
            work(given.work, given.out)
            return
        try:
            if not given.table:
                run_all(jobs(given.out), script, given.out, given.processes, given.hours, console.print)
        finally:
            show(given.results, console)
    except JadeError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped; the same command goes on")
