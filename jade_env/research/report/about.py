"""What was run, in words and figures: a few facts, and the resolved configuration as YAML. Knows a run; plays nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jade_env
from jade_env.research.report.run import Run
from jade_env.show import as_yaml

LEARNERS = {
    "sb3": "networks (MaskablePPO)",
    "benchmarl": "networks (BenchMARL)",
    "ppo": "language model (PPO)",
    "sft": "language model (warm start)",
}


def facts(run: Run) -> list[list[str]]:
    """The lines that stand at the top, as [label, text]."""
    recipe, summary = run.recipe, run.summary
    found = [
        ["scenario", f"{run.game.name}: {run.game.summary}"],
        ["recipe", f"{recipe.get('name')}: {recipe.get('summary')}"],
        ["learner", LEARNERS.get(run.learner, run.learner)],
        *([["algorithm", str(recipe["algorithm"])]] if "algorithm" in recipe else []),
        ["seed", str(run.seed)],
    ]
    if not run.networks:
        found.append(["backbone", str(recipe.get("backbone"))])
    if run.learner == "ppo":
        found.append(["credit", f"{recipe.get('credit')}, critic: {recipe.get('critic')}"])
    last = run.records[-1]["timesteps"] if run.records else 0
    if summary:
        found.append(["trained", f"{summary.get('timesteps')} {run.unit} in {_time(summary.get('seconds'))}"])
    else:
        found.append(["trained", f"not finished: {last} {run.unit} so far"])
    best = summary.get("best_timesteps")
    if isinstance(best, int) and best != summary.get("timesteps"):
        found.append(["best at", f"{best} {run.unit}"])
    return found


def setup(run: Run) -> list[dict[str, str]]:
    """Everything that the run was made with, as titled YAML."""
    config = run.config
    rest = {key: config[key] for key in ("seed", "data", "agents", "learned") if key in config}
    parts: list[tuple[str, Mapping[str, Any]]] = [
        ("Run", rest),
        ("Recipe", run.recipe),
        ("Scenario", config["scenario"] if isinstance(config["scenario"], dict) else {}),
        ("Versions of the run", config.get("versions") or {}),
        ("Version of this report", {"jade-env": jade_env.__version__}),
        ("Summary", run.summary),
    ]
    return [{"title": title, "text": as_yaml(tree)} for title, tree in parts if tree]


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int | float):
        return "an unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
