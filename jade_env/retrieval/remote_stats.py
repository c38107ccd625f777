"""How retrieval went, as counts: a histogram of how long calls took, and what came of the requests to each server.

Counting costs about a microsecond a call. Knows no network, no retriever and no cache.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

SHORTEST = 1e-4
"""Seconds up to which all calls count as equally quick."""
_STEPS_A_DOUBLING = 4
_BUCKETS = 25 * _STEPS_A_DOUBLING


@dataclass(frozen=True, slots=True)
class Latency:
    """How long calls took, as counts of buckets that are 19 % wide, from a tenth of a millisecond to an hour."""

    counts: tuple[int, ...] = (0,) * _BUCKETS

    @property
    def calls(self) -> int:
        """How many calls were timed."""
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """Seconds within which a share of the calls ended (0.99 for p99), at most 19 % too many; None without calls."""
        wanted, passed = share * self.calls, 0
        for bucket, count in enumerate(self.counts):
            passed += count
            if count and passed >= wanted:
                return float(SHORTEST * 2.0 ** (bucket / _STEPS_A_DOUBLING))
        return None

    def since(self, earlier: Latency) -> Latency:
        """The calls that came after an earlier reading of the same clock."""
        return Latency(tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True)))


class LatencyClock:
    """Counts calls by how long they took, from any thread."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one call."""
        place = math.ceil(math.log2(seconds / SHORTEST) * _STEPS_A_DOUBLING) if seconds > SHORTEST else 0
        with self._lock:
            self._counts[min(place, _BUCKETS - 1)] += 1

    @property
    def latency(self) -> Latency:
        """All calls so far."""
        with self._lock:
            return Latency(tuple(self._counts))


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """What came of the requests to one server.

    Attributes:
        url: where it is.
        requests: requests sent.
        failures: those that brought no right answer.
        resting: whether it is left alone for now, as it failed lately.
    """

    url: str
    requests: int = 0
    failures: int = 0
    resting: bool = False


@dataclass(frozen=True, slots=True)
class RemoteStats:
    """What a remote retriever has asked so far. `requests` = answered + `failures`, and `failures` = `retries` + `lost`.

    Attributes:
        queries: queries answered.
        requests: requests sent, of up to a batch of queries each.
        retries: requests that repeat a failed one.
        failures: requests that brought no right answer.
        lost: batches given up: each was a `RetrievalError`.
        endpoints: requests and failures by server.
        latency: of the requests that were answered, one try each.
    """

    queries: int = 0
    requests: int = 0
    retries: int = 0
    failures: int = 0
    lost: int = 0
    endpoints: tuple[EndpointStats, ...] = ()
    latency: Latency = field(default=Latency(), compare=False)
