"""What each fixed workflow is worth with perfect executors, by kind of question: is there anything for a planner to decide?

    python benchmarks/workflows.py [--scenario cooperative] [--split tune] [--questions 1000] [KEY=VALUE ...]

A pair of workflows, one for the original question and one for its sub-questions, is played by `teacher:grounded`, which
plans by that pair and otherwise answers whatever the documents at hand tell. The table holds the mean net score (R_global:
outcome minus costs). The gap is what choosing by kind, or by question, gains over the best single pair.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jade_env.config import parse_overrides
from jade_env.envs.pool import Pool
from jade_env.errors import ConfigError, JadeError
from jade_env.game.view import Workflow
from jade_env.policy.teacher import TeacherPolicy
from jade_env.scenario import Scenario, load_scenario

Pair = tuple[Workflow, Workflow]
PAIRS: tuple[Pair, ...] = tuple(
    (tuple(root.split(",")), tuple(below.split(",")))
    for root, below in (
        ("AG", "R,AG"),
        ("QR,AG", "R,AG"),
        ("R,AG", "R,AG"),
        ("QR,R,AG", "R,AG"),
        ("R,DS,AG", "R,AG"),
        ("QR,R,DS,AG", "R,AG"),
        ("QDS", "R,AG"),
        ("QDS", "R,DS,AG"),
        ("QDS", "QR,R,AG"),
        ("QDP", "R,AG"),
        ("QDP", "R,DS,AG"),
        ("QDP", "QR,R,AG"),
    )
)


@dataclass(frozen=True, slots=True)
class Values:
    """The net score of each question under each pair: `net[pair, question]`, and each question's kind."""

    pairs: tuple[Pair, ...]
    kinds: tuple[str, ...]
    net: np.ndarray

    @property
    def best_single(self) -> float:
        """The best pair for all questions."""
        return float(self.net.mean(axis=1).max())

    @property
    def best_per_kind(self) -> float:
        """The best pair for each kind of question, over all questions."""
        kinds = np.array(self.kinds)
        best = [
            self.net[:, kinds == kind].mean(axis=1).max() * np.mean(kinds == kind) for kind in sorted(set(self.kinds))
        ]
        return float(sum(best))

    @property
    def best_per_question(self) -> float:
        """The best pair for each question."""
        return float(self.net.max(axis=0).mean())


def measure(scenario: Scenario, split: str, questions: int, data: str | Path | None = None, seed: int = 0) -> Values:
    """Play the first questions of a split's seeded order with every pair that the scenario allows.

    Raises:
        ConfigError: the scenario allows none, or its questions have no gold decomposition.
        DataError: its data cannot be read.
    """
    pairs = tuple(pair for pair in PAIRS if pair[0] in scenario.workflows and pair[1] in scenario.workflows)
    if not pairs:
        raise ConfigError(
            f"{scenario.name} has too few workflows to compare any: use a scenario with R,AG and another one"
        )
    net, kinds = [], []
    for root, below in pairs:
        teacher = TeacherPolicy(scenario, data, grounded=True, root=root, below=below)
        pool = Pool(scenario, min(questions, 10_000), seed=seed, split=split, data=data)
        episodes = {episode.index: episode for episode in pool.episodes[: len(pool.questions)]}
        while turns := [turn for turn in pool.turns() if turn.episode in episodes]:
            pool.step(dict(zip((turn.id for turn in turns), teacher.act(turns), strict=True)))
        net.append([episode.result.value if episode.result else 0.0 for episode in episodes.values()])
        kinds = [episode.question.kind for episode in episodes.values()]
    return Values(pairs, tuple(kinds), np.array(net))


def table(values: Values) -> str:
    """The figures as text: a row a pair, a column a kind."""
    kinds, order = np.array(values.kinds), sorted(set(values.kinds))
    width = max(map(len, order)) + 1
    lines = [f"{'workflow, for sub-questions':28}" + "".join(f"{kind:>{width}}" for kind in (*order, "mixture"))]
    lines.append(f"{'share of the questions':28}" + "".join(f"{np.mean(kinds == kind):{width}.2f}" for kind in order))
    by_kind = np.array([[row[kinds == kind].mean() for kind in order] for row in values.net])
    for pair, cells, row in zip(values.pairs, by_kind, values.net, strict=True):
        name = _name(pair)
        lines.append(f"{name:28}" + "".join(f"{cell:{width}.3f}" for cell in (*cells, row.mean())))
    best = (*by_kind.max(axis=0), values.best_per_kind)
    lines.append(f"{'best per kind':28}" + "".join(f"{cell:{width}.3f}" for cell in best))
    lines.append(f"{'best per question':28}" + " " * width * len(order) + f"{values.best_per_question:{width}.3f}")
    single = values.pairs[int(values.net.mean(axis=1).argmax())]
    lines.append(
        f"best single workflow: {_name(single)}, {values.best_single:.3f}; gained by choosing per kind "
        f"{values.best_per_kind - values.best_single:+.3f}, per question {values.best_per_question - values.best_single:+.3f}"
    )
    return "\n".join(lines)


def _name(pair: Pair) -> str:
    root, below = ",".join(pair[0]), ",".join(pair[1])
    return f"{root}; {below}" if root in ("QDS", "QDP") else root


def main(arguments: Sequence[str] | None = None) -> Mapping[str, float]:
    """Print the table and return the gaps."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--scenario", default="cooperative")
    parser.add_argument("--split", default="tune", help="any name for the embedded world: each is a world of its own")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--data")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of questions")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    try:
        overrides = parse_overrides(given.overrides)
        scenario = load_scenario(given.scenario, overrides)
        if scenario.data.source == "world" and given.split not in ("train", "dev"):
            scenario = load_scenario(given.scenario, {"data.test": given.questions, **overrides})
        values = measure(scenario, given.split, given.questions, given.data, given.seed)
    except JadeError as error:
        parser.error(str(error))
    print(f"{scenario.name}, split {given.split}, {len(values.kinds)} questions: net score with perfect executors")
    print(table(values))
    return {
        "per_kind": values.best_per_kind - values.best_single,
        "per_question": values.best_per_question - values.best_single,
    }


if __name__ == "__main__":
    main()
