"""Keeps built indexes in a folder, found by content hash. Knows neither BM25 nor what the files of an index mean.

An index is a folder of files with a manifest of their hashes. It is written beside its place and moved there whole; one
that is incomplete or damaged is never handed out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Index = TypeVar("Index")

_MANIFEST = "manifest.json"


class IndexStore:
    """A folder of indexes, `folder/kind/content hash/`."""

    def __init__(self, folder: str | Path | None = None) -> None:
        """Use `folder`, or else that of the environment variable `JADE_CACHE`, or else `~/.cache/jade-env`."""
        chosen = folder or os.environ.get("JADE_CACHE") or "~/.cache/jade-env"
        self.folder = Path(chosen).expanduser()

    def load(self, kind: str, content_hash: str, read: Callable[[Path], Index]) -> Index | None:
        """Return what `read` makes of the index's folder, or None where there is none or it is damaged."""
        place = self._place(kind, content_hash)
        try:
            return read(place) if _is_whole(place) else None
        except (OSError, ValueError, KeyError):  # changed between the check and the reading
            return None

    def save(self, kind: str, content_hash: str, write: Callable[[Path], None]) -> None:
        """Let `write` fill a new folder and move it to the index's place; on failure warn and leave nothing behind."""
        place = self._place(kind, content_hash)
        draft: Path | None = None
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
            write(draft)
            hashes = {file.name: _file_hash(file) for file in sorted(draft.iterdir())}
            (draft / _MANIFEST).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
            _put(draft, place)
        except OSError as error:
            reason = error.strerror or error
            warnings.warn(
                f"{self.folder}: the index could not be saved ({reason}) and will be built anew next time; "
                "set JADE_CACHE to a folder that can be written",
                stacklevel=3,
            )
        finally:
            if draft is not None:
                shutil.rmtree(draft, ignore_errors=True)

    def _place(self, kind: str, content_hash: str) -> Path:
        return self.folder / kind / content_hash[:32]


def _put(draft: Path, place: Path) -> None:
    """Move `draft` to `place`; what stands there is either damaged and makes way, or whole and just as good."""
    if place.exists() and not _is_whole(place):
        grave = Path(tempfile.mkdtemp(prefix=".damaged-", dir=place.parent))
        place.replace(grave)
        shutil.rmtree(grave, ignore_errors=True)
    try:
        draft.replace(place)
    except OSError:
        if not _is_whole(place):  # otherwise another process was quicker
            raise


def _is_whole(place: Path) -> bool:
    try:
        hashes = json.loads((place / _MANIFEST).read_text(encoding="utf-8"))
        return bool(hashes) and all(_file_hash(place / name) == value for name, value in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
