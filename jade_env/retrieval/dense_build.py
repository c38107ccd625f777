"""A FAISS index made from a corpus on disk: passages encoded in shards that a killed build keeps, then trained and added.

Knows encoders by their protocol. A shard is one file, written whole; which passages it holds depends on its number only, so a
build that was killed ends with the same vectors as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jade_env.errors import ConfigError, DataError
from jade_env.questions.jsonl import written_whole
from jade_env.retrieval.corpus import DocumentStore
from jade_env.retrieval.dense import (
    add_vectors,
    bytes_a_passage,
    check_clusters,
    clusters_of,
    make_index,
    train_index,
    write_index,
)
from jade_env.retrieval.encoders import Encoder, Vectors
from jade_env.retrieval.folder import VECTORS
from jade_env.retriever_settings import Dense

if TYPE_CHECKING:
    import faiss

SHARD = 4096
"""Passages in a shard, the most that are encoded twice because of a kill."""
_BATCH_BYTES = 32 << 20
_TRAIN_ON = 65_536
_TRAIN_ON_A_CLUSTER = 48

Progress = Callable[[int], None]


def plan_index(settings: Dense, dimensions: int, passages: int, memory: int) -> faiss.Index:
    """Make the empty index, after checking that it suits the corpus and the memory.

    Raises:
        ConfigError: FAISS knows no such index, it has more clusters than there are passages, or it takes too much memory.
    """
    index = make_index(settings.index, dimensions, settings.metric)
    check_clusters(index, passages, settings.index)
    needed = bytes_a_passage(index) * passages + _sample_size(index, passages) * dimensions * 12
    if needed > memory:
        raise ConfigError(
            f"retriever.index: {settings.index} over {passages:,} passages of length {dimensions} takes about "
            f"{needed / 2**30:.1f} GB while it is built, and {memory / 2**30:.1f} GB of --memory are left for it; allow more "
            "memory, or take a smaller index such as IVF4096,PQ64"
        )
    return index


def encode(encoder: Encoder, store: DocumentStore, work: Path, progress: Progress) -> None:
    """Encode every passage that no whole shard in `work` holds yet.

    Raises:
        DataError: the encoder gave a vector that is not finite.
    """
    for start in range(0, len(store), SHARD):
        end = min(len(store), start + SHARD)
        path = work / f"vectors-{start // SHARD:06}.npy"
        if not _is_whole(path, end - start, encoder.dimensions):
            vectors = np.empty((end - start, encoder.dimensions), dtype=np.float32)
            filled = 0
            for documents in store.batches(start, end, 1024, _BATCH_BYTES):
                vectors[filled : filled + len(documents)] = encoder.passages(documents)
                filled += len(documents)
                progress(start + filled)
            wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(wrong):
                name = store[start + int(wrong[0])].id
                raise DataError(f"the encoder gave numbers that are not finite for passage {name!r}; try dtype=fp32")
            with written_whole(path) as (file,):
                np.save(file, vectors)
        progress(end)


def build_dense(index: faiss.Index, factory: str, passages: int, work: Path, out: Path, progress: Progress) -> None:
    """Train the index on a sample of the shards' vectors, add all of them and write it into `out`."""
    if not index.is_trained:
        size = _sample_size(index, passages)
        train_index(index, _sample(work, passages, size), factory)

    def shards() -> Iterator[Vectors]:
        done = 0
        for path in _shards(work):
            vectors: Vectors = np.load(path, allow_pickle=False)
            yield vectors
            done += len(vectors)
            progress(done)

    add_vectors(index, shards())
    draft = out / f".{VECTORS}.part"
    write_index(index, draft)
    draft.replace(out / VECTORS)


def _sample_size(index: faiss.Index, passages: int) -> int:
    return 0 if index.is_trained else min(passages, max(_TRAIN_ON, _TRAIN_ON_A_CLUSTER * clusters_of(index)))


def _sample(work: Path, passages: int, size: int) -> Vectors:
    """Draw vectors from all shards, the same ones every time."""
    drawn = np.sort(np.random.default_rng(0).choice(passages, size, replace=False))
    parts, start = [], 0
    for path in _shards(work):
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        here = drawn[(drawn >= start) & (drawn < start + len(vectors))] - start
        parts.append(np.asarray(vectors[here]))
        start += len(vectors)
    return np.concatenate(parts)


def _shards(work: Path) -> list[Path]:
    return sorted(work.glob("vectors-*.npy"))


def _is_whole(path: Path, rows: int, dimensions: int) -> bool:
    try:
        return bool(np.load(path, mmap_mode="r", allow_pickle=False).shape == (rows, dimensions))
    except (OSError, ValueError):
        return False
