"""The command `jade eval`: arguments in, one call of `learning/evaluation`, tables or one JSON object out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jade_env.cli_options import (
    PLAYER_HELP,
    DataOpt,
    ModeOpt,
    OverridesArg,
    SeedOpt,
    SplitOpt,
    changes_of,
    progress_bar,
    scenario_named,
)
from jade_env.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from jade_env.learning.evaluation import EpisodeRow
    from jade_env.policy.base import Policy
    from jade_env.research.summary import Summary
    from jade_env.scenario import Mode, Scenario

MALFORMED = 0.5
"""More of the outputs than this, and figures say more of formats than of answers."""


def evaluate(
    policy: Annotated[str, typer.Argument(metavar="POLICY|RUN", help=PLAYER_HELP)],
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO", help="A shipped scenario's name, or a path to a YAML file; a run's own if not given."
        ),
    ] = None,
    overrides: OverridesArg = None,
    split: SplitOpt = "dev",
    episodes: Annotated[
        int | None, typer.Option("--episodes", min=1, help="How many questions; all of the split if not given.")
    ] = None,
    seed: SeedOpt = 0,
    mode: ModeOpt = None,
    data: DataOpt = None,
    sampled: Annotated[
        bool, typer.Option("--sampled", help="A trained run draws its actions; else it plays the likeliest.")
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", min=0.01, help="Of a language model's draws; else the one it was trained at."),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Leave out documents for which a language model has no room, and go on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of the table.")] = False,
    rows_to: Annotated[
        Path | None, typer.Option("--rows", metavar="FILE", help="Write a JSON line a question, for tests in pairs.")
    ] = None,
) -> None:
    """Play each question of a split once and print how well it went, every figure with its 95 % interval.

    What a server's model has cost in requests and tokens is printed below.

    Example: jade eval runs/first --split test

    Example: jade eval heuristic cooperative --split dev --episodes 200

    Example: jade eval planner=runs/first,default=heuristic cooperative

    Example: jade eval remote_chat:mine.yaml small_world --episodes 50
    """
    from jade_env.envs.source import open_source
    from jade_env.learning.evaluation import evaluate as play_all
    from jade_env.policy import make_policy
    from jade_env.policy.token_ledger import ledgers
    from jade_env.research.summary import summarize
    from jade_env.retrieval.remote_watch import Watch

    _refuse_unwritable(rows_to)  # before anything is played
    if temperature and not sampled:
        raise ConfigError("--temperature goes with --sampled: the likeliest action has none")
    game, data = _to_play(policy, scenario, overrides or [], mode, data)
    with progress_bar("getting ready", quiet=as_json):
        player: Policy = make_policy(policy, game, data=data, seed=seed, greedy=not sampled)
    _ask(player, ({"temperature": temperature} if temperature else {}) | ({"overlong": "truncate"} if truncate else {}))
    with progress_bar("playing", quiet=as_json) as progress:
        watch = Watch(open_source(game, data).retriever(split))
        rows = play_all(player, game, split, episodes, seed, data=data, progress=progress)
    summary = summarize(rows, game.name, policy, split)
    _tell(summary, policy, watch.sentence(), as_json)
    for ledger in ledgers(player, game):
        typer.echo(ledger, err=True)
    _warn(rows, summary, player)
    if rows_to is not None:
        _write(rows, rows_to)
    if all(row.failed for row in rows):
        raise typer.Exit(1)  # nothing has been measured


def _tell(summary: Summary, policy: str, retrieval: str, as_json: bool) -> None:
    """The figures, and which runs they are of."""
    from jade_env.research.summary import agents_table, kinds_table, table, teams_table

    runs = _runs_in(policy)
    if as_json:
        typer.echo(json.dumps({**summary, "checkpoints": {str(run): chosen for run, (chosen, _) in runs.items()}}))
        return
    tables = table(summary), kinds_table(summary), teams_table(summary), agents_table(summary)
    _print(*(each for each in tables if each.row_count))
    if policy == "ceiling":
        typer.echo("ceiling: a lower bound of the best that can be played")
    for run, (chosen, which) in runs.items():
        typer.echo(f"who played: {run}, its {which} checkpoint, {chosen:,}")
    typer.echo(retrieval)


def _warn(rows: Sequence[EpisodeRow], summary: Mapping[str, Any], player: Policy) -> None:
    """What the figures do not say by themselves."""
    if lost := [row.reason for row in rows if row.failed]:
        typer.echo(f"warning: {len(lost)} of {len(rows)} episodes were cut short: {lost[0]}", err=True)
    if cut := sum(model.truncated for model in _models(player)):
        typer.echo(f"warning: {cut} prompts lost documents for which there was no room", err=True)
    if (malformed := summary["metrics"]["malformed"]["mean"] or 0.0) > MALFORMED:
        typer.echo(
            f"warning: {malformed:.0%} of the outputs broke their format; jade play {summary['scenario']} shows what is asked for",
            err=True,
        )


def _models(player: Policy) -> list[Any]:
    """The language models of this machine that play."""
    from jade_env.policy import MixedPolicy

    members = player.members if isinstance(player, MixedPolicy) else [player]
    return [member for member in members if hasattr(member, "ask")]


def _ask(player: Policy, manner: dict[str, Any]) -> None:
    """Let the language models of a team play in another manner."""
    models = _models(player)
    if manner and not models:
        raise ConfigError("--temperature and --truncate are a language model's, and nobody here is one of this machine")
    for model in models:
        model.ask(**manner)


def _refuse_unwritable(rows_to: Path | None) -> None:
    if rows_to is None:
        return
    if rows_to.is_dir() or not rows_to.parent.is_dir():
        raise ConfigError(f"--rows: {rows_to} is no file in a folder that is there")
    if not os.access(rows_to if rows_to.exists() else rows_to.parent, os.W_OK):
        raise ConfigError(f"--rows: {rows_to} cannot be written")


def _print(*tables: Table) -> None:
    """Print tables as wide as their numbers need, also where nobody says how wide the page is."""
    from rich.console import Console

    console = Console()
    for each in tables:
        wide = console.measure(each, options=console.options.update(width=1000)).maximum
        Console(width=max(console.width, wide)).print(each)


def _runs_in(policy: str) -> dict[Path, tuple[int, str]]:
    """The runs that play, alone or in a team: which checkpoint of each, and whether that is its best or its last one."""
    from jade_env.policy.team import players_of

    runs = [run for player in players_of(policy) if (run := Path(player)).is_dir()]
    if not runs:
        return {}
    from jade_env.learning.checkpoint import best_timesteps, chosen_timesteps

    return {run: (chosen_timesteps(run), "last" if best_timesteps(run) is None else "best") for run in runs}


def _write(rows: Sequence[EpisodeRow], place: Path) -> None:
    """The questions as they were played, a JSON line each."""
    from jade_env.questions.jsonl import written_whole

    with written_whole(place) as (file,):
        file.writelines(f"{json.dumps(_as_row(row))}\n".encode() for row in rows)


def _as_row(row: EpisodeRow) -> dict[str, Any]:
    """A question as it was played, under the names of `docs/game.md`; null where there is nothing to tell."""
    return {key.rstrip("_"): None if value != value else value for key, value in asdict(row).items()}


def _to_play(
    policy: str, scenario: str | None, overrides: Sequence[str], mode: Mode | None, data: Path | None
) -> tuple[Scenario, Path | None]:
    """The scenario that is named, or else the run's own, and where its data is."""
    from jade_env.cli_resume import changed_files, game_of

    if scenario is not None:
        if "=" not in scenario or Path(scenario).exists():
            return scenario_named(scenario, overrides, mode), data
        overrides = [scenario, *overrides]  # the scenario was left out
    if not Path(policy).is_dir():
        if "/" in policy and not any(sign in policy for sign in "=:"):
            raise ConfigError(f"there is no run folder {policy}")
        raise ConfigError(f"which scenario? only the folder of a run has its own: try jade eval {policy} cooperative")
    game, noted = game_of(Path(policy), changes_of(overrides, mode))
    for file in changed_files(Path(policy), game, data or noted):
        typer.echo(f"warning: {file} is not the one that {policy} was trained with", err=True)
    return game, data or noted
