"""What a run tells of its retrieval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jade_env.retrieval.cache import CachedRetriever
from jade_env.retrieval.remote import RemoteRetriever
from jade_env.retrieval.remote_watch import Watch


def test_each_look_tells_what_came_since_the_last(faulty: Callable[..., Any]) -> None:
    server = faulty()
    cached = CachedRetriever(RemoteRetriever([server.url]))
    cached.search(["early"], 1)
    watch = Watch(cached)
    server.plan("error")
    for query in "aabb":
        cached.search([query], 1)
    figures = watch.figures()
    assert {name: figures[name] for name in ("queries", "hit_rate", "requests", "retries", "failures")} == {
        "queries": 4,
        "hit_rate": 0.5,
        "requests": 3,
        "retries": 1,
        "failures": 1,
    }
    assert 0 < figures["latency_ms"]["p50"] <= figures["latency_ms"]["p95"] <= figures["latency_ms"]["p99"]
    assert watch.figures() == {
        "queries": 0,
        "hit_rate": None,
        "latency_ms": {"p50": None, "p95": None, "p99": None},
        "requests": 0,
        "retries": 0,
        "failures": 0,
    }


def test_of_a_retriever_that_keeps_no_statistics_there_is_nothing_to_tell() -> None:
    assert Watch(object()).figures() == {}
    assert Watch(object()).sentence() == "retrieval: no statistics are kept"
