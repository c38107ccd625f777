"""How well the generator's features can rank at all: a scorer trained with gold answers, without RL and without a team.

    python benchmarks/ranker.py [--data ../shared/data] [--scenario hotpotqa] [--steps 500]

Rows are the answer candidates over the top documents of the raw question. The loss is the expected F1 of the softmax, as a
policy gradient would see it with perfect credit. Prints F1 of the best-scored candidate: four-fold cross-validation on train.
"""

from __future__ import annotations

import argparse
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from jade_env import load_scenario, metrics
from jade_env.envs.candidates import LIMITS, candidates
from jade_env.envs.features import CANDIDATE_FEATURES, TURN_FEATURES, candidate_features, turn_features
from jade_env.envs.source import open_source
from jade_env.game.view import View

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
SHAPES: dict[str, tuple[tuple[int, ...], float, float]] = {  # hidden layers, dropout, noise on the features
    "linear": ((), 0.0, 0.0),
    "32": ((32,), 0.0, 0.0),
    "64 x 64": ((64, 64), 0.0, 0.0),
    "64 x 64, noise .1": ((64, 64), 0.0, 0.1),
    "64 x 64, dropout .3": ((64, 64), 0.3, 0.0),
}


def read(scenario_name: str, data: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (questions, candidates, features), which candidates there are, and the F1 of each."""
    scenario = load_scenario(scenario_name)
    source = open_source(scenario, data)
    questions = source.questions("train")
    found = source.retriever("train").search([q.text for q in questions], scenario.retriever.top_k)
    width = len(CANDIDATE_FEATURES)
    x = np.zeros((len(questions), LIMITS["answer"], width + len(TURN_FEATURES)), np.float32)
    there, f1 = np.zeros(x.shape[:2], bool), np.zeros(x.shape[:2], np.float32)
    for i, (question, hits) in enumerate(zip(questions, found, strict=True)):
        view = View(question.text, question.text, documents=tuple(hit.document for hit in hits), retrieved=True)
        values = candidates("answer", view)
        x[i, : len(values), :width] = candidate_features("answer", view, values)
        x[i, : len(values), width:] = turn_features("answer", view)
        there[i, : len(values)] = True
        f1[i, : len(values)] = [metrics.score(str(value), question.golden_answers).f1 for value in values]
    return torch.from_numpy(x), torch.from_numpy(there), torch.from_numpy(f1)


def network(width: int, hidden: tuple[int, ...], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise((width, *hidden)):
        layers += [nn.Linear(a, b), nn.Tanh(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else width, 1))


def fold_score(
    data: tuple[Tensor, Tensor, Tensor],
    train: Tensor,
    test: Tensor,
    shape: tuple[tuple[int, ...], float, float],
    steps: int,
) -> float:
    x, there, f1 = data
    hidden, dropout, noise = shape
    net = network(x.shape[2], hidden, dropout)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3 if hidden else 1e-2)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (128,))]
        inputs = x[batch] + noise * torch.randn_like(x[batch]) if noise else x[batch]
        logp = net(inputs).squeeze(2).masked_fill(~there[batch], -1e9).log_softmax(1)
        p = logp.exp()
        entropy = -(p * logp.clamp(min=-30)).sum(1).mean()
        loss = -(p * f1[batch]).sum(1).mean() - 0.02 * entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        best = net(x[test]).squeeze(2).masked_fill(~there[test], -1e9).argmax(1)
    return float(f1[test].gather(1, best[:, None]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("JADE_DATA", SHARED)))
    parser.add_argument("--scenario", default="hotpotqa")
    parser.add_argument("--steps", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = read(args.scenario, args.data)
    folds = torch.randperm(len(data[0])).chunk(4)
    table = Table(
        title=f"{args.scenario}, {len(data[0])} train questions, four folds; best candidate {data[2].amax(1).mean():.3f}"
    )
    table.add_column("scorer")
    table.add_column("F1 on the fold left out, mean (min to max)", justify="right")
    for name, shape in SHAPES.items():
        scores = [
            fold_score(data, torch.cat([f for f in folds if f is not fold]), fold, shape, args.steps) for fold in folds
        ]
        table.add_row(name, f"{np.mean(scores):.3f} ({min(scores):.3f} to {max(scores):.3f})")
    Console().print(table)


if __name__ == "__main__":
    main()
