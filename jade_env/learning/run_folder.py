"""The folder of a training run: resolved configuration, metrics, TensorBoard events, sample traces, the final summary.

    config.json  metrics.jsonl  tensorboard/  checkpoints/  traces/  learning_curve.png  run.json (last: the run is done)

Knows files; knows nothing of networks, and what a record means only by its numbers.
"""

from __future__ import annotations

import jade_env.learning.requires  # noqa: F401 - first: it names the extra where a package is missing

# isort: split

import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from torch.utils.tensorboard import SummaryWriter

from jade_env.chat_recipe import CONDUCT, RemoteChatRecipe
from jade_env.config import flat, names
from jade_env.envs.source import open_source
from jade_env.errors import ConfigError, DataError
from jade_env.files import as_json, as_line, write_whole, writing
from jade_env.game.episode import Episode
from jade_env.learning import checkpoint
from jade_env.policy import REMOTE
from jade_env.policy.fingerprint import fingerprint
from jade_env.policy.team import players_of
from jade_env.recipe import load_recipe
from jade_env.scenario import Scenario

CONFIG = "config.json"
LOCK = ".lock"
METRICS, SUMMARY, PICTURE, TRACES, EVENTS = "metrics.jsonl", "run.json", "learning_curve.png", "traces", "tensorboard"
MAY_CHANGE = ("recipe.total_timesteps", "recipe.steps", "data", "versions")
"""What of the configuration a resumed run may have changed."""
_VERSIONS = (
    "jade-env", "torch", "transformers", "tokenizers", "peft", "stable-baselines3", "sb3-contrib", "benchmarl", "torchrl", "numpy",
)  # fmt: skip


class RunFolder:
    """One run's files.

    Args:
        path: the folder; made if it is not there.
        config: the resolved configuration.
        resume: goes on with what is there; else the folder must be empty.

    Raises:
        ConfigError: the run that is to be resumed was made with another configuration.
        DataError: the folder is not empty, holds no run to resume, cannot be written, or another process is at work on its run.
    """

    def __init__(self, path: Path, config: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        with writing(path):
            there = path.is_dir() and any(path.iterdir())
            if path.exists() and not path.is_dir():
                raise DataError(f"{path} is a file; a run needs a folder")
            if there and not resume:
                unused = (path / CONFIG).exists() and not any(checkpoint.saved_timesteps(path))
                hint = " (no step of it is done: it may be removed)" if unused else ""
                raise DataError(f"{path} is not empty: go on with its run by --resume, or choose another --out{hint}")
            if resume and not (path / CONFIG).exists():
                raise DataError(f"{path}: there is no run to resume here, as {CONFIG} is missing")
            path.mkdir(parents=True, exist_ok=True)
            self._lock = _taken(path)
        if resume:
            before = checkpoint.read_json(path / CONFIG)
            _compare(path / CONFIG, before, config)
            _refuse_shorter(path, before, config)
            with writing(path):
                (path / SUMMARY).unlink(missing_ok=True)
        write_whole(path / CONFIG, as_json(config))
        self.records: list[dict[str, Any]] = []
        self._events: SummaryWriter | None = None

    # ---- metrics ----------------------------------------------------------------------------------------------------

    def rewind(self, timesteps: int) -> None:
        """Drop the records after `timesteps`, and a line that was cut short; open the TensorBoard events."""
        path = self.path / METRICS
        self.records = _records(path, timesteps)
        write_whole(path, b"".join(as_line(record) for record in self.records))
        with writing(self.path / EVENTS):
            purge = timesteps + 1 if timesteps else None
            self._events = SummaryWriter(str(self.path / EVENTS), purge_step=purge)

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to the metrics and the events, whole or not at all.

        Raises:
            DataError: it cannot be written.
        """
        self.records.append(dict(record))
        path = self.path / METRICS
        with writing(path), path.open("ab", buffering=0) as file:
            before, line = file.seek(0, os.SEEK_END), as_line(record)
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(before)
                raise
        if self._events is not None:
            with writing(self.path / EVENTS):
                for name, value in _scalars(record):
                    self._events.add_scalar(name, value, int(record["timesteps"]))
                self._events.flush()

    def close(self) -> None:
        """Close the events, and leave the run to others."""
        self._lock.close()
        if self._events is not None:
            with writing(self.path / EVENTS):
                self._events.close()
            self._events = None

    # ---- what a run leaves ------------------------------------------------------------------------------------------

    def write_traces(self, timesteps: int, episodes: Sequence[Episode]) -> None:
        """Write a few episodes as JSON: every turn with what was written and what it cost."""
        with writing(self.path / TRACES):
            (self.path / TRACES).mkdir(exist_ok=True)
        content = as_json([trace_of(episode) for episode in episodes])
        write_whole(self.path / TRACES / f"{timesteps:09d}.json", content)

    def write_picture(self, content: bytes) -> Path:
        """Write the learning curve."""
        write_whole(self.path / PICTURE, content)
        return self.path / PICTURE

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write `run.json`: the run is done."""
        write_whole(self.path / SUMMARY, as_json(summary))


class Follower(RunFolder):
    """The folder for a process that helps with its run: it reads what is there, and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []

    def rewind(self, timesteps: int) -> None:
        """Read the records up to `timesteps`."""
        self.records = _records(self.path / METRICS, timesteps)

    def log(self, record: Mapping[str, Any]) -> None:
        """Remember a record."""
        self.records.append(dict(record))

    def close(self) -> None:
        """Nothing is open."""


def config_of(
    game: Scenario,
    recipe: Mapping[str, Any],
    seed: int,
    data: str | Path | None,
    agents: Sequence[str],
    learned: Sequence[str],
    **more: Any,
) -> dict[str, Any]:
    """The resolved configuration of a run: enough to play it again, and to know whether another scenario fits."""
    source = open_source(game, data)
    return {
        "scenario": game.resolved(),
        "recipe": dict(recipe),
        "seed": seed,
        "data": None if source.location is None else str(source.location),
        "files": {name: fingerprint(file.parent, file.name) for name, file in source.files("train", "dev").items()},
        "agents": list(agents),
        "learned": list(learned),
        **more,
        "versions": versions(),
    }


def partners_of(players: Iterable[str]) -> dict[str, str]:
    """What plays beside what learns, alone or in a team: of runs which checkpoint, and what it holds; of servers' models which."""
    found = {}
    for player in dict.fromkeys(player for each in players for player in players_of(each)):
        run = Path(player.removeprefix("sb3:"))
        if checkpoint.saved_timesteps(run):
            chosen = checkpoint.chosen_timesteps(run)
            holds = fingerprint(run, f"{checkpoint.FOLDER}/{chosen:09d}/{checkpoint.POLICY}")
            found[player] = f"checkpoint {chosen}, {holds}"
        elif player.startswith(f"{REMOTE}:") or player.endswith((".yaml", ".yml")) or player in names("policies"):
            recipe = load_recipe(player.removeprefix(f"{REMOTE}:"))
            if isinstance(recipe, RemoteChatRecipe):
                settings = recipe.model_dump_json(include=set(RemoteChatRecipe.model_fields) - set(CONDUCT))
                digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
                found[player] = f"{recipe.model} of {recipe.base_url}, settings {digest}"
    return found


def trace_of(episode: Episode) -> dict[str, Any]:
    """An episode as JSON."""
    return {
        "episode": episode.index,
        "question_id": episode.question.id,
        "question": episode.question.text,
        "golden_answers": list(episode.question.golden_answers),
        "answer": episode.answer,
        "f1": episode.result.scores.f1 if episode.result else 0.0,
        "net": episode.result.value if episode.result else 0.0,
        "truncated": episode.truncated,
        "turns": [
            {
                "agent": turn.agent,
                "node": list(turn.path),
                "step": turn.step,
                "output": turn.output.text,
                "valid": turn.output.valid,
                "penalty": turn.penalty,
            }
            for turn in episode.trace.played
        ],
    }


def versions() -> dict[str, str]:
    """The versions that results depend on."""
    found = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _taken(path: Path) -> IO[str]:
    """A file that no other process can open so for as long as it is open: whoever is killed leaves it free."""
    file = (path / LOCK).open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        raise DataError(f"{path}: another process is at work on this run: wait for its end") from None
    except OSError:  # a file system without locks
        pass
    return file


def _short(value: object) -> str:
    """A value as it may stand in a sentence."""
    shown = repr(value)
    return shown if len(shown) <= 120 else f"{shown[:120]} ..."


def _compare(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if "partner" in there:  # as it was written for a while, of the one partner of networks
        named = {there["recipe"]["partners"]: there["partner"]}
        there = {key: value for key, value in there.items() if key != "partner"} | {"partners": named}
    old, new = (
        {key: value for key, value in flat(tree).items() if value != {}} for tree in (there, json.loads(as_json(here)))
    )
    holds = "backbones.self.holds"
    same = ("recipe.backbone",) if holds in old and old[holds] == new.get(holds) else ()  # wherever it is now
    for key in dict.fromkeys((*old, *new)):
        unknown = key.startswith(("backbones.", "files.", "partners.")) and key not in old  # of runs begun before
        unknown = unknown or (key.startswith("backbones.") and key.endswith(".place"))
        knob = key.split(".")[1] if key.startswith("recipe.") else ""
        unknown = unknown or bool(
            knob and knob not in there.get("recipe", {}) and not new[key]
        )  # there since then, and off
        if key.startswith("files.") and not unknown and old[key] != new.get(key):
            raise ConfigError(
                f"{path}: {key.removeprefix('files.')}.jsonl has changed since the run was begun: begin a new run"
            )
        if key.startswith("partners.") and not unknown and old[key] != new.get(key):
            player = key.removeprefix("partners.")
            now = f"plays by {new[key]} now" if key in new else "is not found from here"
            raise ConfigError(
                f"{path}: the run was begun beside {old[key]}, of {player}, which {now}: "
                "begin a new run, or keep partners as they were"
            )
        if not unknown and not key.startswith((*MAY_CHANGE, *same)) and old.get(key) != new.get(key):
            raise ConfigError(
                f"{path}: {key}: the run was begun with {_short(old.get(key))} and cannot go on with {_short(new.get(key))}; "
                "only its length may change (total_timesteps, steps); another place (--out) begins a new run"
            )


def _refuse_shorter(path: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    done = (checkpoint.saved_timesteps(path) or [0])[-1]
    for key in ("steps", "total_timesteps"):
        before, now = there.get("recipe", {}).get(key), here.get("recipe", {}).get(key)
        if isinstance(before, int) and isinstance(now, int) and now < min(before, done):
            raise ConfigError(f"{path}: {key}: {done} are done already, which cannot become {now}")


def _records(path: Path, timesteps: int) -> list[dict[str, Any]]:
    with writing(path):
        lines = path.read_bytes().splitlines() if path.exists() else []
    return [record for line in lines if (record := _record(line)) and record["timesteps"] <= timesteps]


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "timesteps" in record else None


def _scalars(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    pairs = [(key.replace(".", "/"), value) for key, value in flat(record).items() if key != "timesteps"]
    return [(key, float(value)) for key, value in pairs if isinstance(value, int | float)]
