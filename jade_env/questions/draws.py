"""Numbers drawn from a seed, the same on every machine and with every library version. Knows nothing of what they decide.

The streams of `random` and `numpy.random` may change between versions; these are SplitMix64 over a counter, with integer
arithmetic only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


class Draws:
    """One stream of numbers, named by its keys: `Draws(seed, "train", "facts")`."""

    def __init__(self, *keys: int | str) -> None:
        name = "\x1f".join(str(key) for key in keys).encode("utf-8", "surrogatepass")
        self._start = np.uint64(int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little"))
        self._used = 0

    def bits(self, size: int) -> NDArray[np.uint64]:
        """Return the next `size` numbers of 64 bits."""
        z = np.arange(self._used + 1, self._used + size + 1, dtype=np.uint64) * _GAMMA + self._start
        self._used += size
        z = (z ^ (z >> np.uint64(30))) * _MIX1
        z = (z ^ (z >> np.uint64(27))) * _MIX2
        return z ^ (z >> np.uint64(31))

    def below(self, high: int | Integers, size: int) -> Integers:
        """Return `size` numbers n with 0 <= n < high (< 2**31); `high` may be an array of that size."""
        return ((self.bits(size) >> np.uint64(32)) * np.asarray(high, dtype=np.uint64) >> np.uint64(32)).astype(
            np.int64
        )

    def one(self, high: int) -> int:
        """Return one number n with 0 <= n < high."""
        return int(self.below(high, 1)[0])

    def permutation(self, size: int) -> Integers:
        """Return 0, 1, ..., size - 1 in a random order."""
        return np.argsort(self.bits(size), kind="stable").astype(np.int64)

    def distinct(self, high: int, size: int) -> Integers:
        """Return `size` different numbers n with 0 <= n < high, in a random order."""
        if high <= 3 * size:
            return self.permutation(high)[:size]
        found = np.zeros(0, dtype=np.int64)
        while len(found) < size:
            found = np.concatenate([found, self.below(high, size - len(found) + size // 4 + 8)])
            found = found[np.sort(np.unique(found, return_index=True)[1])]
        return found[:size]

    def endless(self, high: int) -> Iterator[int]:
        """Yield the numbers below `high` in a random order, each as often as any other, for ever."""
        while True:
            yield from self.permutation(high).tolist()
