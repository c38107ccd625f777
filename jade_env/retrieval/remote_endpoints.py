"""Which of several equal servers is asked next: in turn, except those that failed lately. Knows no HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jade_env.retrieval.remote_stats import EndpointStats

FIRST_REST = 0.5
"""Seconds that a server is left alone after a failure; twice as long after each further one in a row."""
LONGEST_REST = 15.0


@dataclass(slots=True)
class _Endpoint:
    url: str
    requests: int = 0
    failures: int = 0
    in_a_row: int = 0
    rests_until: float = 0.0


class Endpoints:
    """Servers that answer alike. Safe to share between threads."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._endpoints = {url: _Endpoint(url) for url in urls}
        self._clock, self._lock, self._next = clock, threading.Lock(), 0

    def take(self) -> str:
        """The server to ask now: the next one that is not resting, or the one whose rest ends first. Counts a request."""
        with self._lock:
            now, every = self._clock(), list(self._endpoints.values())
            turn = every[self._next :] + every[: self._next]
            chosen = next((e for e in turn if e.rests_until <= now), None) or min(turn, key=lambda e: e.rests_until)
            self._next = (every.index(chosen) + 1) % len(every)
            chosen.requests += 1
            return chosen.url

    def worked(self, url: str) -> None:
        """A server answered: it is in turn again, whatever it did before."""
        with self._lock:
            endpoint = self._endpoints[url]
            endpoint.in_a_row, endpoint.rests_until = 0, 0.0

    def failed(self, url: str) -> None:
        """A server failed: it rests, longer after each failure in a row."""
        with self._lock:
            endpoint, now = self._endpoints[url], self._clock()
            endpoint.failures += 1
            if endpoint.rests_until <= now:  # requests that were under way together are one sign of illness, not many
                endpoint.rests_until = now + min(LONGEST_REST, FIRST_REST * 2.0**endpoint.in_a_row)
                endpoint.in_a_row = min(endpoint.in_a_row + 1, 16)

    @property
    def any_awake(self) -> bool:
        """Whether a server can be asked that is not resting."""
        with self._lock:
            return any(endpoint.rests_until <= self._clock() for endpoint in self._endpoints.values())

    @property
    def stats(self) -> tuple[EndpointStats, ...]:
        """Requests and failures of each, in the order given."""
        with self._lock:
            now = self._clock()
            return tuple(
                EndpointStats(e.url, e.requests, e.failures, e.rests_until > now) for e in self._endpoints.values()
            )
