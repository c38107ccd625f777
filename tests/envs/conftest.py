"""Scenarios to play in tests: all shipped ones, the worlds small, the file-based ones over a world written to JSONL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jade_env.config import names
from jade_env.questions.datasets import write_corpus, write_questions
from jade_env.questions.world import WorldSpec, make_world
from jade_env.scenario import FileData, Mode, Scenario, load_scenario

SMALL = {"data.passages": 300, "data.train": 60, "data.dev": 30, "data.test": 30}
SCENARIOS = names("scenarios")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data location in which every file-based scenario finds a small corpus and questions."""
    location = tmp_path_factory.mktemp("data")
    world = make_world(WorldSpec(seed=3, passages=300), "train", 60)
    for name in SCENARIOS:
        data = load_scenario(name).data
        if isinstance(data, FileData):
            (location / data.folder).mkdir()
            write_corpus(location / data.folder / "corpus.jsonl", world.documents)
            for split in ("train", "dev"):
                write_questions(location / data.folder / f"{split}.jsonl", world.questions)
    return location


@pytest.fixture(scope="session")
def arguments(data_folder: Path) -> Callable[..., dict[str, Any]]:
    """Keyword arguments with which any environment of a shipped scenario can be made quickly."""

    def make(name: str, mode: Mode | None = None, **more: Any) -> dict[str, Any]:
        on_files = isinstance(load_scenario(name).data, FileData)
        return {
            "scenario": name,
            "mode": mode,
            "data": data_folder if on_files else None,
            "overrides": {**({} if on_files else SMALL), **more},
        }

    return make


@pytest.fixture(scope="session")
def small() -> Scenario:
    """The cooperative scenario on a small world."""
    return load_scenario("cooperative", SMALL)
