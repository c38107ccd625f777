"""A corpus on disk whose passages are read one by one, by number; and the hash that says which corpus it is.

Knows no index. The file is JSON lines with `id`, `title`, `text` and, if there is any, `metadata`; beside it stand the places
where its lines begin.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from jade_env.errors import DataError
from jade_env.questions.datasets import document_from
from jade_env.questions.jsonl import write_line, written_whole
from jade_env.retrieval.types import Document

DOCUMENTS = "documents.jsonl"
OFFSETS = "offsets.npy"
_TELL_EVERY = 1000


class ContentHash:
    """A hash over documents and their order, whatever file they come from; `facts` are hashed before them."""

    def __init__(self, facts: str = "") -> None:
        self._digest = hashlib.sha256(facts.encode())

    def add(self, document: Document) -> None:
        """Take the next document."""
        d = document
        lengths = f"\n{len(d.id)},{len(d.title)},{len(d.text)}:"  # so that no two corpora run together alike
        extra = json.dumps(dict(d.metadata), sort_keys=True, default=str) if d.metadata else ""
        self._digest.update(f"{lengths}{d.id}{d.title}{d.text}{extra}".encode("utf-8", "surrogatepass"))

    def hexdigest(self) -> str:
        """The hash of all documents so far."""
        return self._digest.hexdigest()


def content_hash(documents: Iterable[Document], facts: str = "") -> str:
    """The hash of a whole corpus, and of `facts` before it."""
    hashed = ContentHash(facts)
    for document in documents:
        hashed.add(document)
    return hashed.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def write_documents(
    documents: Iterable[Document], folder: Path, progress: Callable[[int], None] | None = None
) -> tuple[int, str]:
    """Write a corpus for `DocumentStore`, whole or not at all, holding one passage in memory at a time.

    Returns:
        How many documents there are, and their content hash.
    """
    hashed, offsets, count = ContentHash(), array("q", [0]), 0
    with written_whole(folder / DOCUMENTS, folder / OFFSETS) as (file, places):
        for count, document in enumerate(documents, start=1):
            hashed.add(document)
            extra = {"metadata": dict(document.metadata)} if document.metadata else {}
            write_line(file, {"id": document.id, "title": document.title, "text": document.text, **extra})
            offsets.append(file.tell())
            if progress is not None and count % _TELL_EVERY == 0:
                progress(count)
        np.save(places, np.frombuffer(offsets, dtype=np.int64))
    return count, hashed.hexdigest()


class DocumentStore(Sequence[Document]):
    """The documents of a folder, read from disk as they are asked for; the corpus takes no memory of the process."""

    def __init__(self, folder: Path) -> None:
        """Open what `write_documents` left in a folder.

        Raises:
            DataError: the files are missing, cannot be read or do not fit each other.
        """
        try:
            self._offsets = np.load(folder / OFFSETS, mmap_mode="r", allow_pickle=False)
            self._file = (folder / DOCUMENTS).open("rb")
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: the documents cannot be read ({error}); build the index anew") from error
        size = os.fstat(self._file.fileno()).st_size
        if self._offsets.ndim != 1 or not len(self._offsets) or int(self._offsets[-1]) != size:
            raise DataError(f"{folder}: {DOCUMENTS} and {OFFSETS} do not fit each other; build the index anew")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, number: int) -> Document: ...
    @overload
    def __getitem__(self, number: slice) -> list[Document]: ...
    def __getitem__(self, number: int | slice) -> Document | list[Document]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"document {number} of {len(self)}")
        number %= len(self)
        start, end = int(self._offsets[number]), int(self._offsets[number + 1])
        return document_from(json.loads(os.pread(self._file.fileno(), end - start, start)))

    def batches(self, start: int, end: int, most: int, most_bytes: int) -> Iterator[list[Document]]:
        """Yield the documents from `start` to before `end` in lists, bounded by number and by bytes on disk."""
        while start < end:
            limit = int(
                np.searchsorted(self._offsets[start + 1 : end + 1], int(self._offsets[start]) + most_bytes, "right")
            )
            stop = start + max(1, min(limit, most, end - start))
            yield self[start:stop]
            start = stop
