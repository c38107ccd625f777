"""What a warm start gets wrong greedily, and whether it ever gets it right when it draws: what RL could find for its executors.

    python benchmarks/out_of_reach.py [--backbone jade-tiny] [--draws 6] [--temperature 1] [--split dev]

The teacher plans, so that every question has its right workflow; the model plays all other roles of `small_world`. A row a kind
of question: the share answered right (F1 of 1) greedily, the share right in a draw, and of the questions that are wrong
greedily the share that some draw gets right, and how often one draw does; then, of the questions that are wrong greedily, which
role was the first to write what the teacher would not have written in its place, and how: not all of the teacher's words were
in its prompt, or they were and it wrote others of the prompt, or one that was not there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jade_env.cli_options import progress_bar
from jade_env.envs.turn import Turn
from jade_env.errors import JadeError
from jade_env.learning.evaluation import evaluate
from jade_env.metrics import normalize
from jade_env.policy import MixedPolicy, make_policy
from jade_env.policy.backbone import Backbone, load_backbone
from jade_env.policy.language_model import LanguageModelPolicy, Manner
from jade_env.scenario import load_scenario

SCENARIO = "small_world"
Answered = dict[str, tuple[str, bool, str, str]]


class Taught:
    """The model under the teacher's plans; notes which role of an episode was the first to differ from the teacher, and how."""

    def __init__(self, backbone: Backbone, manner: Manner) -> None:
        self._teacher = make_policy("teacher", SCENARIO)
        self._team = MixedPolicy({"planner": self._teacher, "default": LanguageModelPolicy(backbone, manner)})
        self.first: dict[int, tuple[str, str]] = {}  # by the episode's number

    def act(self, turns: Sequence[Turn]) -> list[Any]:
        written = self._team.act(turns)
        for turn, ours, taught in zip(turns, written, self._teacher.act(turns), strict=True):
            if normalize(str(ours)) != normalize(str(taught)):
                self.first.setdefault(turn.episode, (turn.agent, self._how(turn, str(ours), str(taught))))
        return written

    @staticmethod
    def _how(turn: Turn, ours: str, taught: str) -> str:
        read = set(normalize(turn.messages[-1]["content"]).split())
        written, wanted = (normalize(re.sub("</?answer>", "", text)) for text in (ours, taught))
        if not read.issuperset(wanted.split()):
            return "not all words that it should write are in its prompt"
        if written == "unknown":
            return "says unknown"
        return "takes other words of its prompt" if read.issuperset(written.split()) else "copies a word wrongly"


def right(backbone: Backbone, manner: Manner, split: str, seed: int = 0) -> Answered:
    """Of each question its kind, whether it was answered right, and who was first to differ from the teacher, how."""
    player = Taught(backbone, manner)
    with progress_bar("greedy" if manner.greedy else f"draw {seed}") as progress:
        rows = evaluate(player, SCENARIO, split, seed=seed, progress=progress)
    return {
        row.question_id: (row.kind, row.f1 == 1.0, *player.first.get(i, ("nobody", ""))) for i, row in enumerate(rows)
    }


def show(greedy: Answered, draws: Sequence[Answered], console: Console) -> None:
    table = Table(title=f"{len(greedy)} questions, {len(draws)} draws each")
    for column in ("kind", "questions", "right greedily", "in a draw", "of the wrong: in some draw", "in one draw"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in (*sorted({kind for kind, *_ in greedy.values()}), "all"):
        asked = [name for name, (of, *_) in greedy.items() if kind in (of, "all")]
        drawn = np.array([[draw[name][1] for draw in draws] for name in asked])
        first = np.array([greedy[name][1] for name in asked])
        wrong = drawn[~first]
        found = (f"{wrong.any(1).mean():.2f}", f"{wrong.mean():.3f}") if len(wrong) else ("", "")
        table.add_row(kind, str(len(asked)), f"{first.mean():.2f}", f"{drawn.mean():.2f}", *found)
    console.print(table)
    first_by = Counter((role, how) for _, answered, role, how in greedy.values() if not answered)
    for (role, how), count in first_by.most_common():
        console.print(f"first to differ from the teacher, of {first_by.total()} wrong greedily: {count} {role}: {how}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="jade-tiny", help="a name, a folder, or an id of the Hugging Face hub")
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the draws")
    parser.add_argument("--split", default="dev")
    given = parser.parse_args()
    if given.draws < 1:
        parser.error(f"--draws: {given.draws} is less than 1")
    if not given.temperature > 0:
        parser.error(f"--temperature: {given.temperature} is not above 0")
    style = load_scenario(SCENARIO).prompt
    try:
        backbone = load_backbone(given.backbone)
        greedy = right(backbone, Manner(style, greedy=True), given.split)
        drawn = Manner(style, temperature=given.temperature)
        draws = [right(backbone, drawn, given.split, seed) for seed in range(1, given.draws + 1)]
    except JadeError as error:
        sys.exit(f"out_of_reach: {error}")
    show(greedy, draws, Console())


if __name__ == "__main__":
    main()
