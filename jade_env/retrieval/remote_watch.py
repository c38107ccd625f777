"""What retrieval came to between two looks, as numbers for a run's metrics. Asks a retriever only for its `stats`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jade_env.retrieval.cache import CachedRetriever
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.remote_stats import Latency

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_COUNTS = ("hits", "misses", "requests", "retries", "failures")


@dataclass(frozen=True, slots=True)
class Look:
    """What a retriever has counted: so far, or between two looks."""

    hits: int = 0
    misses: int = 0
    requests: int = 0
    retries: int = 0
    failures: int = 0
    latency: Latency = field(default=Latency())


class Watch:
    """Tells what has happened in a retriever since the last look.

    Args:
        retriever: any; of one that keeps no statistics there is nothing to tell.
    """

    def __init__(self, retriever: Any) -> None:
        self._retriever = retriever
        self._last = _read(retriever)

    def look(self) -> Look:
        """What was counted since the last look."""
        now, before = _read(self._retriever), self._last
        self._last = now
        counts = {name: getattr(now, name) - getattr(before, name) for name in _COUNTS}
        return Look(**counts, latency=now.latency.since(before.latency))

    def figures(self, looks: Sequence[Look] | None = None) -> dict[str, Any]:
        """The figures since the last look, for JSON; where `looks` are given, those of several watches of equal retrievers.

        `queries` asked of the cache and its `hit_rate`; `latency_ms` of the calls behind it (`p50`, `p95`, `p99`, a batch a
        call); of a remote retriever `requests`, `retries` and `failures`. Null where nothing was asked.
        """
        looks = [self.look()] if looks is None else looks
        counts = {name: sum(getattr(look, name) for look in looks) for name in _COUNTS}
        figures: dict[str, Any] = {}
        if isinstance(self._retriever, CachedRetriever):
            queries = counts["hits"] + counts["misses"]
            figures = {"queries": queries, "hit_rate": counts["hits"] / queries if queries else None}
        if isinstance(self._retriever, CachedRetriever | RemoteRetriever):
            latency = Latency(tuple(map(sum, zip(*(look.latency.counts for look in looks), strict=True))))
            figures["latency_ms"] = {name: _ms(latency.percentile(share)) for name, share in PERCENTILES.items()}
        if isinstance(_behind(self._retriever), RemoteRetriever):
            figures |= {name: counts[name] for name in ("requests", "retries", "failures")}
        return figures

    def sentence(self) -> str:
        """The same as a line to read; looks, as `figures` does."""
        figures = self.figures()
        parts = []
        if "queries" in figures:
            parts.append(f"{figures['queries']} queries, {figures['hit_rate'] or 0:.0%} answered from memory")
        if figures.get("latency_ms", {}).get("p50") is not None:
            parts.append(
                "calls of the retriever " + ", ".join(f"{n} {ms:g} ms" for n, ms in figures["latency_ms"].items())
            )
        if "requests" in figures:
            parts.append(
                f"{figures['requests']} requests, {figures['failures']} failed, {figures['retries']} tried again"
            )
        return "retrieval: " + ("; ".join(parts) or "no statistics are kept")


def _behind(retriever: Any) -> Any:
    return retriever.retriever if isinstance(retriever, CachedRetriever) else retriever


def _read(retriever: Any) -> Look:
    reading: dict[str, Any] = {}
    if isinstance(remote := _behind(retriever), RemoteRetriever):
        told = remote.stats
        reading = {name: getattr(told, name) for name in ("requests", "retries", "failures", "latency")}
    if isinstance(retriever, CachedRetriever):
        cached = retriever.stats
        reading |= {"hits": cached.hits, "misses": cached.misses, "latency": cached.latency}
    return Look(**reading)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
