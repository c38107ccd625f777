"""What `make demo` runs: one small language model learns to play every role, from the warm start that the package ships.

    python benchmarks/demo.py [--out runs/demo] [--seed 0] [--questions 200] [--fast]

Trains jointly on small worlds, then plays questions of a test world that nobody has seen: the warm start, the warm start
under the best fixed chain (chosen on the dev world), the joint team, and the gold-aware teacher; greedy and sampled. Ends with
a table by kind of question, the learning curves as a picture, and one episode before and after. A demo that was stopped goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jade_env.envs.rendering import rich_tree
from jade_env.envs.source import open_source
from jade_env.envs.table import Table as Game
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError
from jade_env.game.episode import Episode, Rules
from jade_env.language_recipe import PpoRecipe
from jade_env.learning.evaluation import EpisodeRow, by_kind, evaluate
from jade_env.learning.joint import train_language
from jade_env.learning.language_player import load_language_policy
from jade_env.learning.session import RunSummary
from jade_env.policy import MixedPolicy, Policy, make_policy
from jade_env.policy.backbone import load_backbone, pick_device
from jade_env.policy.fixed import FixedPlanner
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.recipe import load_recipe
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import Scenario, load_scenario

SCENARIO, RECIPE, SPLIT, TUNING = "small_world", "jade_joint", "test", "dev"
CHAINS = (
    ("R,AG", "R,AG"),
    ("R,DS,AG", "R,AG"),
    ("QDS", "R,AG"),
    ("QDS", "R,DS,AG"),
    ("QDP", "R,AG"),
    ("QDP", "R,DS,AG"),
)
FAST = {"steps": 2, "questions": 4, "eval_every": 1, "eval_episodes": 10}
Rows = Mapping[str, list[EpisodeRow]]


def learn(game: Scenario, recipe: PpoRecipe, out: Path, seed: int, console: Console) -> RunSummary:
    """Train, or go on with a run that was stopped."""
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,} episodes"))
    bar = Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with bar:
        task = bar.add_task("training", total=1)
        return train_language(
            game,
            recipe,
            out,
            seed,
            resume=(out / "config.json").exists(),
            processes=min(2, cores) if pick_device(recipe.device) == "cpu" else 1,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            notice=lambda sentence: console.print(f"[yellow]{sentence}[/yellow]"),
        )


def best_chain(player: Policy, game: Scenario, questions: int) -> tuple[str, str]:
    """The fixed chain that the warm start plays best on the tuning world."""

    def net(chain: tuple[str, str]) -> float:
        rows = evaluate(_with_plan(player, chain), game, TUNING, questions, seed=1)
        return float(np.mean([row.net for row in rows]))

    return max(CHAINS, key=net)


def _with_plan(player: Policy, chain: tuple[str, str]) -> Policy:
    return MixedPolicy({"planner": FixedPlanner(*chain), "default": player})


def warm(recipe: PpoRecipe, greedy: bool) -> Policy:
    """The team as the training found it."""
    return LanguageModelPolicy(load_backbone(recipe.backbone), Manner(recipe.prompt, greedy, recipe.temperature))


def play(game: Scenario, recipe: PpoRecipe, run: Path, questions: int) -> tuple[Rows, tuple[str, str]]:
    """Each team on the same questions of the test world."""
    chain = best_chain(warm(recipe, greedy=False), game, min(questions, 100))
    players: dict[str, Policy] = {}
    for manner, greedy in (("greedy", True), ("sampled", False)):
        players[f"warm start, {manner}"] = warm(recipe, greedy)
        players[f"fixed {'; '.join(chain)}, {manner}"] = _with_plan(warm(recipe, greedy), chain)
        players[f"joint, {manner}"] = load_language_policy(run, game, greedy=greedy, which="last")
    players["teacher"] = make_policy("teacher:grounded", game)
    return {name: evaluate(player, game, SPLIT, questions) for name, player in players.items()}, chain


def show(rows: Rows, console: Console) -> None:
    """The table, and by how much the joint team beats the warm start."""
    kinds = list(by_kind(next(iter(rows.values()))))
    count = len(next(iter(rows.values())))
    table = Table(
        title=f"{SCENARIO}: {count} questions of the test world, means; F1 by kind of question", show_lines=False
    )
    for column in ("team", *kinds, "F1", "net", "rounds", "retrievals", "malformed"):
        table.add_column(column, justify="left" if column == "team" else "right", no_wrap=True)
    for name, played in rows.items():
        groups = by_kind(played)
        cells = [f"{np.mean([row.f1 for row in groups[kind]]):.2f}" for kind in kinds]
        f1 = bootstrap_mean([row.f1 for row in played])
        malformed = sum(row.malformed for row in played) / sum(row.turns for row in played)
        means = [f"{np.mean([getattr(row, field) for row in played]):.2f}" for field in ("net", "rounds", "retrievals")]
        table.add_row(name, *cells, f"{f1.mean:.3f}", *means, f"{malformed:.3f}")
    console.print(table)
    for manner in ("greedy", "sampled"):
        gain = paired_difference(
            [row.f1 for row in rows[f"joint, {manner}"]], [row.f1 for row in rows[f"warm start, {manner}"]]
        )
        console.print(f"joint training raised {manner} F1 by {gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")


def episode_of(player: Policy, game: Scenario, question: str) -> Episode:
    """One question, played."""
    table = Game(open_source(game), Rules.sides(game), SPLIT, 0)
    [episode] = table.open(options={"question_id": question})
    while not episode.finished:
        table.settle([episode])
        turns = [Turn(turn, 0, "text", game.prompt) for turn in episode.turns]
        for turn, action in zip(turns, player.act(turns), strict=True):
            if not episode.finished:
                episode.act(turn.game_turn, turn.output(action))
    return episode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--fast", action="store_true", help="a minute's training, to see that it runs")
    given = parser.parse_args()
    console, began = Console(width=None if sys.stdout.isatty() else 130), time.monotonic()
    game = load_scenario(SCENARIO)
    recipe = load_recipe(RECIPE, FAST if given.fast else DEMO)
    assert isinstance(recipe, PpoRecipe)
    run = learn(game, recipe, given.out, given.seed, console)
    rows, _ = play(game, recipe, given.out, given.questions)
    show(rows, console)
    gained = [
        (after.net - before.net, after.question_id)
        for before, after in zip(rows["warm start, greedy"], rows["joint, greedy"], strict=True)
    ]
    question = max(gained)[1]
    for name, player in (
        ("before", warm(recipe, True)),
        ("after", load_language_policy(given.out, game, which="last")),
    ):
        console.print(f"\n[bold]{name} the training[/bold]")
        console.print(rich_tree(episode_of(player, game, question)))
    console.print(f"\ntraining {run.seconds:.0f} s, the rest {time.monotonic() - began - run.seconds:.0f} s")
    console.print(f"learning curves: {run.picture}")


# 11,520 episodes, in two processes of one thread
DEMO = {"steps": 60, "eval_every": 10, "kl.planner.until": 0.45, "minibatches": 2}

if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt as stop:
        sys.exit(f"demo: {stop or 'stopped'}; make demo goes on with it")
