"""Builds an index folder from a corpus file: streamed, resumable, verified. Knows no command line.

Stages: the corpus is copied passage by passage (`documents`), counted or encoded in parts that survive a kill (`words`,
`vectors`), put together (`index`) and verified; the manifest is written last. Unfinished work lies in OUT/.build.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from jade_env.errors import ConfigError, DataError
from jade_env.questions.datasets import read_corpus
from jade_env.questions.jsonl import written_whole
from jade_env.retrieval.corpus import DOCUMENTS, OFFSETS, DocumentStore, file_hash, write_documents
from jade_env.retrieval.encoder_choice import make_encoder, read_encoder
from jade_env.retrieval.encoders import CARD, Encoder
from jade_env.retrieval.folder import (
    FORMAT,
    MANIFEST,
    VECTORS,
    CorpusFacts,
    FileFacts,
    Manifest,
    index_files,
    open_index,
    read_manifest,
)
from jade_env.retriever_settings import EMBEDDED, Bm25, Dense

Progress = Callable[[str, int, int | None], None]
"""Called with the stage, how many passages are done, and of how many if that is known."""

LEAST_MEMORY = 1 << 30
_OWN_MEMORY = 1 << 29  # the process and its libraries, before any data
_WORK = ".build"
_READ = "documents.json"  # in it: the corpus has been read to its end
_LIBRARIES = (
    "jade-env",
    "numpy",
    "bm25s",
    "PyStemmer",
    "faiss-cpu",
    "faiss-gpu",
    "scikit-learn",
    "torch",
    "transformers",
)


def build_index(
    corpus: str | Path,
    settings: Bm25 | Dense,
    out: str | Path,
    *,
    memory: int = 4 << 30,
    progress: Progress | None = None,
) -> Manifest:
    """Build an index folder, or go on where a build that was stopped left off; one that is there already is left alone.

    Args:
        corpus: JSON lines, as `read_corpus` reads them.
        settings: which index; `top_k` and `cache` are not used.
        out: the folder of the index.
        memory: bytes that building may take.
        progress: told how far it is.

    Raises:
        DataError: the corpus cannot be read or has changed meanwhile, or the folder holds something else.
        ConfigError: FAISS has no such index, there is no such encoder, or the index does not fit the memory.
    """
    path, folder = Path(corpus), Path(out)
    if memory < LEAST_MEMORY:
        raise ConfigError(f"memory is {memory / 2**30:.2f} GB; building takes at least 1 GB")
    if isinstance(settings, Dense):
        settings = _settled(settings)
    corpus_file = FileFacts(bytes=path.stat().st_size if path.is_file() else 0, sha256=file_hash(path))
    plan = {"format": FORMAT, "corpus": corpus_file.model_dump(), "settings": _what_matters(settings)}
    if (folder / MANIFEST).exists():
        manifest = _same(folder, plan)
        shutil.rmtree(folder / _WORK, ignore_errors=True)  # left by a kill after the last step
        return manifest
    fresh = not folder.exists()
    try:
        with _workplace(folder, plan) as work:
            build = _Build(path, corpus_file, settings, folder, work, memory - _OWN_MEMORY, progress or _quiet)
            manifest = build.run()
            with written_whole(folder / MANIFEST) as (file,):
                file.write(manifest.model_dump_json(indent=1).encode())
    except ConfigError:
        if fresh:  # nothing of it would serve other settings
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {error.strerror or error}; the same command goes on") from error
    shutil.rmtree(folder / _WORK, ignore_errors=True)
    return manifest


class _Build:
    """One call of `build_index` at work."""

    def __init__(
        self,
        corpus: Path,
        corpus_file: FileFacts,
        settings: Bm25 | Dense,
        out: Path,
        work: Path,
        memory: int,
        progress: Progress,
    ) -> None:
        self.corpus, self.corpus_file, self.settings, self.out, self.work = corpus, corpus_file, settings, out, work
        self.memory, self.progress = memory, progress
        self.clock = _Clock(work / "seconds.json")

    def run(self) -> Manifest:
        """Go through the stages and return the manifest."""
        ready = self._early() if isinstance(self.settings, Dense) else None
        content = self._documents()
        store = DocumentStore(self.out)
        if isinstance(self.settings, Dense):
            encoder = self._dense(self.settings, store, ready)
            facts: tuple[str | None, int | None] = (encoder.identity, encoder.dimensions)
        else:
            from jade_env.retrieval.bm25_build import build_bm25

            build_bm25(self.settings, store, self.work, self.out, self.memory, self._told("words", len(store)))
            facts = (None, None)
        return self._verified(content, *facts)

    def _early(self) -> Encoder | None:
        """Refuse what cannot work before the corpus is read; return the encoder if it needs no fitting."""
        from jade_env.retrieval.dense import make_index

        assert isinstance(self.settings, Dense)
        encoder = None if self.settings.encoder == EMBEDDED else make_encoder(self.settings, ())
        make_index(
            self.settings.index, encoder.dimensions if encoder else self.settings.dimensions, self.settings.metric
        )
        return encoder

    def _documents(self) -> str:
        """Copy the corpus, unless that is done, and return its content hash."""
        done = self.work / _READ
        if done.exists() and all((self.out / name).exists() for name in (DOCUMENTS, OFFSETS)):
            return str(json.loads(done.read_text(encoding="utf-8"))["content"])
        count, content = write_documents(read_corpus(self.corpus), self.out, self._told("documents", None))
        _write_json(done, {"passages": count, "content": content})
        self.clock.save()
        return content

    def _dense(self, settings: Dense, store: DocumentStore, encoder: Encoder | None) -> Encoder:
        from jade_env.retrieval.dense_build import build_dense, encode, plan_index

        dimensions = encoder.dimensions if encoder else settings.dimensions
        index = plan_index(settings, dimensions, len(store), self.memory)
        if (self.out / CARD).exists():
            encoder = read_encoder(self.out, settings)
        else:
            encoder = encoder or make_encoder(settings, store)
            self._save(encoder)
        encode(encoder, store, self.work, self._told("vectors", len(store)))
        if not (self.out / VECTORS).exists():
            build_dense(index, settings.index, len(store), self.work, self.out, self._told("index", len(store)))
        return encoder

    def _save(self, encoder: Encoder) -> None:
        """Save the encoder, its card last, because that says that it is whole."""
        with tempfile.TemporaryDirectory(dir=self.work) as draft:
            encoder.save(Path(draft))
            for file in sorted(Path(draft).iterdir(), key=lambda file: file.name == CARD):
                file.replace(self.out / file.name)
        self.clock.save()

    def _verified(self, content: str, encoder: str | None, dimensions: int | None) -> Manifest:
        """Write down what was built, and check that it opens, is complete and belongs to the corpus as it is now."""
        self.progress("checking", 0, None)
        if file_hash(self.corpus) != self.corpus_file.sha256:
            raise DataError(f"{self.corpus}: changed while the index was built; remove {self.out} and build anew")
        names = [name for name in index_files(self.settings.kind) if (self.out / name).exists()]
        files = {
            name: FileFacts(bytes=(self.out / name).stat().st_size, sha256=file_hash(self.out / name)) for name in names
        }
        count = len(DocumentStore(self.out))
        manifest = Manifest(
            format=FORMAT,
            corpus=CorpusFacts(name=self.corpus.name, file=self.corpus_file, content=content, passages=count),
            retriever=self.settings,
            encoder=encoder,
            dimensions=dimensions,
            versions=_versions(),
            files=files,
            seconds=round(self.clock.seconds(), 2),
        )
        check_whole(self.out, manifest)
        return manifest

    def _told(self, stage: str, total: int | None) -> Callable[[int], None]:
        def tell(done: int) -> None:
            self.clock.save()
            self.progress(stage, done, total)

        return tell


class _Clock:
    """Seconds that building took, over all its interrupted parts."""

    def __init__(self, file: Path) -> None:
        self._file, self._saved = file, 0.0
        self._before = float(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else 0.0
        self._start = time.monotonic()

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def save(self) -> None:
        """Write it down, once a second at most."""
        if time.monotonic() - self._saved > 1:
            self._saved = time.monotonic()
            _write_json(self._file, self.seconds())


def check_whole(folder: Path, manifest: Manifest) -> None:
    """Open what was built as a user will, before the manifest says that it is finished, and ask it something.

    Raises:
        DataError: it does not open.
    """
    retriever = open_index(folder, device="cpu", check=False, manifest=manifest)
    document = DocumentStore(folder)[manifest.corpus.passages // 2]
    query = f"{document.title} {document.text}"[:300]
    retriever.search([query], 1)


def _settled(settings: Dense) -> Dense:
    """The settings with an encoder's folder by its full path, so that the index works from everywhere."""
    if settings.path is not None:
        raise ConfigError("path names an index that is built already; leave it out to build one")
    place = Path(settings.encoder)
    return settings.model_copy(update={"encoder": str(place.resolve())}) if place.is_dir() else settings


def _what_matters(settings: Bm25 | Dense) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"top_k", "cache", "device", "search"})


def _same(folder: Path, plan: dict[str, Any]) -> Manifest:
    """The manifest of a finished index that is the one asked for."""
    manifest = read_manifest(folder)
    if manifest.corpus.file.model_dump() != plan["corpus"]:
        raise DataError(f"{folder}: holds the index of another corpus ({manifest.corpus.name}); give another --out")
    if _what_matters(manifest.retriever) != plan["settings"]:
        raise DataError(f"{folder}: holds an index of this corpus with other settings; give another --out")
    return manifest


@contextmanager
def _workplace(folder: Path, plan: dict[str, Any]) -> Iterator[Path]:
    """The folder of unfinished work, ours alone, and of the same plan as before.

    Raises:
        DataError: somebody else is at work there, or the folder holds something else.
    """
    work = folder / _WORK
    if folder.exists() and not work.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder}: holds other files; give --out a new folder")
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{folder}: another build is at work there; wait for it, or give another --out") from None
        for left in (*folder.glob(".*.part"), *work.glob(".*.part")):
            left.unlink()
        file = work / "plan.json"
        if (
            not file.exists() or not (work / _READ).exists()
        ):  # nothing is kept of a corpus that has not been read to its end
            _write_json(file, plan)
        elif json.loads(file.read_text(encoding="utf-8")) != plan:
            raise DataError(
                f"{folder}: holds an unfinished index of another corpus or with other settings; give another --out, "
                "or remove the folder"
            )
        yield work


def _versions() -> dict[str, str]:
    found = {}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _write_json(path: Path, value: Any) -> None:
    with written_whole(path) as (file,):
        file.write(json.dumps(value).encode())


def _quiet(stage: str, done: int, total: int | None) -> None:
    """Progress that nobody watches."""
