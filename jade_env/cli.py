"""The command `jade`: arguments in, one call into the library, a table or one JSON object out. Decides nothing itself.

Heavy libraries are imported inside the commands that need them, so that `jade --help` and completion stay quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from jade_env.cli_compare import compare, studies
from jade_env.cli_index import index_app
from jade_env.cli_options import (
    PLAYER_HELP,
    DataOpt,
    ForceOpt,
    ModeOpt,
    OverridesArg,
    ScenarioArg,
    SeedOpt,
    SplitOpt,
    progress_bar,
)
from jade_env.cli_report import report
from jade_env.cli_serve import serve
from jade_env.cli_train import train, warm_start
from jade_env.config import Kind, first_line, load_tree, names, parse_overrides
from jade_env.errors import ConfigError, DataError, JadeError

if TYPE_CHECKING:
    from rich.table import Table

    from jade_env.learning.evaluation import EpisodeRow
    from jade_env.policy.base import Policy
    from jade_env.scenario import Mode, Scenario


class _Group(TyperGroup):
    """Turns a user's mistake into one clear line and an exit code, wherever in a command it surfaces."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except JadeError as error:
            _fail(str(error), 2)
        except KeyboardInterrupt as stop:
            _fail(str(stop) or "stopped", 130)


def _fail(message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        typer.echo(f"jade: {line}", err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Question answering with retrieval, as a game that a team of agents learns to play.

    Start with `jade play cooperative` to see an episode, then `jade train cooperative --out runs/first total_timesteps=50000`
    (under a minute) and `jade eval runs/first`.""",
)
data_app = typer.Typer(cls=_Group, no_args_is_help=True, help="Make or convert questions and corpora on disk.")
app.add_typer(data_app, name="data")
app.add_typer(index_app, name="index")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        import jade_env

        typer.echo(f"jade-env {jade_env.__version__}")
        raise typer.Exit


# ---- what there is --------------------------------------------------------------------------------------------------


@app.command()
def scenarios() -> None:
    """List the scenarios: the games that can be played.

    Example: jade scenarios
    """
    _list("scenarios")


@app.command()
def agents() -> None:
    """List the agents: the roles a team is made of.

    Example: jade agents
    """
    _list("agents")


@app.command()
def policies() -> None:
    """List the policies: recipes to train with `jade train`, and scripted players for `jade eval`.

    Example: jade policies
    """
    _list("policies")


def _list(kind: Kind) -> None:
    known = names(kind)
    width = max(map(len, known), default=0)
    for name in known:
        typer.echo(f"{name:<{width}}  {first_line(kind, name)}{_in_text(kind, name)}")


def _in_text(kind: Kind, name: str) -> str:
    """What is said of a scenario whose agents read prompts and write text unless they are told otherwise."""
    text = kind == "scenarios" and load_tree(kind, name)[0].get("mode", "discrete") != "discrete"
    return " [text mode]" if text else ""


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A scenario, agent, policy or study, by name or by path.")
    ],
    overrides: OverridesArg = None,
    kind: Annotated[
        Literal["scenarios", "agents", "policies", "studies"] | None,
        typer.Option("--kind", help="Where a name has several meanings."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say above each key what it means.")] = False,
) -> None:
    """Print a scenario, agent, policy or study with every default filled in, as YAML that can be saved and edited.

    Example: jade show cooperative reward.round_cost=0.1

    Example: jade show jade_joint --explain
    """
    from jade_env.show import as_yaml, explained, resolved

    given = parse_overrides(overrides or [])
    typer.echo(explained(name, kind, given) if explain else as_yaml(resolved(name, kind, given)), nl=False)


# ---- train and evaluate ---------------------------------------------------------------------------------------------


app.command()(train)
app.command(name="warm-start")(warm_start)


@app.command(name="eval")
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
    from jade_env.questions.jsonl import written_whole
    from jade_env.research.summary import agents_table, kinds_table, summarize, table, teams_table
    from jade_env.retrieval.remote_watch import Watch

    _refuse_unwritable(rows_to)  # before anything is played
    game, data = _to_play(policy, scenario, overrides or [], mode, data)
    with progress_bar("getting ready", quiet=as_json):
        player: Policy = make_policy(policy, game, data=data, seed=seed, greedy=not sampled)
    with progress_bar("playing", quiet=as_json) as progress:
        watch = Watch(open_source(game, data).retriever(split))
        rows = play_all(player, game, split, episodes, seed, data=data, progress=progress)
    summary = summarize(rows, game.name, policy, split)
    runs = _runs_in(policy)
    if as_json:
        typer.echo(json.dumps({**summary, "checkpoints": {str(run): chosen for run, (chosen, _) in runs.items()}}))
    else:
        tables = table(summary), kinds_table(summary), teams_table(summary), agents_table(summary)
        _print(*(each for each in tables if each.row_count))
        if policy == "ceiling":
            typer.echo("ceiling: a lower bound of the best that can be played")
        for run, (chosen, which) in runs.items():
            typer.echo(f"who played: {run}, its {which} checkpoint, {chosen:,}")
        typer.echo(watch.sentence())
    for ledger in ledgers(player, game):
        typer.echo(ledger, err=True)
    if lost := [row.reason for row in rows if row.failed]:
        typer.echo(f"warning: {len(lost)} of {len(rows)} episodes were cut short: {lost[0]}", err=True)
    if rows_to is not None:
        with written_whole(rows_to) as (file,):
            file.writelines(f"{json.dumps(_as_row(row))}\n".encode() for row in rows)
    if len(lost) == len(rows):
        raise typer.Exit(1)  # nothing has been measured


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
    from jade_env.policy.team import read_team

    alone = Path(policy).is_dir() or "=" not in policy or policy.startswith("remote_chat:")
    members = [policy] if alone else read_team(policy).values()
    runs = [run for member in dict.fromkeys(members) if (run := Path(member)).is_dir()]
    if not runs:
        return {}
    from jade_env.learning.checkpoint import best_timesteps, chosen_timesteps

    return {run: (chosen_timesteps(run), "last" if best_timesteps(run) is None else "best") for run in runs}


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
            return _scenario(scenario, overrides, mode), data
        overrides = [scenario, *overrides]  # the scenario was left out
    if not Path(policy).is_dir():
        if "/" in policy and not any(sign in policy for sign in "=:"):
            raise ConfigError(f"there is no run folder {policy}")
        raise ConfigError(f"which scenario? only the folder of a run has its own: try jade eval {policy} cooperative")
    game, noted = game_of(Path(policy), _changes(overrides, mode))
    for file in changed_files(Path(policy), game, data or noted):
        typer.echo(f"warning: {file} is not the one that {policy} was trained with", err=True)
    return game, data or noted


def _scenario(name: str, overrides: Sequence[str] | None, mode: Mode | None = None) -> Scenario:
    """A scenario with overrides; `scenario.` before a key is allowed."""
    from jade_env.scenario import load_scenario

    return load_scenario(name, _changes(overrides or [], mode))


def _changes(overrides: Sequence[str], mode: Mode | None) -> dict[str, Any]:
    changes = {key.removeprefix("scenario."): value for key, value in parse_overrides(overrides).items()}
    return changes | ({"mode": mode} if mode else {})


app.command()(compare)
app.command()(studies)


# ---- play and check -------------------------------------------------------------------------------------------------


@app.command()
def play(
    scenario: ScenarioArg,
    overrides: OverridesArg = None,
    role: Annotated[str | None, typer.Option("--as", metavar="ROLE", help="The agent you play; none to watch.")] = None,
    question: Annotated[str | None, typer.Option("--question", metavar="ID", help="Play this question.")] = None,
    policy: Annotated[
        str, typer.Option("--policy", metavar="POLICY|RUN", help="Who plays the other roles.")
    ] = "heuristic",
    split: SplitOpt = "dev",
    seed: SeedOpt = 0,
    mode: ModeOpt = None,
    data: DataOpt = None,
) -> None:
    """Step through an episode in the terminal, and play one of the roles if you wish.

    Enter goes on, q leaves. In discrete mode you pick a numbered candidate, in text mode you write.

    Example: jade play cooperative --as planner
    """
    from rich.console import Console

    from jade_env.envs.source import open_source
    from jade_env.envs.table import Table
    from jade_env.game.episode import Rules
    from jade_env.play import Session
    from jade_env.policy import make_policy

    game = _scenario(scenario, overrides, mode)
    console = Console(highlight=False)
    table = Table(open_source(game, data), Rules.sides(game), split, seed)
    with progress_bar("getting ready"):
        player: Policy = make_policy(policy, game, data=data, seed=seed)
    session = Session(game, table, player, console, console.input, role, mode)
    session.play(table.open(options={"question_id": question} if question else None))


@app.command()
def check(
    scenario: ScenarioArg, overrides: OverridesArg = None, split: SplitOpt = "train", data: DataOpt = None
) -> None:
    """Play a scenario at random and say in sentences what is wrong with it. The exit code is 1 if something is.

    Example: jade check my/duel.yaml
    """
    from jade_env.envs.check import check_scenario

    report = check_scenario(scenario, data=data, split=split, overrides=parse_overrides(overrides or []) or None)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


app.command()(report)
app.command()(serve)


# ---- data -----------------------------------------------------------------------------------------------------------


@data_app.command()
def convert(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="hotpotqa, 2wikimultihopqa or musique.")],
    files: Annotated[list[str], typer.Argument(metavar="SPLIT=FILE...", help="The official file of each split.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    force: ForceOpt = False,
) -> None:
    """Convert official dataset files to corpus.jsonl and SPLIT.jsonl in the layout of FlashRAG and Search-R1.

    Example: jade data convert hotpotqa --out data/hotpotqa dev=hotpot_dev_distractor_v1.json
    """
    from jade_env.questions.convert import convert as convert_files

    given: dict[str, Path] = {}
    for pair in files:
        split, equals, file = pair.partition("=")
        if not (split and equals and file):
            raise ConfigError(f"{pair!r}: expected SPLIT=FILE, such as dev=hotpot_dev_distractor_v1.json")
        if split in given:
            raise ConfigError(f"{pair!r}: the split {split} is given twice")
        given[split] = Path(file)
    report = convert_files(dataset, given, out, overwrite=force)
    typer.echo(f"{report.passages} passages in {out / 'corpus.jsonl'} ({report.merged} were there twice)")
    for split, count in report.questions.items():
        dropped = report.dropped.get(split, 0)
        typer.echo(f"{count} questions in {out / f'{split}.jsonl'}" + (f", {dropped} left out" if dropped else ""))
    if report.unsupported:
        typer.echo(
            f"{report.unsupported} supporting facts name a paragraph that their question does not come with: left out"
        )


@data_app.command()
def world(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")],
    passages: Annotated[int, typer.Option("--passages", min=100, max=1_000_000, help="Passages of the corpus.")] = 2000,
    questions: Annotated[int, typer.Option("--questions", min=1, help="Questions about them.")] = 500,
    split: SplitOpt = "train",
    seed: SeedOpt = 0,
    force: ForceOpt = False,
) -> None:
    """Write a world of made-up facts as DIR/corpus.jsonl and DIR/SPLIT.jsonl. Each split is a world of its own, in its own folder.

    Example: jade data world --out data/world --passages 10000 --questions 1000
    """
    from jade_env.questions.datasets import write_corpus, write_questions
    from jade_env.questions.world import WorldSpec, make_world

    if split == "corpus" or not split.isidentifier():
        raise ConfigError(f"--split: {split!r} cannot name a split; take letters, digits and _, and not 'corpus'")
    corpus, asked = out / "corpus.jsonl", out / f"{split}.jsonl"
    if others := [path.name for path in sorted(out.glob("*.jsonl")) if path not in (corpus, asked)]:
        raise DataError(f"{out} has {', '.join(others)}, of another world: each split needs a folder of its own")
    for path in (corpus, asked):
        if path.exists() and not force:
            raise DataError(f"{path} is there already: --force replaces it")
    made = make_world(WorldSpec(seed=seed, passages=passages), split, questions)
    write_corpus(corpus, made.documents)
    write_questions(asked, made.questions)
    typer.echo(f"{len(made.documents)} passages in {corpus}, {len(made.questions)} questions in {asked}")


def main() -> None:
    """Run the command line; a reader that closes the pipe early is no error."""
    code: Any = 0
    try:
        try:
            app(prog_name="jade")
        except SystemExit as leaving:
            code = leaving.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)


if __name__ == "__main__":
    main()
