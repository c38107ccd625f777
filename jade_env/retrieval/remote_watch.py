"""What retrieval came to between two looks, as numbers for a run's metrics. Asks a retriever only for its `stats`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jade_env.retrieval.cache import CachedRetriever
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.remote_stats import Latency

PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class _Reading:
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

    def figures(self) -> dict[str, Any]:
        """The figures since the last look, for JSON.

        `queries` asked of the cache and its `hit_rate`; `latency_ms` of the calls behind it (`p50`, `p95`, `p99`, a batch a
        call); of a remote retriever `requests`, `retries` and `failures`. Null where nothing was asked.
        """
        now, before = _read(self._retriever), self._last
        self._last = now
        figures: dict[str, Any] = {}
        if isinstance(self._retriever, CachedRetriever):
            hits, misses = now.hits - before.hits, now.misses - before.misses
            figures = {"queries": hits + misses, "hit_rate": hits / (hits + misses) if hits + misses else None}
        if isinstance(self._retriever, CachedRetriever | RemoteRetriever):
            latency = now.latency.since(before.latency)
            figures["latency_ms"] = {name: _ms(latency.percentile(share)) for name, share in PERCENTILES.items()}
        if isinstance(_behind(self._retriever), RemoteRetriever):
            for name in ("requests", "retries", "failures"):
                figures[name] = getattr(now, name) - getattr(before, name)
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


def _read(retriever: Any) -> _Reading:
    reading: dict[str, Any] = {}
    if isinstance(remote := _behind(retriever), RemoteRetriever):
        told = remote.stats
        reading = {name: getattr(told, name) for name in ("requests", "retries", "failures", "latency")}
    if isinstance(retriever, CachedRetriever):
        cached = retriever.stats
        reading |= {"hits": cached.hits, "misses": cached.misses, "latency": cached.latency}
    return _Reading(**reading)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
