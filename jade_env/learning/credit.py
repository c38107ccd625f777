"""Credit: who deserves how much of an episode's outcome. Pure functions over arrays, one entry a turn.

| rule | baseline | source |
|---|---|---|
| `episode_gae` | a critic, one value a turn | JADE, arXiv 2601.21916, alg. 2; GAE, arXiv 1506.02438, eq. 16 |
| `broadcast` | a critic, one value a token | JADE's released code |
| `group` | mean and spread of the question's episodes | GRPO, arXiv 2402.03300, sec. 4.1.2 |
| `leave_one_out` | mean of the question's other episodes | RLOO, arXiv 2402.14740, eq. 8 |
| `tied_group` | across plans for the planner, among siblings for the rest | this project |

T turns stand in buffer order: each episode's together, in order of play. A frozen agent's turns are turns like any other
here: they are part of what follows an earlier turn; whether they are learned from is decided elsewhere. The *outcome* is
R_global of the turn's episode, the *penalty* that of its own format. Columns of different length raise ValueError. Knows no
model, no tensor and no game; numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SMALL = 1e-6
ROUNDING = 1e-12
"""Added to a spread that divides: outcomes that are all the same give advantages of zero."""


def episode_gae(
    reward_T: ArrayLike, value_T: ArrayLike, sequence_T: ArrayLike, *, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Floats, Floats]:
    """GAE across the turns of an episode (JADE paper, alg. 2): the terminal reward flows back through every role's turn.

        delta_t = r_t + gamma V_{t+1} - V_t,   A_t = delta_t + gamma lam A_{t+1},   return_t = A_t + V_t

    with V = A = 0 after a sequence's last turn: episodes end, they are never cut.

    Args:
        reward_T: the turn's penalty, plus R_global on the last turn of its sequence.
        value_T: what the critic expected when the turn began.
        sequence_T: one number per (episode, team); sequences may be interleaved, each in its order of play.
        gamma, lam: per turn.

    Returns:
        advantage_T and return_T.
    """
    _alike(reward=reward_T, value=value_T, sequence=sequence_T)
    reward, value = _floats(reward_T), _floats(value_T)
    code, count = _codes(sequence_T)
    order = np.argsort(code, kind="stable")
    length = np.bincount(code, minlength=count)
    step = np.empty(len(order), np.int64)
    step[order] = np.arange(len(order)) - np.repeat(np.cumsum(length) - length, length)
    grid = np.full((int(length.max(initial=0)), count), -1, np.int64)  # by step and sequence: the turn, or -1
    grid[step, code] = np.arange(len(order))
    advantage = np.zeros_like(reward)
    next_value, next_advantage = np.zeros(count), np.zeros(count)
    for turns in grid[::-1]:
        live = turns >= 0
        now = turns[live]
        advantage[now] = reward[now] + gamma * (next_value[live] + lam * next_advantage[live]) - value[now]
        next_value[live], next_advantage[live] = value[now], advantage[now]
    return advantage, advantage + value


def broadcast(
    outcome_T: ArrayLike,
    penalty_T: ArrayLike,
    value_N: ArrayLike,
    length_T: ArrayLike,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
) -> tuple[Floats, Floats]:
    """R_global on every turn's last token, GAE over the tokens inside the turn (JADE's released code).

    Args:
        outcome_T, penalty_T: their sum is the reward of the turn's last token; all others have none.
        value_N: what the critic expected before each output token, N = sum of length_T, turn after turn.
        length_T: output tokens of each turn.
        gamma, lam: per token.

    Returns:
        advantage_N and return_N.
    """
    length = np.asarray(length_T, np.int64)
    _alike(outcome=outcome_T, penalty=penalty_T, length=length)
    turn = np.repeat(np.arange(len(length)), length)
    reward = np.zeros(int(length.sum()))
    said = length > 0
    reward[(np.cumsum(length) - 1)[said]] = (_floats(outcome_T) + _floats(penalty_T))[said]
    return episode_gae(reward, value_N, turn, gamma=gamma, lam=lam)


def group(
    outcome_T: ArrayLike, penalty_T: ArrayLike, episode_T: ArrayLike, question_T: ArrayLike, *, scale: bool = True
) -> Floats:
    """The outcome minus the mean over the question's episodes, over their standard deviation (GRPO).

        A_t = (R_e - mean_q) / (std_q + 1e-6) + penalty_t

    Every episode counts once, however many turns it took; the standard deviation is that of the group itself (no Bessel
    correction). The turn's own penalty is added after scaling, so that a group of equal outcomes still punishes bad format.

    Args:
        scale: divide by the standard deviation; False gives the variant of "Dr. GRPO" (arXiv 2503.20783).
    """
    _alike(outcome=outcome_T, penalty=penalty_T, episode=episode_T, question=question_T)
    tree = _Tree(outcome_T, episode_T, question_T)
    mean = tree.sum_Q(tree.outcome_E) / tree.size_Q
    centred = _exact(tree.outcome_E - mean[tree.question_E])
    if scale:
        spread = np.sqrt(tree.sum_Q(centred**2) / tree.size_Q)
        centred = centred / (spread + SMALL)[tree.question_E]
    return centred[tree.episode_T] + _floats(penalty_T)


def leave_one_out(outcome_T: ArrayLike, penalty_T: ArrayLike, episode_T: ArrayLike, question_T: ArrayLike) -> Floats:
    """The outcome minus the mean of the question's other episodes (RLOO), plus the turn's own penalty.

        A_t = R_e - sum_{e' != e} R_e' / (n_q - 1) + penalty_t

    An episode alone with its question has nothing to be compared with: its outcome gives 0.
    """
    _alike(outcome=outcome_T, penalty=penalty_T, episode=episode_T, question=question_T)
    tree = _Tree(outcome_T, episode_T, question_T)
    return tree.against_others(tree.question_E)[tree.episode_T] + _floats(penalty_T)


def tied_group(
    outcome_T: ArrayLike,
    penalty_T: ArrayLike,
    episode_T: ArrayLike,
    question_T: ArrayLike,
    plan_T: ArrayLike,
    root_T: ArrayLike,
) -> Floats:
    """Planner and executors are compared with what differs by their own doing: plans with plans, siblings with siblings.

    For the root planner's turn, with M_p the mean outcome of a plan's executions:

        A_t = M_p - mean of M_p' over the question's other plans

    for every other turn, the outcome minus the mean of its siblings, the other executions of the same plan. The turn's own
    penalty is added to both. Without another plan the root planner's outcome gives 0; without siblings the question's
    other episodes take their place, and without any the outcome gives 0. So one plan a question leaves the planner
    without a signal, and one execution a plan is `leave_one_out` for all.

    Args:
        plan_T: number of the plan, unique over the buffer.
        root_T: whether the turn is the root planner's, shared by all executions of its plan.
    """
    own = {"outcome": outcome_T, "penalty": penalty_T, "episode": episode_T}
    _alike(**own, question=question_T, plan=plan_T, root=root_T)
    tree = _Tree(outcome_T, episode_T, question_T)
    plan, plans = _codes(plan_T)
    plan_E = tree.of_episode(plan)
    executions = np.bincount(plan_E, minlength=plans)
    mean_P = np.bincount(plan_E, tree.outcome_E, plans) / executions
    question_P = np.empty(plans, np.int64)
    question_P[plan_E] = tree.question_E
    across = _against_others(mean_P, question_P)
    alone = executions[plan_E] == 1
    among = np.where(alone, tree.against_others(tree.question_E), tree.against_others(plan_E))
    chosen = np.where(np.asarray(root_T, bool), across[plan], among[tree.episode_T])
    return cast(Floats, chosen + _floats(penalty_T))


def normalize(
    advantage_T: ArrayLike,
    part_T: ArrayLike,
    weight_T: ArrayLike | None = None,
    *,
    center: bool = True,
    eps: float = SMALL,
) -> Floats:
    """Centre and whiten within each part, such as a role: mean 0 and standard deviation 1 where a part varies at all.

    Args:
        part_T: which part each entry belongs to.
        weight_T: how much an entry counts in its part's mean and spread; entries of weight 0 are shifted and scaled alike.
            A part whose weights are all 0 is left as it is.
        center: False only scales, to a root mean square of 1, for advantages that have a baseline of their own: a turn whose
            advantage is 0 keeps it.
        eps: added to the standard deviation.
    """
    advantage = _floats(advantage_T)
    part, parts = _codes(part_T)
    weight = np.ones_like(advantage) if weight_T is None else _floats(weight_T)
    total = np.bincount(part, weight, parts)
    counted = total > 0
    total = np.where(counted, total, 1.0)
    mean = np.bincount(part, weight * advantage, parts) / total if center else np.zeros(parts)
    centred = advantage - mean[part]
    spread = np.sqrt(np.bincount(part, weight * centred**2, parts) / total)
    return cast(Floats, np.where(counted[part], centred / (spread[part] + eps), advantage))


def explained_variance(value_T: ArrayLike, target_T: ArrayLike) -> float:
    """1 - Var(target - value) / Var(target): 1 is perfect, 0 is no better than a constant; 0 where no target varies."""
    value, target = _floats(value_T), _floats(target_T)
    variance = float(np.var(target)) if len(target) else 0.0
    return 1.0 - float(np.var(target - value)) / variance if variance > SMALL**2 else 0.0


def table_explained_variance(
    codes: Sequence[ArrayLike], target_T: ArrayLike, apart_T: ArrayLike | None = None
) -> float:
    """What a held-out table explains: the mean target of the other entries in the same cell, as a critic's yardstick.

    Args:
        codes: columns [T] of ints, such as kind of question, role and workflow; entries equal in all share a cell.
        target_T: what is to be explained.
        apart_T: entries of equal number, such as an episode's turns, are left out together: they share an outcome, so one
            would tell the other's. Each entry stands alone where None.

    Returns:
        `explained_variance` of the means. An entry without others in its cell is told the mean of all others.
    """
    target = _floats(target_T)
    apart, groups = _codes(np.arange(len(target)) if apart_T is None else apart_T)
    cell, _ = _codes(np.column_stack([np.asarray(column) for column in codes]), axis=0)
    everything = _held_out(target, np.zeros(len(target), np.int64), apart, groups)
    told = _held_out(target, cell, apart, groups)
    told = np.where(np.isnan(told), everything, told)
    return explained_variance(np.where(np.isnan(told), 0.0, told), target)


def _held_out(target: Floats, cell: Ints, apart: Ints, groups: int) -> Floats:
    """The mean over each entry's cell without the entries of its own group; NaN where none is left."""
    both, _ = _codes(cell * groups + apart)
    size = np.bincount(cell)[cell] - np.bincount(both)[both]
    total = np.bincount(cell, target)[cell] - np.bincount(both, target)[both]
    return np.where(size > 0, total / np.maximum(size, 1), np.nan)


class _Tree:
    """Which turns make an episode, and which episodes answer a question."""

    def __init__(self, outcome_T: ArrayLike, episode_T: ArrayLike, question_T: ArrayLike) -> None:
        self.episode_T, episodes = _codes(episode_T)
        self._first = np.zeros(episodes, np.int64)
        self._first[self.episode_T[::-1]] = np.arange(len(self.episode_T))[::-1]
        question, questions = _codes(question_T)
        outcome = _floats(outcome_T)
        self.outcome_E, self.question_E = outcome[self._first], question[self._first]
        if not np.array_equal(outcome, self.outcome_E[self.episode_T], equal_nan=True):
            raise ValueError(
                "credit: turns of one episode have different outcomes: those who receive different things are compared apart, "
                "with episodes, questions and plans by_team (Experience.by_team)"
            )
        self.size_Q = np.bincount(self.question_E, minlength=questions)

    def of_episode(self, column_T: Ints) -> Ints:
        """What the episodes' turns have in common, once an episode."""
        return column_T[self._first]

    def sum_Q(self, column_E: Floats) -> Floats:
        return cast(Floats, np.bincount(self.question_E, column_E, len(self.size_Q)))

    def against_others(self, family_E: Ints) -> Floats:
        return _against_others(self.outcome_E, family_E)


def _against_others(value: Floats, family: Ints) -> Floats:
    """Each value minus the mean of its family's others; 0 where it has none."""
    size = np.bincount(family)[family]
    others = np.bincount(family, value)[family] - value
    return _exact(np.where(size > 1, value - others / np.maximum(size - 1, 1), 0.0))


def _exact(difference: Floats) -> Floats:
    """Differences with 0 where only rounding is left, so that who did just as well as the others learns nothing."""
    return cast(Floats, np.where(np.abs(difference) < ROUNDING, 0.0, difference))


def _alike(**columns: ArrayLike) -> None:
    """Refuse columns of different length: one of a single entry would be read as that of all."""
    sizes = {name: np.shape(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {'x'.join(map(str, size)) or 'a single number'}" for name, size in sizes.items())
        raise ValueError(f"credit: one entry a turn is wanted in every column, found {told}")


def _floats(column: ArrayLike) -> Floats:
    return np.asarray(column, np.float64)


def _codes(column: ArrayLike, **unique: Any) -> tuple[Ints, int]:
    """A column as numbers 0, 1, ... and how many there are."""
    values, codes = np.unique(np.asarray(column), return_inverse=True, **unique)
    return codes.reshape(-1), len(values)
