"""Makes the backbone of a warm start the one that the package ships, with a card that says how it was made and what it scores.

jade warm-start small_world --policy jade_tiny --seed 0 --out runs/warm
python benchmarks/ship_backbone.py runs/warm
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import jade_env
from jade_env.errors import JadeError
from jade_env.files import as_json, write_whole
from jade_env.hub import shipped_folder
from jade_env.learning.checkpoint import read_json
from jade_env.learning.evaluation import evaluate
from jade_env.policy.backbone import load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.research.statistics import bootstrap_mean
from jade_env.scenario import load_scenario

MOST = 4_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--options", default="", help="what else the run was made with, for the card")
    given = parser.parse_args()
    config, place = read_json(given.run / "config.json"), shipped_folder()
    summary = read_json(given.run / "run.json")
    source = given.run / "backbone"
    if (size := sum(file.stat().st_size for file in source.iterdir())) > MOST:
        raise JadeError(f"{source} has {size} bytes, more than {MOST}")
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(source, place)
    (place / "model.safetensors").chmod(0o644)
    backbone, game = load_backbone(place), load_scenario(config["scenario"]["name"])
    figures = {}
    for manner in ("greedy", "sampled"):
        policy = LanguageModelPolicy(backbone, Manner(config["recipe"]["prompt"], greedy=manner == "greedy"))
        rows = evaluate(policy, game, "test")
        figures[manner] = {
            "f1": asdict(bootstrap_mean([row.f1 for row in rows])),
            "net": asdict(bootstrap_mean([row.net for row in rows])),
            "questions": len(rows),
        }
    command = f"jade warm-start {game.name} --policy {config['recipe']['name']} --seed {config['seed']} {given.options}"
    card = {
        "command": command.strip(),
        "steps": summary["timesteps"],
        "seed": config["seed"],
        "version": jade_env.__version__,
        "versions": config["versions"],
        "parameters": sum(p.numel() for p in backbone.causal.parameters()),
        "scenario": game.name,
        "split": "test",
        "figures": figures,
    }
    write_whole(place / "card.json", as_json(card))
    print(f"{place}: F1 {figures['greedy']['f1']['mean']:.3f} greedy, {figures['sampled']['f1']['mean']:.3f} sampled")


if __name__ == "__main__":
    try:
        main()
    except JadeError as error:
        sys.exit(f"ship_backbone: {error}")
