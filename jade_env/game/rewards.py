"""What a finished episode is worth: a pure function of its answer, its ledger and the scenario's reward settings.

R_global = outcome - (alpha * N(rounds) + beta * N(retrievals)), N(n) = min(n, cap) / cap: the paper's equations 6-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jade_env import metrics
from jade_env.questions import Question
from jade_env.scenario import Reward


@dataclass(slots=True)
class Ledger:
    """What an episode has cost so far.

    Attributes:
        rounds: workflows run, one a node.
        rounds_together: the same, the children of one parallel decomposition counted as one round.
        retrievals: queries answered, cached or not.
        turns: outputs of agents.
        tokens: tokens written by agents (words where the policy does not say).
        latency: the longest chain of dependent turns and retrievals.
        malformed: outputs that broke their format.
    """

    rounds: int = 0
    rounds_together: int = 0
    retrievals: int = 0
    turns: int = 0
    tokens: int = 0
    latency: int = 0
    malformed: int = 0


class Result(NamedTuple):
    """The score of a finished episode: `value` is R_global = `outcome` - `cost`."""

    scores: metrics.Scores
    outcome: float
    cost: float

    @property
    def value(self) -> float:
        """R_global, the same for every member of the team."""
        return self.outcome - self.cost


def share(count: int, cap: int) -> float:
    """N(n) = min(n, cap) / cap, never below 0 (paper, eq. 7)."""
    return max(0, min(count, cap)) / cap


def score(question: Question, answer: str, ledger: Ledger, reward: Reward) -> Result:
    """Score a finished episode (paper, eq. 6-8; the `code` preset follows the released code)."""
    scores = metrics.score(answer, question.golden_answers, reward.rule)
    if question.is_list and reward.lists != "as_others":
        outcome = metrics.list_score(answer, question.list_items, reward.lists)
    else:
        outcome = float(getattr(scores, reward.outcome))
        if reward.yes_no == "em" and outcome != scores.em and metrics.is_yes_no(question.golden_answers[0]):
            outcome = scores.em
    rounds = ledger.rounds_together if reward.parallel_rounds == "together" else ledger.rounds
    cost = reward.round_cost * share(rounds - reward.free_rounds, reward.cap)
    cost += reward.retrieval_cost * share(ledger.retrievals, reward.cap)
    return Result(scores, outcome, cost)
