"""Does an adversary that learns hurt a team, and does a team that learns against it recover? And self-play in the duel.

    python benchmarks/adversaries.py [--out runs/adversaries] [--scale 1.0] [--episodes 300] [--seed 0]

Scenario `adversarial_retrieval`, numbered candidates, MaskablePPO, three runs one after another, each against the frozen last one:
a team that nobody attacks; an adversary against that team; the team, going on from where it was, against that adversary. Judged on
the test world, which shares no fact with the training world, question by question with 95 % intervals. Then `duel`: one side learns
against its own past selves, and wins against each of them are counted on the dev world. A run that is complete is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jade_env.learning.evaluation import EpisodeRow, evaluate
from jade_env.learning.trainer import train
from jade_env.policy import make_policy
from jade_env.recipe import Recipe, load_recipe
from jade_env.research.statistics import bootstrap_mean, paired_difference
from jade_env.scenario import load_scenario

SCENARIO, SPLIT = "adversarial_retrieval", "test"


def trained(console: Console, scenario: str, recipe: str, out: Path, seed: int, scale: float, **knobs: object) -> Path:
    """The folder of a finished run; a broken one is gone on with."""
    if (out / "run.json").is_file():
        return out
    plan = load_recipe(recipe)
    assert isinstance(plan, Recipe)
    steps = max(plan.rollout, int(plan.total_timesteps * scale))
    plan = load_recipe(recipe, {"total_timesteps": steps, **knobs})
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(out.name)
        done = train(
            scenario,
            plan,
            out,
            seed,
            resume=(out / "config.json").is_file(),
            progress=lambda now, total: bar.update(task, completed=now, total=total),
        )
    console.print(f"{out.name}: {done.timesteps} turns in {done.seconds:.0f} s")
    return out


def played(team: Path | str, adversary: Path | str, episodes: int) -> list[EpisodeRow]:
    scenario = load_scenario(SCENARIO)
    policy = make_policy({"team": str(team), "adversary": str(adversary)}, scenario)
    return evaluate(policy, scenario, SPLIT, episodes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/adversaries"))
    parser.add_argument("--scale", type=float, default=1.0, help="of the recipes' numbers of turns")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    console, began = Console(stderr=True), time.monotonic()

    def run(name: str, recipe: str, scenario: str = SCENARIO, **knobs: object) -> Path:
        return trained(console, scenario, recipe, given.out / name, given.seed, given.scale, **knobs)

    team = run("team", "under_attack")
    adversary = run("adversary", "attacker", partners=str(team))
    hardened = run("hardened", "under_attack", partners=str(adversary), start=str(team))
    cases = {
        "the team, nobody attacks": (team, "idle"),
        "the team, attacked at random": (team, "random"),
        "the team, attacked by the adversary": (team, adversary),
        "the team trained against it, attacked": (hardened, adversary),
        "the team trained against it, nobody attacks": (hardened, "idle"),
    }
    rows = {name: played(*case, given.episodes) for name, case in cases.items()}
    table = Table(title=f"{SCENARIO}, {SPLIT} world, {given.episodes} questions")
    for i, column in enumerate(("who plays", "F1", "95 % interval", "net")):
        table.add_column(column, justify="right" if i else "left")
    for name, found in rows.items():
        f1, net = (bootstrap_mean([getattr(row, key) for row in found]) for key in ("f1", "net"))
        table.add_row(name, f"{f1.mean:.3f}", f"{f1.low:.3f} to {f1.high:.3f}", f"{net.mean:.3f}")
    out = Console(width=None if console.is_terminal else 120)
    out.print(table)
    alone, _, hurt, again, _ = ([row.f1 for row in found] for found in rows.values())
    lost, back = paired_difference(hurt, alone), paired_difference(again, hurt)
    out.print(f"the adversary changes the team's F1 by {lost.mean:+.3f} ({lost.low:+.3f} to {lost.high:+.3f})")
    share = -back.mean / lost.mean if lost.mean else float("nan")
    out.print(
        f"training against it changes it by {back.mean:+.3f} ({back.low:+.3f} to {back.high:+.3f}), {share:.0%} of what was lost"
    )
    duel = run("duel", "self_play", "duel")
    last = [json.loads(line) for line in (duel / "metrics.jsonl").read_text().splitlines()]
    wins = next(record["wins"] for record in reversed(last) if "wins" in record)
    out.print("duel: wins against past selves, by the turns they had been trained for (a draw is half a win):")
    out.print("  " + "   ".join(f"{int(then):,}: {share:.2f}" for then, share in wins.items()))
    out.print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
