"""Teams of different members: a planner that chooses by number among executors that write, and two backbones that learn at once.

    python benchmarks/heterogeneous.py [--out runs/claim] [--hours 1]     runs what is not done
    python benchmarks/heterogeneous.py --table

`discrete`: the planner is a network over numbered workflows, trained by MaskablePPO with a team of its own, which takes what it
thinks best; the executors are jade-tiny, which learns under that planner. Wanted: more than the same team as it began. `two`: the
planner and the executors are a jade-tiny each, both learn, each with an optimizer of its own; then each is put back to what it
began as, alone. Wanted: both have changed, and the team loses by either. Judged on worlds that nobody trained on, question by
question, 95 % intervals.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from claim import TEST_QUESTIONS, judged, said, scenario_of
from jobs import Job, main, write_result
from rich.console import Console
from rich.table import Table

from jade_env.language_recipe import PpoRecipe
from jade_env.recipe import load_recipe
from jade_env.research.statistics import bootstrap_mean, paired_difference

RESULTS = Path(__file__).parent / "results" / "heterogeneous"
TEST_WORLDS = tuple(range(9201, 9211))  # those of the claim's third protocol; nothing here has been tuned on them
STEPS, SEED, TURNS = 25, 0, 200_000
SHIPPED = "language_model:jade-tiny"
TEAMS = {
    "discrete": ("as it began", "executors trained"),
    "two": ("as it began", "both trained", "planner put back", "executors put back"),
}


def jobs(out: Path) -> list[Job]:
    network = Job("network", RESULTS / "network.json", (), (out / "network" / "run.json",))
    return [network, Job("two", RESULTS / "two.json"), Job("discrete", RESULTS / "discrete.json", (network.result,))]


def work(name: str, out: Path) -> None:
    from jade_env.learning.joint import train_language
    from jade_env.learning.trainer import train

    run, game, began = out / name, scenario_of("default"), time.monotonic()
    resume = (run / "config.json").exists()
    if name == "network":
        done = train(game, load_recipe("sb3_shared", {"total_timesteps": TURNS}), run, SEED, resume=resume)
        result: dict[str, Any] = {"turns": done.timesteps, "seconds": done.seconds}
    else:
        planner = SHIPPED if name == "two" else f"sb3:{out / 'network'}"
        recipe = load_recipe(
            "jade_joint",
            {"steps": STEPS, "eval_every": STEPS, "keep": 9, "temperature": 1.0, "policies": {"planner": planner}},
        )
        assert isinstance(recipe, PpoRecipe)
        done = train_language(game, recipe, run, SEED, resume=resume)
        result = {"steps": done.timesteps, "episodes": done.timesteps * recipe.episodes, "seconds": done.seconds}
        result |= {"moved": moved(run, done.timesteps)} | played(name, run)
    write_result(RESULTS / f"{name}.json", {"job": name, "wall_seconds": round(time.monotonic() - began, 1), **result})


def moved(run: Path, steps: int) -> list[float]:
    """How far each backbone's weights have gone, as a share of their length."""
    from jade_env.learning import checkpoint

    before, after = checkpoint.load_weights(run, 0), checkpoint.load_weights(run, steps)
    found = []
    for second in (False, True):
        names = [name for name in before if (":" in name) is second]
        if names:
            gone = sum(float((after[name] - before[name]).pow(2).sum()) for name in names)
            found.append((gone / sum(float(before[name].pow(2).sum()) for name in names)) ** 0.5)
    return found


def played(name: str, run: Path) -> dict[str, Any]:
    """Each team on the questions of the test worlds, greedy and sampled."""
    from jade_env.learning.language_player import load_language_policy
    from jade_env.policy import MixedPolicy

    worlds = [scenario_of("default", world, TEST_QUESTIONS) for world in TEST_WORLDS]
    result: dict[str, Any] = {}
    for manner in ("sampled", "greedy"):
        start, end = (
            load_language_policy(run, worlds[0], greedy=manner == "greedy", which=which) for which in ("first", "last")
        )
        teams = dict(zip(TEAMS[name], (start, end), strict=False))
        if name == "two":
            teams["planner put back"] = MixedPolicy({"planner": start, "default": end})
            teams["executors put back"] = MixedPolicy({"planner": end, "default": start})
        result[manner] = {team: judged(policy, worlds) for team, policy in teams.items()}
    return result


def show(results: Path, console: Console) -> None:
    for name, teams in TEAMS.items():
        file = results / f"{name}.json"
        if not file.exists():
            console.print(f"{name}: not done yet")
            continue
        result = json.loads(file.read_text())
        table = Table(
            title=f"{name}: {result['episodes']} episodes, seed {SEED}; {len(TEST_WORLDS) * TEST_QUESTIONS} questions"
        )
        for column in ("team", "net, sampled", "net, greedy", "F1, sampled", "F1, greedy"):
            table.add_column(column, justify="left" if column == "team" else "right")
        for team in teams:
            cells = [result[manner][team][key] for key in ("net", "f1") for manner in ("sampled", "greedy")]
            table.add_row(team, *(said(bootstrap_mean(cell)) for cell in cells))
        console.print(table)
        whose = ("executors", "planner")[: len(result["moved"])]
        went = (f"{share:.1%} ({name})" for share, name in zip(result["moved"], whose, strict=True))
        console.print(f"weights moved by {', '.join(went)} of their length")
        whole = teams[1]
        for team in (teams[0], *teams[2:]):
            for manner in ("sampled", "greedy"):
                gain = paired_difference(*(np.array(result[manner][each]["net"]) for each in (whole, team)))
                verdict = "above 0" if gain.low > 0 else "NOT above 0"
                console.print(f"{whole} - {team}, net, {manner}: {said(gain)}: {verdict}")


if __name__ == "__main__":
    main(__doc__, __file__, jobs, work, show, RESULTS)
