"""Files of a study: JSON read and written, whole or not at all. Needs no learning library: a study of scripted arms has none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jade_env.errors import DataError


def line(tree: Mapping[str, Any]) -> bytes:
    """One line of JSON, in ASCII: an answer may hold anything that a document held."""
    return (json.dumps(dict(tree), allow_nan=False) + "\n").encode()


def indented(tree: Any) -> bytes:
    """JSON for a file that people read, too."""
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


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
