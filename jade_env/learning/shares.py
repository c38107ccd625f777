"""From experience to what PPO learns from: values, credit, normalisation and the coefficients of each role's turns.

Knows a recipe's knobs and the rules of `credit`; knows no model and no optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jade_env.language_recipe import DEFAULT, GROUPED, SUB_PLANNER, KlSettings, PpoRecipe
from jade_env.learning import credit
from jade_env.learning.experience import Experience, Transition
from jade_env.policy.sampling import Sample

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """What one turn is learned from.

    Attributes:
        place: of the turn in the experience.
        sample: its tokens.
        role: who wrote them, whatever the team.
        part: `planner`, `sub_planner` or the executor's name, each with its team's before it in a duel.
        advantage: one number a token.
        return_: what the critic should have said, one number, or one a token.
        value: what it said.
        weight, entropy, kl: its coefficients in the loss; weight 0 for agents that do not learn.
    """

    place: int
    sample: Sample
    role: str
    part: str
    advantage: NDArray[np.float32]
    return_: Any
    value: Any
    weight: float
    entropy: float
    kl: float

    @property
    def teaches(self) -> bool:
        """Whether the policy's loss depends on the turn at all."""
        return bool(self.weight and (self.kl or self.entropy or self.advantage.any()))


def part_of(row: Transition) -> str:
    """The agent, but plans of sub-questions are a part of their own, each side's."""
    return sub_planner(row.agent, row.role) if row.kind == "workflow" and row.path else row.agent


def sub_planner(agent: str, role: str) -> str:
    """What a planner is called where it plans a sub-question: `sub_planner`, with its team's name before it where it has one."""
    return agent.removesuffix(role) + SUB_PLANNER


def knob(table: Mapping[str, Any], row: Transition, unsaid: float = 0.0) -> Any:
    """What a table by agent, role or team says of a turn; the closest name counts, and `unsaid` where it has none."""
    below = (SUB_PLANNER,) if (part := part_of(row)) != row.agent else ()
    for key in (part, *below, row.agent, row.role, row.team, DEFAULT):
        if key in table:
            return table[key]
    return unsaid


def kl_now(settings: KlSettings, progress: float) -> float:
    """The coefficient at a share of the training done."""
    done = min(1.0, progress / settings.until) if settings.until else 1.0
    if settings.start and settings.end:
        return float(settings.start ** (1 - done) * settings.end**done)
    return settings.start + (settings.end - settings.start) * done


def shares(
    experience: Experience,
    recipe: PpoRecipe,
    learned: Sequence[str],
    progress: float,
    values: Sequence[Any] | None = None,
) -> list[Share]:
    """What each sampled turn is learned from, in the order of the experience.

    Args:
        experience: the episodes of one step.
        recipe: its `credit`, `normalize`, `loss_weights`, `entropy` and `kl` are obeyed.
        learned: agents that learn.
        progress: share of the training done, for schedules.
        values: the critic's, one of each turn that has tokens: a number, or one a token for `broadcast`. Turns of which it
            says nothing, None, are not learned from.
    """
    rows = list(experience)
    sampled = [place for place, row in enumerate(rows) if row.sample is not None]
    told = zip(sampled, values or [0.0] * len(sampled), strict=True)
    given = {place: value for place, value in told if value is not None}
    sampled = list(given)
    if not sampled:
        return []
    advantage, returns = (
        _broadcast(experience, rows, sampled, given, recipe)
        if recipe.credit == "broadcast"
        else _by_turn(experience, rows, sampled, given, recipe)
    )
    weight = np.array([float(knob(recipe.loss_weights, rows[p], 1.0)) * (rows[p].agent in learned) for p in sampled])
    advantage = _normalized(advantage, [rows[place] for place in sampled], weight, recipe)
    found = []
    for place, own, return_, w in zip(sampled, advantage, returns, weight, strict=True):
        row = rows[place]
        assert row.sample is not None
        found.append(
            Share(
                place=place,
                sample=row.sample,
                role=row.role,
                part=part_of(row),
                advantage=np.broadcast_to(np.asarray(own, np.float32), (len(row.sample.output),)),
                return_=return_,
                value=given[place],
                weight=float(w),
                entropy=float(knob(recipe.entropy, row)),
                kl=kl_now(settings, progress) if isinstance(settings := knob(recipe.kl, row), KlSettings) else 0.0,
            )
        )
    return found


def _by_turn(
    experience: Experience,
    rows: Sequence[Transition],
    sampled: Sequence[int],
    given: Mapping[int, Any],
    recipe: PpoRecipe,
) -> tuple[list[Any], list[Any]]:
    """One advantage a turn. A plan that several executions share learns from the mean of what it brought to each."""
    column = experience.column
    root = np.array([row.planning_root for row in rows])
    outcome, penalty = column("outcome"), column("penalty")
    episode, question, plan = (experience.by_team(name) for name in ("episode", "question", "plan"))
    returns = outcome
    if recipe.credit == "episode_gae":
        plan_value = {plan[place]: given[place] for place in sampled if root[place]}
        said = [given.get(p, plan_value.get(plan[p]) if root[p] else None) for p in range(len(rows))]
        valued = np.array([word is not None for word in said])
        reward = _to_those_valued(column("reward"), valued, episode)
        advantage, returns = np.zeros(len(rows)), np.zeros(len(rows))
        value = np.array([word for word in said if word is not None], float)
        advantage[valued], returns[valued] = credit.episode_gae(
            reward[valued], value, episode[valued], gamma=recipe.gamma, lam=recipe.gae_lambda
        )
    elif recipe.credit == "group":
        advantage = credit.group(outcome, penalty, episode, question)
    elif recipe.credit == "leave_one_out":
        advantage = credit.leave_one_out(outcome, penalty, episode, question)
    else:
        advantage = credit.tied_group(outcome, penalty, episode, question, plan, root)
    advantage, returns = _mean_by_plan(advantage, plan, root), _mean_by_plan(returns, plan, root)
    return [float(advantage[place]) for place in sampled], [float(returns[place]) for place in sampled]


def _to_those_valued(reward: Floats, valued: NDArray[np.bool_], sequence: NDArray[Any]) -> Floats:
    """Rewards, those of turns without a value given to the last turn before them in their sequence that has one.

    To a critic such a turn, of a script or of a model that does not learn, is part of what the turn before it led to.
    """
    order = np.argsort(sequence, kind="stable")
    before = np.maximum.accumulate(np.where(valued[order], np.arange(len(order)), -1))
    kept = (before >= 0) & (sequence[order[before]] == sequence[order])
    moved = np.zeros(len(reward))
    np.add.at(moved, order[before[kept]], reward[order[kept]])
    return moved


def _mean_by_plan(values: Floats, plan: NDArray[Any], root: NDArray[np.bool_]) -> Floats:
    """Values, those of root plans replaced by the mean over the plan's executions."""
    _, codes = np.unique(plan, return_inverse=True)
    total, count = np.bincount(codes[root], values[root]), np.bincount(codes[root])
    found = np.array(values, float)
    found[root] = (total / np.maximum(count, 1))[codes[root]]
    return found


def _broadcast(
    experience: Experience,
    rows: Sequence[Transition],
    sampled: Sequence[int],
    given: Mapping[int, Any],
    recipe: PpoRecipe,
) -> tuple[list[Any], list[Any]]:
    """One advantage a token. A plan that several executions share learns from the mean of what it brought to each."""
    root, plan = np.array([row.planning_root for row in rows]), experience.by_team("plan")
    outcome, penalty = (_mean_by_plan(experience.column(name), plan, root)[sampled] for name in ("outcome", "penalty"))
    length = np.array([len(sample.output) for place in sampled if (sample := rows[place].sample)])
    value = np.concatenate([np.asarray(given[place], float) for place in sampled])
    flat, returns = credit.broadcast(outcome, penalty, value, length, gamma=recipe.gamma, lam=recipe.gae_lambda)
    cuts = np.cumsum(length)[:-1]
    return list(np.split(flat, cuts)), list(np.split(returns.astype(np.float32), cuts))


def _normalized(advantage: list[Any], rows: Sequence[Transition], weight: Floats, recipe: PpoRecipe) -> list[Any]:
    """Scaled, and without a baseline of the rule's own centred, within each family of turns."""
    how = recipe.normalize
    if how == "none":
        return advantage
    length = np.array([np.size(own) for own in advantage])
    _, part = np.unique(np.array([_family(row, how) for row in rows]), return_inverse=True)
    learning = (weight > 0).astype(float)
    flat = credit.normalize(
        np.concatenate([np.atleast_1d(own) for own in advantage]),
        np.repeat(part, length),
        np.repeat(learning, length),
        center=recipe.credit not in GROUPED,
    )
    return list(np.split(flat, np.cumsum(length)[:-1]))


def _family(row: Transition, how: str) -> str:
    """Which turns a turn's advantage is normalised with: always of those who receive the same."""
    if how == "all":
        return f"{row.team}:"
    return f"{row.team}:{part_of(row) if how == 'per_role' or row.kind == 'workflow' else 'executors'}"
