"""The commands `jade train` and `jade warm-start`: arguments in, one call into `learning/`, a line about what came of it out."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jade_env.cli_options import DataOpt, OverridesArg, ResumeOpt, RunOutOpt, RunSeedOpt, ScenarioArg, progress_bar
from jade_env.config import parse_overrides
from jade_env.errors import ConfigError

if TYPE_CHECKING:
    from jade_env.cli_resume import Given, Training
    from jade_env.language_recipe import PpoRecipe
    from jade_env.learning.session import RunSummary
    from jade_env.marl_recipe import MarlRecipe
    from jade_env.recipe import AnyRecipe, Recipe
    from jade_env.scenario import Scenario


def train(
    scenario: ScenarioArg,
    overrides: OverridesArg = None,
    policy: Annotated[
        str | None,
        typer.Option(
            "--policy", metavar="RECIPE", help="How to learn: a recipe's name or path; sb3_shared if not given."
        ),
    ] = None,
    out: RunOutOpt = None,
    seed: RunSeedOpt = None,
    data: DataOpt = None,
    resume: ResumeOpt = False,
    processes: Annotated[
        int,
        typer.Option(
            "--processes", min=1, help="Of a language model: so many share each step, on a core or a GPU of their own."
        ),
    ] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Resolve everything, print a memory plan and what to lower, and train nothing."),
    ] = False,
) -> None:
    """Train a team and leave everything in a run folder: configuration, metrics, checkpoints, a learning curve.

    A key that is a scenario's goes to the scenario, a recipe's to the recipe; `scenario.` or `recipe.` before it says which.
    With --resume everything is as the run was begun, and only its length may be given anew (steps=200).

    Example: jade train small_world --policy jade_joint --out runs/joint steps=40

    Example: jade train cooperative --policy sb3_shared --out runs/first total_timesteps=100000 reward.round_cost=0.1
    """
    from jade_env.cli_resume import Given

    given = Given(scenario, policy or "sb3_shared", parse_overrides(overrides or []), out, seed, data)
    game, recipe, run, seed, data = _told(given, policy is not None) if resume else given.new()
    before = _timesteps(run)
    recipe = _trainable(recipe, policy or recipe.name, scenario, processes, resume)
    if dry_run:
        from jade_env.learning.memory_plan import dry_run as plan_of

        typer.echo(plan_of(game, recipe, data))
        return
    from jade_env.learning.start import train_recipe

    with progress_bar("training") as progress:
        done = train_recipe(
            game,
            recipe,
            run,
            seed,
            resume=resume,
            data=data,
            processes=processes,
            progress=progress,
            notice=_notice,
        )
    _done(done, "steps" if recipe.learner == "ppo" else "turns", before)
    typer.echo(f"next: {shlex.join(['jade', 'eval', str(run)])}")


def _trainable(
    recipe: AnyRecipe, named: str, scenario: str, processes: int, resume: bool
) -> Recipe | PpoRecipe | MarlRecipe:
    """The recipe, if it is one that `jade train` trains by; else where it belongs."""
    from jade_env.chat_recipe import RemoteChatRecipe
    from jade_env.language_recipe import PpoRecipe, WarmStartRecipe, refuse_uneven
    from jade_env.marl_recipe import MarlRecipe

    if recipe.learner == "scripted":
        raise ConfigError(f"{recipe.name} is scripted and does not learn: try jade eval {recipe.script} {scenario}")
    if isinstance(recipe, RemoteChatRecipe):
        raise ConfigError(f"{recipe.name} plays and does not learn here: try jade eval remote_chat:{named} {scenario}")
    if isinstance(recipe, WarmStartRecipe):
        raise ConfigError(f"{recipe.name} is a warm start: jade warm-start {scenario} --policy {named}")
    if processes > 1 and not isinstance(recipe, PpoRecipe):
        raise ConfigError(f"--processes: {recipe.name} trains in one process; several share a language model's PPO")
    if isinstance(recipe, PpoRecipe):
        refuse_uneven(recipe, processes)
    if isinstance(recipe, MarlRecipe) and resume:
        raise ConfigError(f"{recipe.name}: BenchMARL's runs cannot be gone on with: begin again with another --out")
    return recipe


def warm_start(
    scenario: ScenarioArg,
    overrides: OverridesArg = None,
    policy: Annotated[
        str | None,
        typer.Option("--policy", metavar="RECIPE", help="A warm start's name or path; jade_tiny if not given."),
    ] = None,
    out: RunOutOpt = None,
    seed: RunSeedOpt = None,
    data: DataOpt = None,
    resume: ResumeOpt = False,
) -> None:
    """Teach a language model what each role writes, from a teacher's turns: what reinforcement learning begins with.

    RUN/backbone is then a Hugging Face folder, and `jade train SCENARIO --policy jade_joint backbone=RUN/backbone` goes on from it.

    Example: jade warm-start small_world --policy jade_tiny --out runs/warm
    """
    from jade_env.cli_resume import Given
    from jade_env.language_recipe import WarmStartRecipe

    given = Given(scenario, policy or "jade_tiny", parse_overrides(overrides or []), out, seed, data)
    game, recipe, run, seed, data = _told(given, policy is not None) if resume else given.new()
    before = _timesteps(run)
    if not isinstance(recipe, WarmStartRecipe):
        raise ConfigError(
            f"{recipe.name} is no warm start (learner: sft): try jade train {scenario} --policy {policy or recipe.name}"
        )
    from jade_env.learning.warm_start import warm_start as teach

    with progress_bar("warm start") as progress:
        done = teach(game, recipe, run, seed, resume=resume, data=data, progress=progress, notice=_notice)
    _done(done, "steps", before)
    learn = [
        "jade",
        "train",
        scenario,
        "--policy",
        "jade_joint",
        *(["--data", str(data)] if data else []),
        *_overrides(scenario, game),
        f"backbone={run}/backbone",
    ]
    typer.echo(f"next: {shlex.join(learn)}")


def _overrides(scenario: str, game: Scenario) -> list[str]:
    """What makes of the scenario of that name the game that was played."""
    from jade_env.config import flat
    from jade_env.scenario import load_scenario

    plain, played = flat(load_scenario(scenario).resolved()), flat(game.resolved())
    return [f"{key}={json.dumps(value)}" for key, value in played.items() if key not in plain or plain[key] != value]


def _told(given: Given, policy_said: bool) -> Training:
    """A run that is gone on with, after saying where it is not what its files are now."""
    from jade_env.cli_resume import begun, kept

    training = begun(given, policy_said)
    for sentence in kept(given, training, policy_said):
        typer.echo(sentence)
    return training


def _timesteps(run: Path) -> int | None:
    """How long a run that is done has been trained; None where there is none, or it is not done."""
    try:
        return int(json.loads((run / "run.json").read_bytes())["timesteps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _done(run: RunSummary, unit: str, before: int | None) -> None:
    if run.timesteps == before:
        typer.echo(f"nothing was left to do: raise {'steps' if unit == 'steps' else 'total_timesteps'} to go on")
    figures = "  ".join(f"{name} {value:.3f}" for name, value in run.dev.items() if name in ("f1", "em", "net"))
    typer.echo(f"{run.timesteps} {unit} in {run.seconds:.0f} s; dev: {figures}; learning curve: {run.picture}")
    if failed := run.dev.get("failed"):
        _notice(f"{failed:.0%} of the dev questions were cut short, as the retriever failed; they count as 0")


def _notice(sentence: str) -> None:
    typer.echo(f"warning: {sentence}", err=True)
