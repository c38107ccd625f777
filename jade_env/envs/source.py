"""A scenario's data, opened: the questions of each split and a cached retriever over its corpus.

Opened data is shared by every environment of a process and never travels in a pickle: it is opened again by its description.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from jade_env.config import FileState, file_state, nearest
from jade_env.errors import ConfigError, DataError
from jade_env.questions import Question
from jade_env.questions.datasets import read_corpus, read_questions
from jade_env.questions.world import World, WorldSpec, make_world
from jade_env.retrieval import Document, Retriever
from jade_env.retrieval.make import HeldCorpus, make_retriever
from jade_env.retriever_settings import RetrieverSettings
from jade_env.scenario import FileData, Scenario, WorldData

WORLD_SPLITS = ("train", "dev", "test")


class Source:
    """The data of a scenario. Everything is read or built when first asked for, once a process."""

    def __init__(
        self,
        data: WorldData | FileData,
        retriever: RetrieverSettings,
        location: str | None,
        given: Retriever | None = None,
    ) -> None:
        self._data, self._retriever, self._location, self._given = data, retriever, location, given

    @property
    def on_failure(self) -> str:
        """What a failure of the retriever means: `truncate` the episodes that wait, or `raise`."""
        return getattr(self._retriever, "on_failure", "truncate")

    def questions(self, split: str) -> Sequence[Question]:
        """The questions of a split, in file order.

        Raises:
            DataError: there is no such split, or its file is missing, empty or broken.
        """
        if isinstance(self._data, WorldData):
            return _world(self._data, split).questions
        folder = self._folder()
        return _questions(folder, split, file_state(folder / f"{split}.jsonl"))

    def documents(self, split: str) -> Sequence[Document]:
        """The corpus that a split's questions are asked over."""
        if isinstance(self._data, WorldData):
            return _world(self._data, split).documents
        return _corpus(self._folder() / "corpus.jsonl")

    @property
    def location(self) -> Path | None:
        """Where the data folder lies, from the root of the file system; None for a world."""
        if isinstance(self._data, WorldData):
            return None
        return self._base().absolute()

    def files(self, *splits: str) -> dict[str, Path]:
        """The files of the corpus and of some splits, by name; none for a world, which its description makes."""
        if isinstance(self._data, WorldData):
            return {}
        return {name: self._folder() / f"{name}.jsonl" for name in ("corpus", *splits)}

    def expected(self, split: str) -> Sequence[Document] | None:
        """The passages that a server has to search, where the scenario knows them better than the server: those of a world."""
        elsewhere = self._given is None and getattr(self._retriever, "kind", "") == "remote"
        return self.documents(split) if elsewhere and isinstance(self._data, WorldData) else None

    def retriever(self, split: str) -> Retriever:
        """A retriever over that corpus, with the scenario's settings and cache, or the one that was given."""
        if self._given is not None:
            return self._given
        if isinstance(self._data, WorldData):
            _world(self._data, split)
            return _world_retriever(self._data.model_dump_json(), self._retriever, split)
        file = self._folder() / "corpus.jsonl"
        return _file_retriever(file, self._retriever, file_state(file))

    def _folder(self) -> Path:
        assert isinstance(self._data, FileData)
        return self._base() / self._data.folder

    def _base(self) -> Path:
        """Where the data folder is found: the data location, or else the working directory."""
        assert isinstance(self._data, FileData)
        given = Path(self._data.folder)
        location = self._location or os.environ.get("JADE_DATA")
        bases = [Path(location)] if location else []
        for base in bases if self._location else (*bases, Path()):
            if (base / given).is_dir():
                return base
        if not location:
            raise DataError(
                f"no folder {given} here; say where the data is with --data DIR (data=DIR in Python) or JADE_DATA"
            )
        raise DataError(f"no folder {given} in the data location {location} (set by --data, data= or JADE_DATA)")


def open_source(scenario: Scenario, data: str | Path | None = None, retriever: Retriever | None = None) -> Source:
    """Open the data of a scenario.

    Args:
        scenario: whose.
        data: the data location; else the environment variable JADE_DATA says it.
        retriever: takes the place of the scenario's.

    Raises:
        ConfigError: it is no retriever.
    """
    if retriever is not None and (isinstance(retriever, type) or not isinstance(retriever, Retriever)):
        raise ConfigError(f"retriever: expected an object with search and identity, found {retriever!r}")
    return Source(scenario.data, scenario.retriever, str(data) if data is not None else None, retriever)


@lru_cache(maxsize=8)
def _make_world(description: str, split: str) -> World:
    data = WorldData.model_validate_json(description)
    spec = WorldSpec(
        seed=data.seed, passages=data.passages, phrasings=data.phrasings, oblique=data.oblique, lexicon=data.lexicon
    )
    if data.mixture is not None:
        spec = replace(spec, mixture=data.mixture)
    return make_world(spec, split, {"train": data.train, "dev": data.dev}.get(split, data.test))


_SYNONYMS = {"dev": ("val", "valid", "validation", "eval", "evaluation"), "test": ("testing",), "train": ("training",)}


def _world(data: WorldData, split: str) -> World:
    if not split.isidentifier():
        raise DataError(f"split {split!r} is not a name; the world's splits are {', '.join(WORLD_SPLITS)}")
    # any other name is a world of its own, such as test2 or holdout, but for what looks like a slip
    if split not in WORLD_SPLITS and split.isalpha():
        low = split.lower()
        near = get_close_matches(low, WORLD_SPLITS, 1, cutoff=0.6)
        meant = next((name for name, others in _SYNONYMS.items() if low in others), near[0] if near else "")
        if meant:
            raise DataError(f"the world has no split {split!r}; did you mean {meant!r}?")
    return _make_world(data.model_dump_json(), split)


@lru_cache(maxsize=8)
def _world_retriever(data: str, settings: RetrieverSettings, split: str) -> Retriever:
    return make_retriever(settings, HeldCorpus(_make_world(data, split).documents))


@lru_cache(maxsize=8)
def _file_retriever(file: Path, settings: RetrieverSettings, _state: FileState) -> Retriever:
    return make_retriever(settings, _FileCorpus(file))


class _FileCorpus:
    """The corpus of a data folder, read when first asked for."""

    def __init__(self, file: Path) -> None:
        self.file: Path | None = file

    @property
    def documents(self) -> Sequence[Document]:
        assert self.file is not None
        return _corpus(self.file)


def _corpus(file: Path) -> Sequence[Document]:
    return _read_corpus(file, file_state(file))


@lru_cache(maxsize=4)
def _read_corpus(file: Path, _state: FileState) -> Sequence[Document]:
    return tuple(read_corpus(file))


@lru_cache(maxsize=16)
def _questions(folder: Path, split: str, _state: FileState) -> Sequence[Question]:
    splits = sorted(path.stem for path in folder.glob("*.jsonl") if path.stem != "corpus")
    if split not in splits:
        raise DataError(
            f"{folder} has no split {split!r}; it has {', '.join(splits) or 'none'}{nearest(split, splits)}"
        )
    return tuple(read_questions(folder / f"{split}.jsonl"))
