"""The command `jade report`: arguments in, one call into `research/report`, the file's name out. Decides nothing itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jade_env.cli_options import progress_bar


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN|STUDY", help="The folder of a run, or of a study.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write; report.html in the folder if not given."),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            "--split", help="Whose questions are played: train, dev, test, or a file stem of the data folder."
        ),
    ] = "dev",
    episodes: Annotated[
        int, typer.Option("--episodes", min=0, help="How many questions are played; 0 for curves and setup only.")
    ] = 200,
    before: Annotated[
        bool, typer.Option("--before/--no-before", help="Play them with the team as its training began, too.")
    ] = True,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", min=0, help="Questions also played as in training, for credit that compares episodes."
        ),
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the order of questions.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DIR", help="The data location; else that of the run, else the variable JADE_DATA."
        ),
    ] = None,
) -> None:
    """Write a run as one HTML file: what it was, how it learned, and what it plays, turn by turn, before and after.

    The file needs no network and can be sent to anyone. It holds questions and documents of the split.

    Example: jade report runs/first

    Example: jade report runs/first --split test --episodes 1000 --out first.html
    """
    from jade_env.research.report import write_report

    with progress_bar("playing") as progress:
        path = write_report(
            run,
            out,
            split=split,
            episodes=episodes,
            before=before,
            samples=samples,
            seed=seed,
            data=data,
            progress=progress,
        )
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB; open it in a browser")
