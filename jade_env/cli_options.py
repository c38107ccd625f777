"""What the commands of `jade` have in common: arguments and options by one name, and the bar that shows how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jade_env.config import Kind, first_line, load_tree, names, parse_overrides

if TYPE_CHECKING:
    from jade_env.scenario import Mode, Scenario

Progress = Callable[[int, int], None]

ScenarioArg = Annotated[
    str, typer.Argument(metavar="SCENARIO", help="A shipped scenario's name, or a path to a YAML file.")
]
OverridesArg = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Overrides, such as reward.round_cost=0.1.")
]
DataOpt = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The data location; else the variable JADE_DATA says it.")
]
ForceOpt = Annotated[bool, typer.Option("--force", help="Replace files that are there already.")]
SeedOpt = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
RunSeedOpt = Annotated[
    int | None, typer.Option("--seed", min=0, help="Seed of everything that is drawn; 0 if not given.")
]
RunOutOpt = Annotated[
    Path | None, typer.Option("--out", metavar="RUN", help="The run folder; runs/SCENARIO-RECIPE-SEED if not given.")
]
ResumeOpt = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in --out where it stopped, as it was begun.")
]
SplitOpt = Annotated[str, typer.Option("--split", help="train, dev, test, or any file stem of the data folder.")]
PLAYER_HELP = (
    "A scripted policy's name, a run folder, remote_chat:FILE for a model behind a server, "
    "language_model:PLACE for a Hugging Face model as it is, "
    "or a team such as planner=runs/first,default=heuristic."
)
ModeOpt = Annotated[
    Literal["text", "discrete"] | None, typer.Option("--mode", help="Replaces the scenario's mode, for all agents.")
]


@contextmanager
def progress_bar(what: str, quiet: bool = False) -> Iterator[Progress | None]:
    """A progress bar on stderr while something runs; none where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def scenario_named(name: str, overrides: Sequence[str] | None, mode: Mode | None = None) -> Scenario:
    """A scenario with overrides; `scenario.` before a key is allowed."""
    from jade_env.scenario import load_scenario

    return load_scenario(name, changes_of(overrides or [], mode))


def changes_of(overrides: Sequence[str], mode: Mode | None) -> dict[str, Any]:
    """Overrides of a scenario as a mapping, its mode among them."""
    changes = {key.removeprefix("scenario."): value for key, value in parse_overrides(overrides).items()}
    return changes | ({"mode": mode} if mode else {})


def list_files(kind: Kind) -> None:
    """Print the shipped files of a kind, with a line on each."""
    known = names(kind)
    width = max(map(len, known), default=0)
    for name in known:
        typer.echo(f"{name:<{width}}  {first_line(kind, name)}{_in_text(kind, name)}")


def _in_text(kind: Kind, name: str) -> str:
    """What is said of a scenario whose agents read prompts and write text unless they are told otherwise."""
    text = kind == "scenarios" and load_tree(kind, name)[0].get("mode", "discrete") != "discrete"
    return " [text mode]" if text else ""
