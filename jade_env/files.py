"""Files of runs and studies: JSON read and written, whole or not at all. Knows neither, and needs no learning library."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jade_env.errors import DataError

PARTIAL = ".partial-"
"""What the name of a file that is not whole yet begins with."""


def as_line(tree: Mapping[str, Any]) -> bytes:
    """One line of JSON, in ASCII: an answer may hold anything that a document held. A number that is not finite is an error."""
    return (json.dumps(dict(tree), allow_nan=False) + "\n").encode()


def as_json(tree: Any) -> bytes:
    """The same for a file that people read, too."""
    return (json.dumps(tree, indent=1, allow_nan=False) + "\n").encode()


def read(path: Path) -> bytes:
    """Read a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn an OSError (a full disk, a read-only folder) into one sentence that names the place."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{place}: cannot be written: {error.strerror or error}; nothing half-written is left"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a reader sees the old one or the new one.

    Raises:
        DataError: the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")
    with writing(path):
        try:
            write_through(partial, content)
            partial.replace(path)
            sync_folder(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_through(path: Path, content: bytes) -> None:
    """Write a file down to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
