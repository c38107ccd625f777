"""One run of a study: trained as `jade train` trains, judged as `jade eval` judges, and its rows left in its folder.

    plan.json      what it is                      training/    the run folder of `jade train`
    rows.jsonl     one line a question: done       times.json   seconds of training and judging
    failure.json   why there are no rows           log.txt      what an unforeseen failure left behind

A warm start that an arm has of its own lies in `warm_starts/SCENARIO/ARM`, trained as `jade warm-start` trains, by the first run
that needs it. Knows one arm, one scenario and one seed; which there are is `study.py`'s to say, in which order `compare.py`'s.
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

from jade_env import streams
from jade_env.envs.turn import Action, Turn
from jade_env.errors import JadeError
from jade_env.files import as_json, as_line, read, write_whole
from jade_env.game.rewards import won
from jade_env.language_recipe import OWN
from jade_env.learning.evaluation import EpisodeRow, evaluate
from jade_env.learning.start import train_recipe
from jade_env.policy import Policy
from jade_env.recipe import MarlRecipe, PpoRecipe
from jade_env.research.study import Run, Study

PLAN, TRAINING, ROWS, TIMES = "plan.json", "training", "rows.jsonl", "times.json"
FAILURE, LOG, LOCK = "failure.json", "log.txt", ".lock"
ORDER = 1
"""Seed of the order of questions, and of the draws of those who draw: the same in every run, so that all are asked alike."""

Say = Callable[[str], None]


def folder_of(out: Path, run: Run) -> Path:
    """Where a run of a study is kept."""
    return out / "runs" / run.scenario / run.arm / str(run.seed)


def attempt(
    study: Study, run: Run, out: Path, data: str | Path | None, part: Callable[[float], None], say: Say
) -> str | None:
    """Do a run, or go on with it; return the reason if it fails."""
    place = folder_of(out, run)
    with _alone(place, run.name, say):
        if (place / ROWS).exists():
            return None
        try:
            _perform(study, run, place, data, part, say)
        except Exception as error:
            known = isinstance(error, JadeError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            if not known:
                write_whole(place / LOG, traceback.format_exc().encode())
            write_whole(place / FAILURE, as_json({"reason": reason}))
            return reason
    return None


def _perform(
    study: Study, run: Run, place: Path, data: str | Path | None, part: Callable[[float], None], say: Say
) -> None:
    (place / FAILURE).unlink(missing_ok=True)
    if run.warm is not None:
        run = _warmed(
            run, warm_folder(place.parents[3], run), data, lambda done, total: part(0.4 * done / max(total, 1)), say
        )
    first = 0.4 if run.warm is not None else 0.0
    trained = _train(
        run, place / TRAINING, data, lambda done, total: part(first + (0.9 - first) * done / max(total, 1)), say
    )
    began = time.monotonic()
    lines = b"".join(as_line(row) for row in _judge(study, run, place / TRAINING, data))
    times = {"seconds_training": trained, "seconds_judging": round(time.monotonic() - began, 3)}
    write_whole(place / TIMES, as_json(times))
    write_whole(place / ROWS, lines)


def warm_folder(out: Path, run: Run) -> Path:
    """Where the warm start lies that all seeds of an arm have in common."""
    return out / "warm_starts" / run.scenario / run.arm


def _warmed(run: Run, place: Path, data: str | Path | None, progress: Callable[[int, int], None], say: Say) -> Run:
    """The run, with a backbone that has learned from a teacher; trains it where no other run has."""
    from jade_env.learning.warm_start import warm_start

    assert run.warm is not None and isinstance(run.recipe, PpoRecipe)
    folder = place / TRAINING
    with _alone(place, f"the warm start of {run.scenario}/{run.arm}", say):
        if not (place / TIMES).exists():
            resume = _begun(folder)
            name = f"{run.scenario}/{run.arm}"
            done = warm_start(
                run.game,
                run.warm,
                folder,
                run.warm_seed,
                resume=resume,
                data=data,
                progress=progress,
                notice=lambda sentence: say(f"{name}: {sentence}"),
            )
            say(f"{name}: warm start of {done.timesteps} steps in {done.seconds:.0f} s")
            write_whole(place / TIMES, as_json({"seconds_training": done.seconds}))
    return replace(run, recipe=run.recipe.model_copy(update={"backbone": str(folder / "backbone")}))


def _begun(folder: Path) -> bool:
    """Whether a training can be gone on with; what was killed before anything had begun is removed."""
    if folder.exists() and not (folder / "config.json").exists():
        shutil.rmtree(folder)
    return folder.exists()


def _train(run: Run, folder: Path, data: str | Path | None, progress: Callable[[int, int], None], say: Say) -> float:
    """Train what there is to train; return the seconds it took, stops left out."""
    if not run.train:
        return 0.0
    resume = _begun(folder)
    if resume and isinstance(run.recipe, MarlRecipe):  # such a training cannot be gone on with
        if (folder / "run.json").exists():
            return float(json.loads(read(folder / "run.json"))["seconds"])
        shutil.rmtree(folder)
        resume = False
    assert run.recipe is not None
    return train_recipe(
        run.game,
        run.recipe,
        folder,
        run.seed,
        resume=resume,
        data=data,
        progress=progress,
        notice=lambda sentence: say(f"{run.name}: {sentence}"),
    ).seconds


def _judge(study: Study, run: Run, folder: Path, data: str | Path | None) -> Iterator[dict[str, Any]]:
    """Each question of each split in each mode, as rows. A scripted arm has one way to play, which stands for all modes."""
    played: dict[str, list[EpisodeRow]] = {}
    for mode in study.modes:
        for split in study.splits:
            if not (run.scripted and split in played):
                with _one_thread(run.scripted):
                    player = _player(run, folder, data, mode == "greedy")
                    played[split] = evaluate(player, run.judged, split, study.questions, ORDER, data=data)
            for row in played[split]:
                if row.team == run.side:
                    yield _tidy(study, run, split, mode, row)


def _player(run: Run, folder: Path, data: str | Path | None, greedy: bool) -> Any:
    """Who plays a run when it is judged."""
    from jade_env.policy import MixedPolicy, make_policy

    if run.player is not None or run.train:
        player = make_policy(run.player or folder, run.game, data=data, seed=run.seed, greedy=greedy)
        return _Drawing(player, run.seed) if run.team and not (run.scripted or greedy) else player
    from jade_env.game.episode import Rules
    from jade_env.learning.language_team import backbone_of, manner_of, team_of
    from jade_env.policy.language_model import LanguageModelPolicy

    assert isinstance(run.recipe, PpoRecipe)
    team = Rules.of(run.game).agents
    model = LanguageModelPolicy(backbone_of(run.recipe, team), manner_of(run.recipe, greedy))
    return MixedPolicy(team_of(run.game, run.recipe, (), {OWN: (model, model)}, data, run.seed, greedy))


class _Drawing:
    """Plays as its policy does, with draws of its own seed: what is trained draws by the order's, which all runs have in common."""

    def __init__(self, policy: Policy, seed: int) -> None:
        self._policy, self._seed = policy, streams.bits("draws", seed)

    def act(self, turns: Sequence[Turn]) -> list[Action]:
        """Return what the policy plays."""
        own = [copy(turn) for turn in turns]
        for turn in own:
            turn.seed = self._seed
        return self._policy.act(own)


def _tidy(study: Study, run: Run, split: str, mode: str, row: EpisodeRow) -> dict[str, Any]:
    duel = {"team": row.team, "payoff": row.payoff, "won": won(row.payoff)}
    return {
        "study": study.name, "scenario": run.scenario, "arm": run.arm, "seed": run.seed, "split": split, "mode": mode,
        "question": row.question_id, "kind": row.kind, "workflow": row.workflow, "answer": row.answer,
        "f1": row.f1, "em": row.em, "cover_em": row.cover_em, "precision": row.precision, "recall": row.recall,
        "net": row.net, "return": row.return_, "rounds": row.rounds, "retrievals": row.retrievals, "turns": row.turns,
        "ticks": row.ticks, "latency": row.latency, "malformed": row.malformed, "failed": row.failed,
        "support_recall": None if math.isnan(row.support_recall) else row.support_recall,
        **(duel if row.team else {}),
        **({"payoffs": dict(row.payoffs)} if row.payoffs else {}),
    }  # fmt: skip


def curves_of(run: Run, place: Path) -> dict[str, Any] | None:
    """The learning curve of a run on its dev split, without wall times; None for one that was not trained."""
    path = place / TRAINING / "metrics.jsonl"
    if not run.train or not path.exists():
        return None
    records = [json.loads(line) for line in read(path).splitlines()]
    points = {record["timesteps"]: record["dev"] for record in records if "dev" in record}
    shown = ("f1", "net") if run.game.reward == run.judged.reward else ("f1",)  # net means the same in all curves
    return {
        "scenario": run.scenario,
        "arm": run.arm,
        "seed": run.seed,
        "unit": "steps" if isinstance(run.recipe, PpoRecipe) else "turns",
        "points": [{"timesteps": at, **{name: dev[name] for name in shown}} for at, dev in sorted(points.items())],
    }


@contextmanager
def _one_thread(light: bool) -> Iterator[None]:
    """One thread of the tensor library, as sums may depend on their number; `light` players need no such library."""
    if light:
        yield
        return
    from jade_env.learning.session import reproducible

    with reproducible(1):
        yield


def failure_of(place: Path) -> str | None:
    """Why a run failed; None where it did not."""
    path = place / FAILURE
    return str(json.loads(read(path))["reason"]) if path.exists() else None


@contextmanager
def _alone(place: Path, name: str, say: Say) -> Iterator[None]:
    """Wait until no other process is at work on a run, such as one that outlived the comparison that started it."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is at work on it; waiting for its end")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
