"""Lessons for a warm start: prompts and outputs of every role, from a teacher that plays while the planner tries everything.

Each chapter is a world of its own where the scenario's data is the embedded world, so that remembering facts is useless.
Knows the teacher and the pool; knows no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jade_env import streams
from jade_env.envs.pool import Pool
from jade_env.envs.turn import Action, Turn
from jade_env.game.prompts import Message
from jade_env.game.view import Workflow
from jade_env.game.workflow import DECOMPOSERS
from jade_env.policy.teacher import UNKNOWN, TeacherPolicy
from jade_env.scenario import Scenario, WorldData

FIRST_WORLD = 1_000_000
"""Seeds of the worlds of lessons begin here, away from those that anybody trains or is tested on."""
KEPT = {"workflow": 0.15, "query": 0.3, "document_ids": 0.6}
KEPT_UNKNOWN = 0.2
"""Shares of some outputs, and of answers "unknown", that become lessons: there are many, and little to learn from them."""
DECOMPOSED = 0.6
"""Share of questions that are decomposed where they may be: short questions, one fact each, are what reading is learned from."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One turn as it should be played.

    Attributes:
        agent: whose turn it was.
        messages: the prompt.
        output: what to write.
    """

    agent: str
    messages: tuple[Message, ...]
    output: str


class Lecturer:
    """Plays like the grounded teacher, but plans each round by chance, so that executors are seen after every plan."""

    def __init__(self, scenario: Scenario, seed: int, data: str | Path | None = None) -> None:
        self._teacher = TeacherPolicy(scenario, data, grounded=True)
        self._seed = seed

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the text of each turn."""
        return [self._plan(turn) if turn.kind == "workflow" else self._teacher.act([turn])[0] for turn in turns]

    def _plan(self, turn: Turn) -> Action:
        split = [workflow for workflow in turn.view.workflows if workflow[0] in DECOMPOSERS]
        plain = [workflow for workflow in turn.view.workflows if workflow[0] not in DECOMPOSERS]
        decomposed = streams.uniform("decomposed", self._seed, turn.id) < DECOMPOSED
        return turn.format(
            _drawn(split if split and (decomposed or not plain) else plain, "lecturer", self._seed, turn.id)
        )


def chapter(
    scenario: Scenario, number: int, episodes: int, seed: int = 0, data: str | Path | None = None
) -> list[Lesson]:
    """The lessons of one chapter: so many episodes of the train split, in the order of their numbers and turns.

    Args:
        scenario: what is played, in text mode.
        number: of the chapter; another world, or the next episodes of the files.
        episodes: how many are played.
        seed: of the worlds, the questions' order and the plans.
        data: the data location for scenarios with files.
    """
    if isinstance(scenario.data, WorldData):
        world = scenario.data.model_copy(update={"seed": FIRST_WORLD * (seed + 1) + number, "train": episodes})
        scenario = scenario.model_copy(update={"data": world})
    order = streams.bits("chapter", seed, number) >> 33
    pool = Pool(scenario, min(episodes, 256), seed=order, split="train", data=data)
    lecturer = Lecturer(scenario, order, data)
    written: dict[tuple[object, ...], Lesson] = {}
    left = episodes
    while left:
        turns = [turn for turn in pool.turns() if turn.episode < episodes]
        actions = lecturer.act(turns)
        for turn, action in zip(turns, actions, strict=True):
            if _kept(turn, str(action), order):
                written[turn.id] = Lesson(turn.role, tuple(turn.messages), _lesson(turn, str(action), order))
        left -= len(pool.step({turn.id: action for turn, action in zip(turns, actions, strict=True)}))
    return [written[key] for key in sorted(written)]


def _lesson(turn: Turn, played: str, seed: int) -> str:
    """What to learn from a turn: of a plan the format only, evenly among the legal ones, and no strategy."""
    if turn.kind != "workflow":
        return played
    return turn.format(_drawn(turn.view.workflows, "plan", seed, turn.id))


def _drawn(workflows: Sequence[Workflow], *key: object) -> Workflow:
    return workflows[int(streams.uniform(*key) * len(workflows))]


def _kept(turn: Turn, output: str, seed: int) -> bool:
    unknown = turn.kind == "answer" and output == turn.format(UNKNOWN)
    share = KEPT_UNKNOWN if unknown else KEPT.get(turn.kind, 1.0)
    return streams.uniform("lesson", seed, turn.id) < share
