"""An index folder: its manifest, and `open_index`, which makes a retriever of it. Knows nothing of how it was built.

INDEX/manifest.json     what it is and the hash of every other file; written last, so that a folder without one is unfinished
INDEX/documents.jsonl   the corpus, read passage by passage; offsets.npy says where each begins
INDEX/index.faiss, encoder.*                        dense
INDEX/words.json, starts.npy, postings.npy, weights.npy   BM25
Arrays, vectors and documents are memory-mapped, so several processes that open one folder share its memory.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from jade_env.config import Settings
from jade_env.errors import DataError
from jade_env.retrieval.bm25 import BM25Parameters, BM25Retriever
from jade_env.retrieval.corpus import DOCUMENTS, OFFSETS, DocumentStore, file_hash
from jade_env.retrieval.types import Retriever
from jade_env.retriever_settings import Bm25, Dense

FORMAT = 2
MANIFEST = "manifest.json"
VECTORS = "index.faiss"
WORDS, STARTS, POSTINGS, WEIGHTS = "words.json", "starts.npy", "postings.npy", "weights.npy"


class FileFacts(Settings):
    """A file's size and SHA-256."""

    bytes: int
    sha256: str


class CorpusFacts(Settings):
    """Which corpus an index was built from: its file, and the hash of its passages and their order."""

    name: str
    file: FileFacts
    content: str
    passages: int


class Manifest(Settings):
    """What an index folder holds."""

    format: int
    corpus: CorpusFacts
    retriever: Annotated[Bm25 | Dense, Field(discriminator="kind")]
    encoder: str | None
    """The encoder's identity."""
    dimensions: int | None
    versions: dict[str, str]
    """Libraries that built it."""
    files: dict[str, FileFacts]
    seconds: float
    """What building took, all interrupted parts together."""

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(facts.bytes for facts in self.files.values())

    @property
    def identity(self) -> str:
        """Kind, and a hash over all files: whatever answers depend on."""
        digest = hashlib.sha256(json.dumps({name: facts.sha256 for name, facts in sorted(self.files.items())}).encode())
        shown = self.retriever.index if isinstance(self.retriever, Dense) else "index"
        return f"{self.retriever.kind}({shown}):{digest.hexdigest()[:16]}"


def read_manifest(path: str | Path) -> Manifest:
    """Read what an index folder holds.

    Raises:
        DataError: there is no finished index there, or it is of another version.
    """
    folder = Path(path)
    file = folder / MANIFEST
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; make an index with jade index build CORPUS.jsonl --out {folder}")
    try:
        tree: Any = json.loads(file.read_text(encoding="utf-8"))
        found = tree["format"]
    except FileNotFoundError:
        raise DataError(
            f"{folder}: no finished index (there is no {MANIFEST}); the same jade index build goes on with one that was stopped"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); build the index anew") from error
    if found != FORMAT:
        raise DataError(f"{folder}: an index of format {found}, and this version reads format {FORMAT}; build it anew")
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise DataError(f"{file}: {place} is not as it should be; build the index anew") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file with the manifest, by size and hash.

    Raises:
        DataError: one is missing, cut short or changed.
    """
    for name, facts in manifest.files.items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != facts.bytes:
            state = "is missing" if size is None else f"has {size} bytes, not {facts.bytes}"
            raise DataError(f"{folder}: {name} {state}; build the index anew")
    for name, facts in manifest.files.items():
        if file_hash(folder / name) != facts.sha256:
            raise DataError(f"{folder}: {name} was changed or damaged after it was built; build the index anew")


def open_index(
    path: str | Path,
    *,
    search: dict[str, int] | None = None,
    device: str = "auto",
    encoder: str | None = None,
    check: bool = True,
    manifest: Manifest | None = None,
) -> Retriever:
    """Open an index made by `jade index build`; its documents and arrays stay on disk, memory-mapped.

    Args:
        path: the index folder.
        search: for approximate dense indexes, `nprobe` or `efSearch`; what it was built with if not given.
        device: `auto`, `cpu` or `cuda`, for a dense index and its encoder.
        encoder: where a neural encoder now lies, if not where it was at building.
        check: compare every file's hash first, which reads all of it once (about 1 s a GB).
        manifest: used in place of the folder's own.

    Raises:
        DataError: the folder is not a whole index of this version, or its encoder is another one.
    """
    folder = Path(path)
    manifest = manifest or read_manifest(folder)
    if check:
        check_files(folder, manifest)
    built = manifest.retriever
    documents = DocumentStore(folder)
    if len(documents) != manifest.corpus.passages:
        raise DataError(f"{folder}: {len(documents)} documents, not {manifest.corpus.passages}; build the index anew")
    if isinstance(built, Bm25):
        return _open_bm25(folder, built, documents, manifest)
    from jade_env.retrieval.dense import DenseRetriever, read_index
    from jade_env.retrieval.encoder_choice import read_encoder

    settings = built.model_copy(update={"device": device, **({"encoder": encoder} if encoder else {})})
    try:
        index = read_index(folder / VECTORS)
    except ValueError as error:
        raise DataError(f"{folder}: the index cannot be read ({error}); build it anew") from error
    wanted: dict[str, int] = {str(name): value for name, value in built.search.items()}
    return DenseRetriever(
        documents,
        index,
        read_encoder(folder, settings),
        identity=manifest.identity,
        search=wanted | (search or {}),
        device=device,
    )


def _open_bm25(folder: Path, built: Bm25, documents: DocumentStore, manifest: Manifest) -> BM25Retriever:
    try:
        words = json.loads((folder / WORDS).read_text(encoding="utf-8"))
        starts, postings, weights = (
            np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            for name in (STARTS, POSTINGS, WEIGHTS)
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: the index cannot be read ({error}); build it anew") from error
    if len(starts) != len(words) + 1 or not len(postings) == len(weights) == int(starts[-1]):
        raise DataError(f"{folder}: the files of the index do not fit each other; build it anew")
    return BM25Retriever.of_arrays(
        documents,
        BM25Parameters(built.stem, built.stopwords, built.k1, built.b),
        manifest.identity.rpartition(":")[2],
        {word: number for number, word in enumerate(words)},
        starts.tolist(),
        postings,
        weights,
    )


def index_files(kind: str) -> tuple[str, ...]:
    """The files of an index of a kind, besides the manifest; a neural encoder has no arrays."""
    own = (WORDS, STARTS, POSTINGS, WEIGHTS) if kind == "bm25" else (VECTORS, "encoder.json", "encoder.npz")
    return (DOCUMENTS, OFFSETS, *own)
