"""The command `jade`: arguments in, one call into the library, a table or one JSON object out. Decides nothing itself.

Heavy libraries are imported inside the commands that need them, so that `jade --help` and completion stay quick.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from jade_env.cli_compare import compare, studies
from jade_env.cli_eval import evaluate
from jade_env.cli_index import index_app
from jade_env.cli_options import (
    DataOpt,
    ForceOpt,
    ModeOpt,
    OverridesArg,
    ScenarioArg,
    SeedOpt,
    SplitOpt,
    list_files,
    progress_bar,
    scenario_named,
)
from jade_env.cli_report import report
from jade_env.cli_serve import serve
from jade_env.cli_train import train, warm_start
from jade_env.config import parse_overrides
from jade_env.errors import ConfigError, DataError, JadeError

if TYPE_CHECKING:
    from jade_env.policy.base import Policy


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
    list_files("scenarios")


@app.command()
def agents() -> None:
    """List the agents: the roles a team is made of.

    Example: jade agents
    """
    list_files("agents")


@app.command()
def policies() -> None:
    """List the policies: recipes to train with `jade train`, and scripted players for `jade eval`.

    Example: jade policies
    """
    list_files("policies")


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


app.command(name="eval")(evaluate)
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

    game = scenario_named(scenario, overrides, mode)
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
    """Run the command line; an output that nobody reads, or that has no room, is no traceback."""
    code: Any = 0
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - closed by whoever started it
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    try:
        try:
            app(prog_name="jade")
        except SystemExit as leaving:
            code = leaving.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = _leave_unread(141)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"jade: cannot write: {error.strerror}", file=sys.stderr)
        code = _leave_unread(1)
    sys.exit(code)


def _leave_unread(code: int) -> int:
    """Nothing more is written to the output, not even by the interpreter when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    main()
