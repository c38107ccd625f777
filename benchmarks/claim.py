"""The paper's central claim, tested: does joint training beat training the planner alone, the executors alone, and a fixed chain?

    python benchmarks/claim.py [--out runs/claim] [--study default] [--processes 2] [--hours 4]     runs what is not done yet
    python benchmarks/claim.py --table                                                              prints what there is

Five arms begin from the same warm starts and play the same number of episodes: frozen, executors_only, planner_only,
static_joint (a fixed chain, chosen on tuning worlds without training, with its executors trained) and joint. Three warm starts,
two RL seeds; costs are on in all arms. Each finished arm is judged once, greedy and sampled, on questions of test worlds that
nobody has trained or tuned on. Everything that was decided beforehand stands in PROTOCOL below; results are small JSON files,
one a job, so that a benchmark that was stopped goes on, and what is there can be committed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jade_env.errors import JadeError
from jade_env.learning.checkpoint import as_json, write_whole
from jade_env.research.statistics import Interval, nested_mean
from jade_env.scenario import Scenario, load_scenario

RESULTS = Path(__file__).parent / "results" / "claim"

# ---- PROTOCOL: committed before the first joint run ------------------------------------------------------------------

ARMS = ("frozen", "executors_only", "planner_only", "static_joint", "jade_joint")
WARM_STARTS, RL_SEEDS = (0, 1, 2), (0, 1)
STEPS = 130  # of 192 episodes: 24,960 an arm
TEST_WORLDS, TEST_QUESTIONS = tuple(range(9001, 9011)), 60  # seeds of worlds, split `test`; questions of each
TUNING_WORLDS, TUNING_QUESTIONS = (7001, 7002), 100  # for the choice of the fixed chain
CHAINS = (
    ("AG", "R,AG"), ("R,AG", "R,AG"), ("R,DS,AG", "R,AG"), ("QDS", "R,AG"), ("QDS", "R,DS,AG"), ("QDP", "R,AG"), ("QDP", "R,DS,AG"),
)  # fmt: skip
SINGLE = {"direct": 0.3, "single": 0.4, "bridge2": 0.1, "list": 0.2}
BALANCED = {
    "direct": 0.2,
    "single": 0.2,
    "bridge2": 0.2,
    "bridge3": 0.1,
    "list": 0.2,
    "compare_which": 0.05,
    "compare_yesno": 0.05,
}
MULTI = {"direct": 0.05, "single": 0.05, "bridge2": 0.3, "bridge3": 0.1, "list": 0.5}


@dataclass(frozen=True, slots=True)
class Study:
    """One run of the whole comparison.

    Attributes:
        mixture: shares of the kinds of question; the scenario's where None.
        warm_starts, seeds: how many of each.
        steps: of training, in every arm.
        warm_steps: of the warm start; the recipe's where None.
    """

    mixture: Mapping[str, float] | None = None
    warm_starts: tuple[int, ...] = WARM_STARTS
    seeds: tuple[int, ...] = RL_SEEDS
    steps: int = STEPS
    warm_steps: int | None = None


STUDIES: dict[str, Study] = {
    "default": Study(),
    "single": Study(SINGLE, (0,), (0,), 65),
    "balanced": Study(BALANCED, (0,), (0,), 65),
    "multi": Study(MULTI, (0,), (0,), 65),
    "converged": Study(None, (0,), (0,), STEPS, 2400),
}

# ---- jobs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work with a result file of its own; `warm` and `chain` jobs come before the arms that need them."""

    study: str
    kind: str
    warm: int
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.study}-{self.kind}-w{self.warm}-s{self.seed}"

    @property
    def result(self) -> Path:
        return RESULTS / f"{self.name}.json"


def jobs_of(study: str) -> list[Job]:
    """All jobs of a study, those first that others wait for; then warm start by warm start, so that comparisons are whole early."""
    plan = STUDIES[study]
    found = [Job(study, "warm", warm) for warm in plan.warm_starts] + [Job(study, "chain", 0)]
    for seed in plan.seeds:
        for warm in plan.warm_starts:
            arms = [arm for arm in reversed(ARMS) if arm != "frozen" or seed == plan.seeds[0]]
            found += [Job(study, arm, warm, seed) for arm in arms]
    return found


def ready(job: Job) -> bool:
    """Whether what a job needs is there."""
    warm = [Job(job.study, "warm", number) for number in STUDIES[job.study].warm_starts]
    if job.kind == "warm":
        return True
    if job.kind == "chain":
        return all(need.result.exists() for need in warm)
    chain = Job(job.study, "chain", 0)
    return warm[STUDIES[job.study].warm_starts.index(job.warm)].result.exists() and (
        job.kind != "static_joint" or chain.result.exists()
    )


def scenario_of(study: str, world: int = 0, questions: int | None = None) -> Scenario:
    overrides: dict[str, Any] = {"mode": "text", "prompt": "brief", "data.seed": world}
    if questions is not None:
        overrides |= {"data.test": questions, "data.dev": questions}
    if (mixture := STUDIES[study].mixture) is not None:
        overrides["data.mixture"] = dict(mixture)
    return load_scenario("cooperative", overrides)


def backbone_of(study: str, warm: int, out: Path) -> Path:
    return out / Job(study, "warm", warm).name / "backbone"


def work(job: Job, out: Path) -> None:
    """Do a job, or go on with it, and write its result."""
    from jade_env.learning.joint import train_language
    from jade_env.learning.warm_start import warm_start
    from jade_env.recipe import PpoRecipe, WarmStartRecipe, load_recipe

    run, plan, began = out / job.name, STUDIES[job.study], time.monotonic()
    game, resume = scenario_of(job.study), (out / job.name / "config.json").exists()
    if job.kind == "warm":
        recipe = load_recipe("jade_tiny", {"steps": plan.warm_steps} if plan.warm_steps else {})
        assert isinstance(recipe, WarmStartRecipe)
        done = warm_start(game, recipe, run, job.warm, resume=resume)
        result: dict[str, Any] = {"dev": dict(done.dev), "steps": done.timesteps, "seconds": done.seconds}
    elif job.kind == "chain":
        result = best_chain(job.study, out)
    else:
        overrides: dict[str, Any] = {"backbone": str(backbone_of(job.study, job.warm, out)), "steps": plan.steps}
        overrides |= {"eval_every": plan.steps}
        if job.kind == "static_joint":
            overrides["fixed_plan"] = json.loads(Job(job.study, "chain", 0).result.read_text())["chain"]
        joint = load_recipe(job.kind, overrides)
        assert isinstance(joint, PpoRecipe)
        result = {"steps": 0, "seconds": 0.0}
        if job.kind != "frozen":
            done = train_language(game, joint, run, job.seed, resume=resume)
            result = {"steps": done.timesteps, "seconds": done.seconds}
        for manner in ("sampled", "greedy"):
            result[manner] = judged(job, joint, run, manner == "greedy")
    write_whole(job.result, as_json({"job": job.name, "wall_seconds": round(time.monotonic() - began, 1), **result}))


def judged(job: Job, recipe: Any, run: Path, greedy: bool) -> dict[str, Any]:
    """The test questions, each once: its kind, net score and F1, and the means of the rest."""
    from jade_env.game.episode import Rules
    from jade_env.learning.evaluation import evaluate
    from jade_env.learning.joint import backbone_of as load
    from jade_env.learning.joint import manner_of, team_of
    from jade_env.learning.language_player import load_language_policy
    from jade_env.policy.language_model import LanguageModelPolicy
    from jade_env.policy.mixed import MixedPolicy

    rows: list[Any] = []
    for world in TEST_WORLDS:
        game = scenario_of(job.study, world, TEST_QUESTIONS)
        if job.kind == "frozen":
            player = LanguageModelPolicy(load(recipe, Rules.of(game).agents), manner_of(recipe, greedy))
            policy: Any = MixedPolicy(team_of(game, recipe, (), player, player))
        else:
            policy = load_language_policy(run, game, greedy=greedy, which="last")
        rows += evaluate(policy, game, "test", seed=1)
    means = {
        name: float(np.mean([getattr(row, name) for row in rows]))
        for name in ("rounds", "retrievals", "turns", "malformed")
    }
    columns = {name: [round(float(getattr(row, name)), 6) for row in rows] for name in ("net", "f1")}
    return {**columns, "kind": [row.kind for row in rows], "workflow": [row.workflow for row in rows], **means}


def best_chain(study: str, out: Path) -> dict[str, Any]:
    """The fixed chain that the untrained warm starts play best, on average, on tuning worlds."""
    from jade_env.learning.evaluation import evaluate
    from jade_env.policy.backbone import load_backbone
    from jade_env.policy.fixed import FixedPlanner
    from jade_env.policy.language_model import LanguageModelPolicy, Manner
    from jade_env.policy.mixed import MixedPolicy

    scores: dict[str, list[float]] = {"; ".join(chain): [] for chain in CHAINS}
    for warm in STUDIES[study].warm_starts:
        player = LanguageModelPolicy(load_backbone(backbone_of(study, warm, out)), Manner("brief"))
        for chain in CHAINS:
            team = MixedPolicy({"planner": FixedPlanner(*chain), "default": player})
            for world in TUNING_WORLDS:
                rows = evaluate(team, scenario_of(study, world, TUNING_QUESTIONS), "dev", seed=1)
                scores["; ".join(chain)].append(float(np.mean([row.net for row in rows])))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    return {"chain": max(means, key=lambda name: means[name]).split("; "), "net_by_chain": means}


# ---- the table -------------------------------------------------------------------------------------------------------


def cube(study: str, arm: str, manner: str, field: str) -> np.ndarray | None:
    """[W, R, Q] of what is there: warm starts whose every seed is done; frozen counts for each seed alike."""
    plan, found = STUDIES[study], []
    for warm in plan.warm_starts:
        seeds = (plan.seeds[0],) * len(plan.seeds) if arm == "frozen" else plan.seeds
        files = [Job(study, arm, warm, seed).result for seed in seeds]
        there = [json.loads(path.read_text())[manner][field] for path in files if path.exists()]
        if len(there) == len(seeds) or (there and study_partial(study)):
            found.append(there[: study_depth(study)])
    return np.array(found, float) if found else None


def study_depth(study: str) -> int:
    """How many seeds every comparable arm has: all, or the first one while the others still run."""
    plan = STUDIES[study]
    done = [
        all(Job(study, arm, w, s).result.exists() for arm in ARMS[1:] for w in plan.warm_starts) for s in plan.seeds
    ]
    return max(1, sum(done))


def study_partial(study: str) -> bool:
    return study_depth(study) < len(STUDIES[study].seeds)


def show(study: str, console: Console) -> None:
    """Arms, then what the claim says, difference by difference."""
    table = Table(
        title=f"{study}: {len(TEST_WORLDS) * TEST_QUESTIONS} questions of test worlds; mean and 95 % interval"
    )
    for column in ("arm", "runs", "net, sampled", "net, greedy", "F1, sampled", "F1, greedy"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    cubes = {
        (arm, manner, field): cube(study, arm, manner, field)
        for arm in ARMS
        for manner in ("sampled", "greedy")
        for field in ("net", "f1")
    }
    for arm in ARMS:
        if (first := cubes[arm, "sampled", "net"]) is None:
            continue
        cells = [said(nested_mean(cubes[arm, m, f])) for f in ("net", "f1") for m in ("sampled", "greedy")]
        table.add_row(arm, f"{first.shape[0]} x {first.shape[1]}", *cells)
    console.print(table)
    for arm in ARMS[:-1]:
        for manner in ("sampled", "greedy"):
            joint, other = cubes["jade_joint", manner, "net"], cubes[arm, manner, "net"]
            if joint is None or other is None:
                continue
            warm, runs = min(joint.shape[0], other.shape[0]), min(joint.shape[1], other.shape[1])
            gain = nested_mean(joint[:warm, :runs] - other[:warm, :runs])
            verdict = "above 0" if gain.low > 0 else "NOT above 0"
            console.print(f"joint - {arm}, net, {manner}: {said(gain)}: {verdict}")


def said(interval: Interval) -> str:
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


# ---- running ---------------------------------------------------------------------------------------------------------


def run_all(studies: Sequence[str], out: Path, processes: int, hours: float, console: Console) -> None:
    """Work off the jobs, `processes` at a time, each in a process with one thread; stop handing out after `hours`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 3600 * hours
    todo = [job for study in studies for job in jobs_of(study) if not job.result.exists()]
    total, failed = len(todo), list[str]()
    running: dict[Job, subprocess.Popen[bytes]] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        while todo or running:
            for job in [job for job, process in running.items() if process.poll() is not None]:
                code = running.pop(job).returncode
                state = f"FAILED ({code}), see {out / job.name}.log" if code else "done"
                console.print(f"{job.name}: {state}; {len(todo)} of {total} wait")
                failed += [job.name] if code else []
            late = time.monotonic() > until
            able = [] if late else [job for job in todo if ready(job)]
            while able and len(running) < processes:
                job = able.pop(0)
                todo.remove(job)
                out.mkdir(parents=True, exist_ok=True)
                command = [
                    sys.executable,
                    __file__,
                    "--out",
                    str(out),
                    "--work",
                    job.study,
                    job.kind,
                    str(job.warm),
                    str(job.seed),
                ]
                with (out / f"{job.name}.log").open("ab") as log:
                    running[job] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            if not running and not able:
                break
            time.sleep(1)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    if failed:
        raise JadeError(f"{', '.join(failed)} failed; the others are done")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/claim"), help="where run folders are kept")
    parser.add_argument("--study", nargs="*", choices=sorted(STUDIES), default=["default"])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--hours", type=float, default=4.0, help="hand out no more jobs after so long")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    parser.add_argument("--work", nargs=4, metavar=("STUDY", "KIND", "WARM", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    console = Console(width=130)
    if given.work:
        study, kind, warm, seed = given.work
        work(Job(study, kind, int(warm), int(seed)), given.out)
        return
    try:
        if not given.table:
            run_all(given.study, given.out, given.processes, given.hours, console)
    finally:
        for study in given.study:
            show(study, console)


if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        sys.exit(f"claim: {error}")
    except KeyboardInterrupt:
        sys.exit("claim: stopped; the same command goes on")
