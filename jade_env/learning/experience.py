"""Experience: every turn of every role as one transition, flat, in the AEC order whatever view was played.

Transitions carry the ids that credit rules group by: episode, team, agent, round, step, policy version. Knows no tensor
and no learning rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jade_env.game.episode import Episode
from jade_env.game.outputs import Value
from jade_env.game.trace import Path

TEAM = "team"
"""The one team of a cooperative scenario."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One turn: the paper's <o, a, r> with its address.

    Attributes:
        episode: number of the episode in its seeded order.
        team, agent: who earned it and who played it.
        round: the node's number in order of opening, 0 for the original question.
        step: the turn's number within its node.
        path: the node's place in the tree of questions.
        value: what the output said.
        valid: whether it followed its format.
        reward: format penalty, plus R_global on the last turn of the episode (paper, eq. 8).
        last: whether the episode ended with it.
        clock: the longest chain of turns and retrievals that it ends; transitions of equal clock did not wait for each other.
        policy_version: which version of the policy wrote it.
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


def transitions(episode: Episode, policy_version: int = 0) -> list[Transition]:
    """The transitions of a finished episode; none for a truncated one, which has no score to learn from."""
    if episode.result is None:
        return []
    rounds = {node.path: i for i, node in enumerate(episode.trace.nodes)}
    played = episode.trace.played
    return [
        Transition(
            episode=episode.index,
            team=TEAM,
            agent=turn.agent,
            round=rounds[turn.path],
            step=turn.step,
            path=turn.path,
            value=turn.output.value,
            valid=turn.output.valid,
            reward=turn.penalty + (episode.result.value if i == len(played) - 1 else 0.0),
            last=i == len(played) - 1,
            clock=turn.clock,
            policy_version=policy_version,
        )
        for i, turn in enumerate(played)
    ]


class Experience:
    """A flat buffer of transitions of many episodes, each episode's together and in order of play."""

    def __init__(self) -> None:
        self._rows: list[Transition] = []

    def add(self, episodes: Iterable[Episode], policy_version: int = 0) -> None:
        """Append finished episodes, in the order of their numbers."""
        for episode in sorted(episodes, key=lambda episode: episode.index):
            self._rows += transitions(episode, policy_version)

    def __iter__(self) -> Iterator[Transition]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget everything, as on-policy learners do after an update."""
        self._rows.clear()

    def returns(self) -> dict[int, float]:
        """The undiscounted return of each episode, R_global counted once."""
        total: dict[int, float] = {}
        for row in self._rows:
            total[row.episode] = total.get(row.episode, 0.0) + row.reward
        return total
