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
from jade_env.policy.teacher import UNKNOWN, TeacherPolicy
from jade_env.scenario import Scenario, WorldData

FIRST_WORLD = 1_000_000
"""Seeds of the worlds of lessons begin here, away from those that anybody trains or is tested on."""
KEPT_PLANS, KEPT_UNKNOWN = 0.15, 0.2
"""Shares of plans and of answers "unknown" that become lessons: there are many of both, and little to learn from them."""


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
    """Plays like the grounded teacher, but plans each round evenly among the legal workflows.

    So executors are seen after every plan, and a planner that learns from it learns the format and no strategy.
    """

    def __init__(self, scenario: Scenario, seed: int, data: str | Path | None = None) -> None:
        self._teacher = TeacherPolicy(scenario, data, grounded=True)
        self._seed = seed

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return the text of each turn."""
        return [self._plan(turn) if turn.kind == "workflow" else self._teacher.act([turn])[0] for turn in turns]

    def _plan(self, turn: Turn) -> Action:
        legal = turn.view.workflows
        return turn.format(legal[int(streams.uniform("lecturer", self._seed, turn.id) * len(legal))])


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
                written[turn.id] = Lesson(turn.agent, tuple(turn.messages), str(action))
        left -= len(pool.step({turn.id: action for turn, action in zip(turns, actions, strict=True)}))
    return [written[key] for key in sorted(written)]


def _kept(turn: Turn, output: str, seed: int) -> bool:
    unknown = turn.kind == "answer" and output == turn.format(UNKNOWN)
    share = KEPT_PLANS if turn.kind == "workflow" else KEPT_UNKNOWN if unknown else 1.0
    return streams.uniform("lesson", seed, turn.id) < share
