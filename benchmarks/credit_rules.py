"""All credit rules of `jade_env.learning.credit` on the same budget of episodes, failures included.

    python benchmarks/credit_rules.py [--out runs/claim] [--hours 4]     runs what is not done
    python benchmarks/credit_rules.py --table [--results DIR]

Every rule trains jointly from the warm start that ships, and is judged on the claim's test worlds. `episode_gae`, the paper's
rule, comes with a critic on the policy's trunk and with one of its own, pretrained while the policy waits. A critic's explained
variance stands beside that of a held-out table that knows kind, role and workflow.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from claim import TEST_QUESTIONS, TEST_WORLDS, said, scenario_of, trained
from jobs import Job, main, write_result
from rich.console import Console
from rich.table import Table

from jade_env.research.statistics import nested_mean

RESULTS = Path(__file__).parent / "results" / "credit_rules"
STEPS, SEEDS = 65, (0, 1)  # 12,480 episodes
ALONE = {
    "questions": 192,
    "plans": 1,
    "executions": 1,
}  # no two episodes of a question are compared: play more questions
SEPARATE = {"critic": "separate", "critic_epochs": 2, "critic_learning_rate": 0.0005, "value_clip": None}
RULES: dict[str, dict[str, Any]] = {
    "tied_group": {},
    "leave_one_out": {"credit": "leave_one_out", "plans": 6, "executions": 1},
    "group": {"credit": "group", "plans": 6, "executions": 1},
    "episode_gae-head": {"credit": "episode_gae", "critic": "head", **ALONE},
    "episode_gae-separate": {"credit": "episode_gae", "critic_warmup": 4, **SEPARATE, **ALONE},
    "broadcast-separate": {"credit": "broadcast", "critic_warmup": 4, "gae_lambda": 1.0, **SEPARATE, **ALONE},
}


def jobs(out: Path) -> list[Job]:
    names = [f"credit-{rule}-s{seed}" for seed in SEEDS for rule in RULES]
    return [Job(name, RESULTS / f"{name}.json") for name in names]


def work(name: str, out: Path) -> None:
    from jade_env.recipe import load_recipe

    rule, seed = name.removeprefix("credit-").rsplit("-s", 1)
    began = time.monotonic()
    overrides = {"steps": STEPS, "eval_every": STEPS, "temperature": 1.0, **RULES[rule]}
    worlds = [scenario_of("default", world, TEST_QUESTIONS) for world in TEST_WORLDS]
    run = out / name
    result = trained(scenario_of("default"), load_recipe("jade_joint", overrides), run, int(seed), worlds)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    late = [record["learner"] for record in records[-20:] if "explained_variance" in record.get("learner", {})]
    for key in ("explained_variance", "table_explained_variance"):
        result[key] = float(np.mean([figures[key] for figures in late])) if late else None
    result["wall_seconds"] = round(time.monotonic() - began, 1)
    write_result(RESULTS / f"{name}.json", {"job": name, **result})


def show(results: Path, console: Console) -> None:
    table = Table(
        title=f"{STEPS * 192} episodes from one warm start; {len(TEST_WORLDS) * TEST_QUESTIONS} questions of test worlds"
    )
    for column in ("rule", "seeds", "net, sampled", "net, greedy", "explained variance", "of the table"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    found: dict[str, dict[int, Any]] = {}
    for rule in RULES:
        files = {seed: results / f"credit-{rule}-s{seed}.json" for seed in SEEDS}
        done = {seed: json.loads(file.read_text()) for seed, file in files.items() if file.exists()}
        if not done:
            continue
        found[rule] = done
        nets = [said(nested_mean([[run[manner]["net"] for run in done.values()]])) for manner in ("sampled", "greedy")]
        known = [[run[key] for run in done.values()] for key in ("explained_variance", "table_explained_variance")]
        cells = ["" if None in values else f"{np.mean(values):.2f}" for values in known]
        table.add_row(rule, str(len(done)), *nets, *cells)
    console.print(table)
    for manner in ("sampled", "greedy"):
        best = max(found, key=lambda rule: np.mean([run[manner]["net"] for run in found[rule].values()]), default="")
        for rule in found:
            both = sorted(set(found[rule]) & set(found[best]))
            if rule != best and both:
                lost = [np.subtract(found[best][s][manner]["net"], found[rule][s][manner]["net"]) for s in both]
                console.print(
                    f"{best} - {rule}, net, {manner}, {len(both)} seed{'s' * (len(both) > 1)}: {said(nested_mean([lost]))}"
                )


if __name__ == "__main__":
    main(__doc__, __file__, jobs, work, show, RESULTS)
