"""The commands `jade compare` and `jade studies`: arguments in, one call into `research/`, tables out. Decides nothing itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jade_env.cli_options import DataOpt, list_files
from jade_env.config import parse_overrides
from jade_env.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from jade_env.research.compare import Outcome


def studies() -> None:
    """List the studies: comparisons to run with `jade compare`.

    Example: jade studies
    """
    list_files("studies")


def compare(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help="A shipped study's name (see jade studies), or a path to a YAML file."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The study's folder; runs/STUDY if not given.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Changes a key of the study, such as budget.steps=20."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="0,1,...", help="These seeds in place of the study's.")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Runs at work at once, each with one thread.")
    ] = 1,
    table_only: Annotated[
        bool, typer.Option("--table-only", help="Run nothing: show what is done so far in the study's folder.")
    ] = False,
    data: DataOpt = None,
) -> None:
    """Train and judge every arm of a study on every scenario with every seed, and show how they compare.

    What is done stays done: after Ctrl-C, a kill or a failure the same command goes on, from the last checkpoint of the run that
    was at work. DIR/results.jsonl has a line for every question played; the tables are in DIR/summary.json.

    Example: jade compare paradigms --out runs/paradigms

    Example: jade compare paper_ablation --set budget.steps=20 --set questions=100 --seeds 0,1
    """
    from jade_env.research.compare import compare as run_all
    from jade_env.research.compare import look
    from jade_env.research.study import load_study

    overrides = parse_overrides(changes or []) | ({"seeds": _numbers(seeds)} if seeds is not None else {})
    plan = load_study(study, overrides)
    folder = out or Path("runs") / plan.name
    if table_only:
        outcome = look(plan, folder)
    else:
        with _watching(plan.name) as (say, progress):
            outcome = run_all(plan, folder, data=data, processes=processes, progress=progress, say=say)
    _show(outcome)
    if outcome.failed and not table_only:
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"--seeds {text}: expected numbers with commas between them, such as 0,1,2")
    return [int(part) for part in parts]


def _show(outcome: Outcome) -> None:
    """Tables and pictures of what is done, and what has failed."""
    from rich.console import Console

    from jade_env.files import write_whole
    from jade_env.research.tables import tables

    summary = outcome.summary
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in tables(summary):
        console.print(table)
    left = summary["runs"]["wanted"] - summary["runs"]["done"]
    drawn: dict[str, bytes] = {}
    if summary["views"]:
        from jade_env.research.pictures import pictures

        try:
            drawn = pictures(summary)
        except MissingExtra as error:
            typer.echo(f"no pictures: {error}", err=True)
        for name, content in drawn.items():
            write_whole(outcome.folder / name, content)
    typer.echo(f"{summary['runs']['done']} of {summary['runs']['wanted']} runs; results in {outcome.folder}", nl=False)
    typer.echo(f", with {', '.join(drawn)}" if drawn else "")
    for name, reason in outcome.failed.items():
        typer.echo(f"jade: {name} failed: {reason}", err=True)
    if left:
        typer.echo("the same command goes on with what is missing", err=True)


@contextmanager
def _watching(name: str) -> Iterator[tuple[Callable[[str], None], Callable[[float, int], None] | None]]:
    """Lines for runs that are done, above a bar of all of them where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda line: typer.echo(line, err=True), None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(name), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"))
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield (
            lambda line: console.print(line, markup=False),
            lambda done, total: bar.update(task, completed=done, total=total),
        )
