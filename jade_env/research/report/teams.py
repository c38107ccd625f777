"""Who plays in a report: the team that a run has trained, the one that it began with, and their rival. Knows run folders."""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

from pathlib import Path
from typing import cast

from jade_env.learning import checkpoint
from jade_env.learning.player import load_policy
from jade_env.policy import MixedPolicy, Policy, make_policy
from jade_env.policy.mixed import DEFAULT
from jade_env.recipe import PAST
from jade_env.research.report.run import Run


def trained_team(run: Run, data: str | Path | None, *, greedy: bool = True) -> Policy:
    """The team at the run's best checkpoint, or at its last where none is the best; in a duel with its rival.

    Raises:
        ConfigError, DataError: the run cannot be played, or has no checkpoint.
    """
    return _with_rival(run, make_policy(run.folder, run.game, data=data, seed=run.seed, greedy=greedy), data)


def first_team(run: Run, data: str | Path | None) -> Policy:
    """The team as the training began: the recipe's backbone with nothing learned, or the networks that the seed makes.

    Raises:
        ConfigError, DataError: the backbone cannot be loaded, or the partners cannot play.
    """
    return _with_rival(run, _first(run, data), data)


def _with_rival(run: Run, policy: Policy, data: str | Path | None) -> Policy:
    """Whoever learned plays by `policy`; the others as in training, and not by what was learned for the other side.

    Of the past selves the first one plays all games, drawing its actions as in training.
    """
    if not run.rival:
        return policy
    if run.learner != "sb3":
        rival = _first(run, data)
    elif run.recipe["partners"] == PAST:
        rival = _first(run, data, greedy=False)
    else:
        rival = make_policy(run.recipe["partners"], run.game, data=data, seed=run.seed)
    return cast(Policy, MixedPolicy({DEFAULT: rival} | dict.fromkeys(run.learned, policy)))


def _first(run: Run, data: str | Path | None, *, greedy: bool = True) -> Policy:
    if run.networks:
        return load_policy(run.folder, run.game, greedy=greedy, which="first", data=data, seed=run.seed)
    from jade_env.learning.language_player import load_language_policy

    return load_language_policy(run.folder, run.game, greedy=greedy, which="first")


def checkpoint_played(run: Run) -> int | None:
    """Which checkpoint `trained_team` plays."""
    saved, best = checkpoint.saved_timesteps(run.folder), checkpoint.best_timesteps(run.folder)
    return best if best is not None else (saved[-1] if saved else None)
