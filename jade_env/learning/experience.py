"""Experience: every turn of every role as one transition, flat, in the AEC order whatever view was played.

Transitions carry the ids that credit rules group by: question, plan, episode, team, agent, round, step, policy version; and, where
a language model wrote them, the tokens as they were sampled. Knows no tensor and no learning rule.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from jade_env.config import nearest
from jade_env.envs.turn import TurnId
from jade_env.errors import DataError, JadeError
from jade_env.game.episode import Episode
from jade_env.game.outputs import Value
from jade_env.game.trace import Path
from jade_env.policy.sampling import Sample

TEAM = "team"
"""The team of a scenario that has but one; adversaries in it are a team of their own."""
ADVERSARY = "adversary"
_KINDS = {
    **dict.fromkeys(("episode", "round", "step", "clock", "policy_version", "question", "plan"), (int,)),
    **dict.fromkeys(("team", "agent", "kind", "text", "question_id"), (str,)),
    **dict.fromkeys(("valid", "last"), (bool,)),
    **dict.fromkeys(("reward", "outcome", "penalty"), (float, int)),
    "path": (list,),
}
"""What a file has in each field."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One turn: the paper's <o, a, r> with its address.

    Attributes:
        episode: number of the episode in its seeded order.
        team: who receives the same at the end: the team, one side of a duel, adversaries, or with private rewards the agent alone.
        agent: who played it.
        round: the node's number in order of opening, 0 for the original question.
        step: the turn's number within its node.
        path: the node's place in the tree of questions.
        value: what the output said.
        valid: whether it followed its format.
        reward: format penalty, plus on the team's last turn of the episode what it receives at the end: R_global (paper, eq. 8), or
            what the scenario's sharing makes of it for this agent.
        last: whether it was its team's last in the episode.
        clock: the longest chain of turns and retrievals that it ends; transitions of equal clock did not wait for each other.
        policy_version: which version of the policy wrote it.
        question: number of the question in the seeded order; episodes of one question have it in common.
        plan: number of the plan; executions of one plan have it in common.
        outcome: what the agent receives at the end of the episode: R_global where the team shares it.
        penalty: the turn's own format penalty.
        kind: of what the output is, such as `workflow`.
        text: what was written, or the text that says the candidate chosen.
        question_id: of the question in its data.
        sample: the tokens, where a language model sampled them. A plan that several executions share is sampled once: the first of
            them that counts has the tokens.
    """

    episode: int
    team: str
    agent: str
    round: int
    step: int
    path: Path
    value: Value
    valid: bool
    reward: float
    last: bool
    clock: int
    policy_version: int = 0
    question: int = 0
    plan: int = 0
    outcome: float = 0.0
    penalty: float = 0.0
    kind: str = ""
    text: str = ""
    question_id: str = ""
    sample: Sample | None = None

    @property
    def role(self) -> str:
        """The agent's role, whatever the team."""
        if self.team in (TEAM, ADVERSARY):  # not of a duel, where names begin with the side's
            return self.agent
        return self.agent.removeprefix(f"{self.team}_")

    @property
    def planning_root(self) -> bool:
        """Whether it is the plan of the original question."""
        return self.kind == "workflow" and not self.path


def transitions(
    episode: Episode,
    policy_version: int = 0,
    samples: Mapping[TurnId, Sample] | None = None,
) -> list[Transition]:
    """The transitions of a finished episode; none for a truncated one, which has no score to learn from.

    Args:
        episode: of a game.
        policy_version: which version of the policy played it.
        samples: the tokens of turns that a language model wrote, by turn id.
    """
    if not episode.payoffs:
        return []
    question, plan = episode.place
    rounds = {node.path: i for i, node in enumerate(episode.trace.nodes)}
    played = episode.trace.played
    teams = [_team(episode, turn.agent) for turn in played]
    last = set({team: i for i, team in enumerate(teams)}.values())
    return [
        Transition(
            episode=episode.index,
            team=team,
            agent=turn.agent,
            round=rounds[turn.path],
            step=turn.step,
            path=turn.path,
            value=turn.output.value,
            valid=turn.output.valid,
            reward=turn.penalty + (episode.payoffs[turn.agent] if i in last else 0.0),
            last=i in last,
            clock=turn.clock,
            policy_version=policy_version,
            question=question,
            plan=plan,
            outcome=episode.payoffs[turn.agent],
            penalty=turn.penalty,
            kind=turn.output.kind,
            text=turn.output.text,
            question_id=episode.question.id,
            sample=(samples or {}).get((episode.index, turn.path, turn.step)),
        )
        for i, (turn, team) in enumerate(zip(played, teams, strict=True))
    ]


def _team(episode: Episode, agent: str) -> str:
    if episode.rules.reward.sharing == "private":
        return agent
    return ADVERSARY if agent in episode.adversaries else episode.rules.team or TEAM


class Experience:
    """A flat buffer of transitions of many episodes, each episode's together and in order of play."""

    def __init__(self, rows: Iterable[Transition] = ()) -> None:
        self._rows: list[Transition] = list(rows)
        self._held = {row.episode for row in self._rows}
        turns = Counter((row.episode, row.path, row.step) for row in self._rows)
        asked = {(row.episode, row.question_id) for row in self._rows}
        if len(turns) < len(self._rows) or len(asked) > len(self._held):
            twice = next((turn[0] for turn, times in turns.items() if times > 1), None)
            raise JadeError(
                f"experience: an episode {_other(asked) if twice is None else twice} comes twice: keep other pools and orders apart"
            )

    def add(
        self,
        episodes: Iterable[Episode],
        policy_version: int = 0,
        samples: Mapping[TurnId, Sample] | None = None,
    ) -> None:
        """Append finished episodes, in the order of their numbers.

        Args:
            episodes: as a pool hands them out; they know which of them are of one question and of one plan.
            policy_version: which version of the policy played them.
            samples: the tokens of turns that a language model wrote, by turn id; of a plan, those of its first execution.

        Raises:
            JadeError: an episode of that number is held already, and credit could not tell them apart; nothing is added.
        """
        episodes = list(episodes)
        numbers = Counter(episode.index for episode in episodes)
        if twice := [number for number, times in numbers.items() if times > 1 or number in self._held]:
            raise JadeError(
                f"experience: an episode {twice[0]} is held already, or comes twice: keep that of other pools and orders apart, "
                "or clear() first"
            )
        self._held.update(episode.index for episode in episodes if episode.payoffs)
        found = dict(samples or {})
        left: dict[int, Sample] = {}  # by plan: its tokens, where the execution that had them was cut short
        for episode in sorted(episodes, key=lambda episode: episode.index):
            root, plan = (episode.index, (), 0), episode.place[1]
            if not episode.payoffs:
                left |= {plan: found[root]} if root in found else {}
            elif root not in found and plan in left:
                found[root] = left.pop(plan)
            self._rows += transitions(episode, policy_version, found)

    def __iter__(self) -> Iterator[Transition]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: int) -> Transition:
        return self._rows[place]

    def clear(self) -> None:
        """Forget everything, as on-policy learners do after an update."""
        self._rows.clear()
        self._held.clear()

    def column(self, name: str) -> np.ndarray:
        """One field of every transition, [T], for the rules of `credit`; text as numbers in alphabetical order.

        Raises:
            JadeError: transitions have no such field, or it is no number and no text.
        """
        if name not in (known := [f.name for f in fields(Transition)]):
            raise JadeError(f"transitions have no {name!r}{nearest(name, known)} they have {', '.join(known)}")
        if name in ("path", "value", "sample"):
            raise JadeError(f"{name} is no number: read it from the transitions, or from table()")
        found = [getattr(row, name) for row in self._rows]
        if found and isinstance(found[0], str):
            return np.unique(np.array(found), return_inverse=True)[1]
        return np.array(found)

    def by_team(self, name: str) -> np.ndarray:
        """A column of numbers made different for different teams, [T]: who is compared with whom, and what follows on what."""
        numbers, teams = self.column(name).astype(np.int64), self.column("team")
        return numbers * (int(teams.max(initial=0)) + 1) + teams if len(self._rows) else numbers

    def returns(self) -> dict[int, float]:
        """The undiscounted return of each episode, what a team receives counted once, and nothing of its adversary's."""
        total: dict[int, float] = {}
        for row in self._rows:
            if row.team == ADVERSARY:
                continue
            total[row.episode] = total.get(row.episode, 0.0) + row.reward
        return total

    def table(self) -> list[dict[str, Any]]:
        """One flat mapping a transition, for a data frame or for reading; tokens as their number."""
        names = [f.name for f in fields(Transition) if f.name != "sample"]
        return [
            {name: getattr(row, name) for name in names} | {"tokens": len(row.sample.output) if row.sample else 0}
            for row in self._rows
        ]

    def save(self, path: str | FilePath) -> None:
        """Write one JSON object a line, whole or not at all; every number is kept exactly.

        Raises:
            DataError: the file cannot be written.
        """
        from jade_env.files import write_whole

        lines = [json.dumps(_as_tree(row), allow_nan=False) for row in self._rows]  # ASCII: any text, each on one line
        write_whole(FilePath(path), "".join(f"{line}\n" for line in lines).encode())

    @classmethod
    def load(cls, path: str | FilePath) -> Experience:
        """Read what `save` wrote.

        Raises:
            DataError: the file is missing or damaged; the sentence names the line.
        """
        try:
            lines = FilePath(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from None
        rows = []
        for number, line in enumerate(lines if lines != [""] else [], 1):
            try:
                rows.append(_from_tree(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{path}:{number}: not a transition: {error}") from None
        try:
            return cls(rows)
        except JadeError as error:
            raise DataError(f"{path}: {error}") from None


def _other(asked: Iterable[tuple[int, str]]) -> int:
    """The first episode that is said to be of two questions."""
    return min(episode for episode, times in Counter(episode for episode, _ in asked).items() if times > 1)


def _as_tree(row: Transition) -> dict[str, Any]:
    tree = {f.name: getattr(row, f.name) for f in fields(Transition)}
    if (sample := row.sample) is not None:
        tree["sample"] = {f.name: getattr(sample, f.name) for f in fields(Sample)} | {
            "logprobs": sample.logprobs.tolist()
        }
    return tree


def _from_tree(tree: Mapping[str, Any]) -> Transition:
    row = Transition(**tree)
    for name, kinds in _KINDS.items():
        if type(getattr(row, name)) not in kinds:
            raise TypeError(f"{name} is {getattr(row, name)!r}")
    sample = row.sample
    if isinstance(sample, Mapping):
        known = {"logprobs": np.array(sample["logprobs"], np.float32), "temperature": float(sample["temperature"])}
        sample = Sample(**{**sample, **known})
        allowed = tuple(None if ids is None else tuple(ids) for ids in sample.allowed)
        sample = replace(sample, prompt=tuple(sample.prompt), output=tuple(sample.output), allowed=allowed)
    return replace(row, path=tuple(row.path), value=_tuples(row.value), sample=sample)


def _tuples(value: Any) -> Any:
    return (
        tuple(_tuples(item) for item in value) if isinstance(value, Sequence) and not isinstance(value, str) else value
    )
