"""Random streams addressed by name: the same (seed, episode, turn) gives the same numbers, whoever asks and in whatever order."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

Key = tuple[object, ...]


def bits(*key: object) -> int:
    """64 random bits for a key of ints, strings and nested tuples of them."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little")


def uniform(*key: object) -> float:
    """A number in [0, 1) for a key."""
    return (bits(*key) >> 11) * 2.0**-53


def generator(*key: object) -> np.random.Generator:
    """A numpy generator of its own for a key, where more than a number or two is needed."""
    return np.random.Generator(np.random.PCG64(bits(*key)))
