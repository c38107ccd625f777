"""From a scenario's retriever settings to a retriever over its corpus. Knows every kind; opens each only where it is asked for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from jade_env.errors import ConfigError, DataError
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.cache import CachedRetriever
from jade_env.retrieval.corpus import content_hash, file_hash
from jade_env.retrieval.hybrid import HybridRetriever
from jade_env.retrieval.index import IndexStore
from jade_env.retrieval.types import Document, Retriever
from jade_env.retriever_settings import Bm25, Dense, Hybrid, Remote

_VECTORS = "index.faiss"


class Corpus(Protocol):
    """The passages a retriever searches, read when first asked for: a remote retriever never asks."""

    @property
    def documents(self) -> Sequence[Document]:
        """All passages, in the order that settles ties."""
        ...

    @property
    def file(self) -> Path | None:
        """The file they come from; None where they were made up."""
        ...


@dataclass(frozen=True)
class HeldCorpus:
    """Passages in memory."""

    documents: Sequence[Document]
    file: Path | None = None


def make_retriever(settings: Bm25 | Dense | Hybrid | Remote, corpus: Corpus) -> Retriever:
    """Make the retriever that the settings describe, with its cache.

    Raises:
        ConfigError: settings that cannot work, such as an index that FAISS does not know.
        DataError: the corpus cannot be read, or the built index is not of this corpus.
        MissingExtra: a package it needs is not installed.
    """
    retriever = _bare(settings, corpus)
    return CachedRetriever(retriever, capacity=settings.cache) if settings.cache else retriever


def _bare(settings: Bm25 | Dense | Hybrid | Remote, corpus: Corpus) -> Retriever:
    if isinstance(settings, Bm25):
        # A file's index is kept on disk; that of a made-up world is made as quickly as it is read.
        build = BM25Retriever.cached if corpus.file else BM25Retriever
        return build(corpus.documents, stem=settings.stem, stopwords=settings.stopwords, k1=settings.k1, b=settings.b)
    if isinstance(settings, Dense):
        return _built(settings, corpus) if settings.path else _dense(settings, corpus.documents)
    if isinstance(settings, Hybrid):
        return HybridRetriever(
            [_bare(part, corpus) for part in settings.of],
            fusion=settings.fusion,
            weights=settings.weights,
            rrf_k=settings.rrf_k,
            depth=settings.depth,
        )
    return _remote(settings)


def _built(settings: Dense, corpus: Corpus) -> Retriever:
    """Open an index built by `jade index build`, if it is of this corpus."""
    from jade_env.retrieval.folder import open_index, read_manifest
    from jade_env.retriever_settings import EMBEDDED

    assert settings.path is not None
    manifest = read_manifest(settings.path)
    if not isinstance(manifest.retriever, Dense):
        raise ConfigError(f"retriever.path: {settings.path} is an index of {manifest.retriever.kind}, not a dense one")
    of_this_file = corpus.file is not None and file_hash(corpus.file) == manifest.corpus.file.sha256
    if not of_this_file and content_hash(corpus.documents) != manifest.corpus.content:
        raise DataError(
            f"{settings.path}: was built from another corpus ({manifest.corpus.name}, {manifest.corpus.passages} passages); "
            "build one from this scenario's corpus with jade index build"
        )
    encoder = None if settings.encoder == EMBEDDED else settings.encoder
    search: dict[str, int] = {str(name): value for name, value in settings.search.items()}
    return open_index(settings.path, search=search, device=settings.device, encoder=encoder)


def _dense(settings: Dense, documents: Sequence[Document]) -> Retriever:
    """A dense index of documents in memory, built once for their content and kept in the index store."""
    from jade_env.retrieval.dense import (
        DenseRetriever,
        add_vectors,
        check_clusters,
        faiss_version,
        make_index,
        read_index,
        train_index,
        write_index,
    )
    from jade_env.retrieval.encoder_choice import make_encoder, read_encoder
    from jade_env.retrieval.encoders import TfidfSvd
    from jade_env.retriever_settings import EMBEDDED

    fitted = settings.encoder == EMBEDDED
    encoder = None if fitted else make_encoder(settings, ())
    index = make_index(settings.index, encoder.dimensions if encoder else settings.dimensions, settings.metric)
    check_clusters(index, len(documents), settings.index)
    facts = {
        "format": 1,
        "index": settings.index,
        "metric": settings.metric,
        "encoder": encoder.identity
        if encoder
        else [EMBEDDED, TfidfSvd.VERSION, settings.dimensions, settings.normalize],
        "faiss": faiss_version(),
        "scikit-learn": version("scikit-learn") if fitted else None,
    }
    content = content_hash(documents, json.dumps(facts))
    name = f"dense({settings.index},{settings.metric}):{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    store = IndexStore()
    kept = store.load(
        "dense",
        content,
        lambda folder: (read_index(folder / _VECTORS), encoder or read_encoder(folder, settings)),
    )
    if kept is None:
        encoder = encoder or make_encoder(settings, documents)
        vectors = encoder.passages(documents)
        train_index(index, vectors, settings.index)
        add_vectors(index, [vectors])
        made = encoder

        def write(folder: Path) -> None:
            write_index(index, folder / _VECTORS)
            made.save(folder)

        store.save("dense", content, write)
        kept = index, made
    search: dict[str, int] = {str(key): value for key, value in settings.search.items()}
    return DenseRetriever(documents, kept[0], kept[1], identity=name, search=search, device=settings.device)


def _remote(settings: Remote) -> Retriever:
    from jade_env.retrieval.remote import RemoteRetriever

    token = None
    if settings.token_env is not None:
        token = os.environ.get(settings.token_env)
        if not token:
            raise ConfigError(f"retriever.token_env: the environment variable {settings.token_env} is not set")
    retriever: Retriever = RemoteRetriever(
        settings.urls,
        protocol=settings.protocol,
        timeout=settings.timeout,
        retries=settings.retries,
        concurrency=settings.concurrency,
        batch=settings.batch,
        max_response_mb=settings.max_response_mb,
        token=token,
    )
    return retriever
