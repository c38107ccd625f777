"""What a finished episode is worth, and who gets how much: pure functions of its answer, its ledger and the reward settings.

R_global = outcome - (alpha * N(rounds) + beta * N(retrievals)), N(n) = min(n, cap) / cap: the paper's equations 6-8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jade_env import metrics
from jade_env.game.trace import Played
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
    """The score of a finished episode: `value` is R_global = `outcome` - `cost`.

    `own` is what the team's members spent themselves, on turns and tokens, where the scenario charges them for it.
    """

    scores: metrics.Scores
    outcome: float
    cost: float
    own: float = 0.0

    @property
    def value(self) -> float:
        """R_global: what a team that shares everything earns, its members' own costs included."""
        return self.outcome - self.cost - self.own


def share(count: int, cap: int) -> float:
    """N(n) = min(n, cap) / cap, never below 0 (paper, eq. 7)."""
    return max(0, min(count, cap)) / cap


def score(question: Question, answer: str, ledger: Ledger, reward: Reward, played: Sequence[Played] = ()) -> Result:
    """Score a finished episode (paper, eq. 6-8; the `code` preset follows the released code); `played` are the team's own turns."""
    scores = metrics.score(answer, question.golden_answers, reward.rule)
    if question.is_list and reward.lists != "as_others":
        outcome = metrics.list_score(answer, question.list_spellings, reward.lists)
    else:
        outcome = float(getattr(scores, reward.outcome))
        if reward.yes_no == "em" and outcome != scores.em and metrics.is_yes_no(question.golden_answers[0]):
            outcome = scores.em
    rounds = ledger.rounds_together if reward.parallel_rounds == "together" else ledger.rounds
    cost = reward.round_cost * share(rounds - reward.free_rounds, reward.cap)
    cost += reward.retrieval_cost * share(ledger.retrievals, reward.cap)
    return Result(scores, outcome, cost, sum(own_costs(played, reward).values()))


def own_costs(played: Sequence[Played], reward: Reward) -> dict[str, float]:
    """What each agent spent on its own turns and tokens; empty where nobody is charged."""
    if not (reward.turn_cost or reward.token_cost):
        return {}
    turns = Counter(turn.agent for turn in played)
    tokens = Counter[str]()
    for turn in played:
        tokens[turn.agent] += turn.output.tokens
    # counted first, so that the order of play does not round otherwise
    return {agent: reward.turn_cost * turns[agent] + reward.token_cost * tokens[agent] for agent in sorted(turns)}


def payoffs(
    agents: Sequence[str], adversaries: Sequence[str], result: Result, played: Sequence[Played], reward: Reward
) -> dict[str, float]:
    """What each agent receives at the end of an episode that one team played, adversaries in it or not.

    `team`: R_global, the same for all. `private`: a weighted share of outcome minus common costs, minus what the agent spent
    itself. `zero_sum`: R_global with the penalties for what was malformed on either side and plus what adversaries spent
    themselves, for each of the team; adversaries receive together minus what all of the team receive, so that the sum is 0.
    """
    if reward.sharing == "private":
        spent, common = own_costs(played, reward), result.outcome - result.cost
        return {agent: reward.weight_of(agent) * common - spent.get(agent, 0.0) for agent in agents}
    if reward.sharing == "team":
        return dict.fromkeys(agents, result.value)
    team = [agent for agent in agents if agent not in adversaries]
    spent = own_costs(played, reward)
    value = result.value + sum(spent.get(agent, 0.0) for agent in adversaries)
    for turn in played:
        if not turn.output.valid:
            value += -reward.format_penalty if turn.agent in adversaries else reward.format_penalty
    against = dict.fromkeys(adversaries, -value * len(team) / len(adversaries)) if adversaries else {}
    return dict.fromkeys(team, value) | against


def duel(sides: Sequence[Side], reward: Reward) -> list[dict[str, float]]:
    """What the agents of two teams receive: each one's own score minus the other's, to every member.

    A side's score is R_global, its format penalties, and `latency_bonus` if it was the quicker one.
    """
    scores = [side.result.value + reward.format_penalty * side.ledger.malformed for side in sides]
    clocks = [side.ledger.latency for side in sides]
    scores = [
        value + reward.latency_bonus * (clock == min(clocks) < max(clocks))
        for value, clock in zip(scores, clocks, strict=True)
    ]
    gained = (scores[0] - scores[1], scores[1] - scores[0])
    return [dict.fromkeys(side.agents, gain) for side, gain in zip(sides, gained, strict=True)]


def won(payoff: float) -> float:
    """What a side of a duel has won by its payoff: 1, or half of it in a draw."""
    return 0.5 + 0.5 * ((payoff > 0) - (payoff < 0))


class Side(NamedTuple):
    """One team of a duel, finished."""

    agents: tuple[str, ...]
    result: Result
    ledger: Ledger
