"""The advantage of each turn by the rule of credit that a run was trained with, on episodes that were heard.

Raw: before the normalisation that a training step does over its batch. Knows rules and recipes; plays nothing.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from collections.abc import Mapping
from typing import Any

import numpy as np

from jade_env.envs.turn import TurnId
from jade_env.game.episode import Episode
from jade_env.language_recipe import GROUPED, PpoRecipe
from jade_env.learning import credit
from jade_env.learning.experience import Experience
from jade_env.learning.shares import shares
from jade_env.research.report.listener import Heard
from jade_env.research.report.run import Run

Heards = Mapping[TurnId, Heard]


def needs_groups(run: Run) -> bool:
    """Whether the run's rule compares several episodes of a question."""
    return run.learner == "ppo" and run.recipe.get("credit") in GROUPED


def why_none(run: Run) -> str:
    """Why no advantage can be told of greedy play; empty where it can."""
    if run.learner == "sft":
        return "a warm start imitates: it has no advantages"
    if run.learner == "benchmarl":
        return "this algorithm's advantages, if it has any, are over ticks and not turns: not computed here"
    if run.learner == "sb3" and (run.game.teams or run.game.reward.sharing != "team"):
        return "agents of this game earn differently: their advantages are not computed here"
    if run.learner == "ppo" and needs_groups(run):
        return f"{run.recipe['credit']} compares episodes of one question: see its sampled plays"
    if run.learner == "ppo" and (run.recipe["critic"] != "head" or run.recipe["credit"] != "episode_gae"):
        return f"{run.recipe['credit']} with a {run.recipe['critic']} critic: not computed here"
    return ""


def advantages(run: Run, episodes: Mapping[int, Episode], heard: Heards) -> dict[TurnId, float]:
    """The advantage of each turn that the run learns from; empty where `why_none` gives a reason, or nothing was scored."""
    if run.learner == "sb3" and not why_none(run):
        return _of_networks(run, episodes, heard)
    if run.learner != "ppo" or (why_none(run) and all(e.group == (1, 1) for e in episodes.values())):
        return {}
    recipe = PpoRecipe.model_validate({**run.recipe, "normalize": "none"})
    samples = {place: found.sample for place, found in heard.items() if found.sample is not None}
    experience = Experience()
    experience.add(episodes.values(), 0, samples)
    values: list[Any] | None = None
    if recipe.credit not in GROUPED:
        values = [row.sample.value for row in experience if row.sample is not None]
    found: dict[TurnId, float] = {}
    for share in shares(experience, recipe, run.learned, 1.0, values):
        row = experience[share.place]
        if share.weight:
            found[row.episode, row.path, row.step] = float(share.advantage.mean())
    return found


def _of_networks(run: Run, episodes: Mapping[int, Episode], heard: Heards) -> dict[TurnId, float]:
    """GAE over the turns of those who learn; what others earn in between goes to the learner's turn before it."""
    places: list[TurnId] = []
    rewards: list[float] = []
    for number, episode in sorted(episodes.items()):
        if episode.result is None:
            continue
        first, before = len(places), 0.0
        for turn in episode.trace.played:
            place = (number, turn.path, turn.step)
            if turn.agent in run.learned and heard[place].value is not None:
                places.append(place)
                rewards.append(turn.penalty + before)
                before = 0.0
            elif len(places) > first:
                rewards[-1] += turn.penalty
            else:
                before += turn.penalty
        if len(places) > first:
            rewards[-1] += episode.result.value
    values = np.array([heard[place].value for place in places], float)
    gamma, lam = float(run.recipe["gamma"]), float(run.recipe["gae_lambda"])
    found, _ = credit.episode_gae(rewards, values, [place[0] for place in places], gamma=gamma, lam=lam)
    return dict(zip(places, map(float, found), strict=True))
