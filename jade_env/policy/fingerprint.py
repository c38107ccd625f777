"""Which files a folder holds: a name for their contents, so that a run does not go on over another model or other questions."""

from __future__ import annotations

import hashlib
from pathlib import Path

SAMPLE = 1 << 20
"""Bytes that are read at both ends of each file of weights."""


def fingerprint(place: str | Path, pattern: str = "*.safetensors") -> str:
    """A name for the files of a pattern in a folder, weights if nothing is said, from their sizes, beginnings and ends.

    Trained weights differ everywhere, so reading a part of them is enough, and quick for models of many gigabytes; of a large
    corpus only a change of its size or at its ends is seen. "" where there are no files.
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
