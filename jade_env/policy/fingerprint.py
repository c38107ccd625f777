"""Which weights a folder holds: a short name for its contents, so that a run is not read back over another model."""

from __future__ import annotations

import hashlib
from pathlib import Path

SAMPLE = 1 << 20
"""Bytes that are read at both ends of each file of weights."""


def fingerprint(place: str | Path, pattern: str = "*.safetensors") -> str:
    """A name for the weights in a folder, from the sizes, beginnings and ends of its files; "" where there are none.

    Trained weights differ everywhere, so reading a part of them is enough, and quick for models of many gigabytes.
    """
    folder = Path(place)
    files = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if not files:
        return ""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()} {size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(SAMPLE))
            content.seek(max(0, size - SAMPLE))
            digest.update(content.read(SAMPLE))
    return digest.hexdigest()[:16]
