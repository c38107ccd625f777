"""The memory in front of a retriever: what it saves, what it forgets, and what it never mixes up."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from jade_env.errors import ConfigError, RetrievalError
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.cache import CachedRetriever, CacheStats
from jade_env.retrieval.types import Document, Hit, Retriever

DOCUMENTS = [
    Document("0", "Oslo", "The capital of Norway."),
    Document("1", "Bergen", "A port in Norway."),
    Document("2", "Paris", "The capital of France."),
]


class Counting:
    """BM25 that writes down each call, and fails when told to."""

    def __init__(self) -> None:
        self.inner = BM25Retriever(DOCUMENTS)
        self.calls: list[tuple[list[str], int]] = []
        self.broken = False
        self.short = False

    @property
    def identity(self) -> str:
        return self.inner.identity

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.calls.append((list(queries), top_k))
        if self.broken:
            raise RetrievalError("the server is down")
        return self.inner.search(queries, top_k)[1 if self.short else 0 :]


def test_only_what_is_not_remembered_is_asked_and_in_one_call() -> None:
    counting = Counting()
    cached = CachedRetriever(counting)
    cached.search(["norway"], 2)
    answers = cached.search(["france", "norway", "capital", "france"], 2)
    assert counting.calls == [(["norway"], 2), (["france", "capital"], 2)]
    assert answers == counting.inner.search(["france", "norway", "capital", "france"], 2)


def test_hits_and_misses_are_counted_a_repeat_within_a_batch_as_a_hit() -> None:
    cached = CachedRetriever(Counting())
    assert (cached.stats, cached.stats.hit_rate) == (CacheStats(0, 0), 0.0)
    cached.search(["norway", "norway", "france"], 2)
    cached.search(["norway"], 2)
    assert cached.stats == CacheStats(hits=2, misses=2)
    assert cached.stats.hit_rate == 0.5


def test_a_query_belongs_to_its_top_k() -> None:
    cached = CachedRetriever(Counting())
    assert [len(cached.search(["norway"], k)[0]) for k in (1, 2, 1)] == [1, 2, 1]
    assert cached.stats == CacheStats(hits=1, misses=2)


def test_the_least_recently_used_answer_is_forgotten_first() -> None:
    counting = Counting()
    cached = CachedRetriever(counting, capacity=2)
    for query in ("norway", "france", "norway", "capital", "norway", "france"):
        cached.search([query], 2)
    assert [queries[0] for queries, _ in counting.calls] == ["norway", "france", "capital", "france"]
    assert len(cached) == 2


def test_a_batch_larger_than_the_memory_is_answered_whole() -> None:
    cached = CachedRetriever(Counting(), capacity=1)
    queries = ["norway", "france", "capital", "norway"]
    cached.search(["capital"], 2)
    assert cached.search(queries, 2) == Counting().search(queries, 2)
    assert len(cached) == 1


def test_changing_an_answer_does_not_change_what_is_remembered() -> None:
    cached = CachedRetriever(Counting())
    cached.search(["norway"], 2)[0].clear()
    cached.search(["norway"], 2)[0].clear()
    assert len(cached.search(["norway"], 2)[0]) == 2


def test_a_query_without_hits_is_remembered_too() -> None:
    counting = Counting()
    cached = CachedRetriever(counting)
    assert cached.search(["zebra"], 2) == cached.search(["zebra"], 2) == [[]]
    assert len(counting.calls) == 1


def test_a_failure_is_passed_on_and_leaves_nothing_behind() -> None:
    counting = Counting()
    cached = CachedRetriever(counting)
    cached.search(["france"], 2)
    counting.broken = True
    with pytest.raises(RetrievalError, match="down"):
        cached.search(["norway", "france"], 2)
    assert cached.stats == CacheStats(hits=0, misses=1)
    assert len(cached.search(["france"], 2)[0]) == 1
    counting.broken = False
    assert len(cached.search(["norway"], 2)[0]) == 2


def test_a_retriever_that_answers_too_few_queries_is_an_error() -> None:
    counting = Counting()
    counting.short = True
    with pytest.raises(RetrievalError, match="returned 0 answers to 1 queries"):
        CachedRetriever(counting).search(["norway"], 2)


@pytest.mark.parametrize(
    "hits",
    [[DOCUMENTS[0]], [(DOCUMENTS[0], 1.0)], [{"id": "a"}], None, "oslo", [Hit("oslo", 1.0)]],
    ids=repr,  # type: ignore[arg-type]
)
def test_what_is_no_list_of_hits_is_one_sentence(hits: Any) -> None:
    class Wrong:
        identity = "wrong"

        def search(self, queries: Sequence[str], top_k: int) -> list[Any]:
            return [hits for _ in queries]

    with pytest.raises(
        RetrievalError, match="wrong answered 'norway' with .*; it must return a list of jade_env.retrieval.Hit"
    ):
        CachedRetriever(Wrong()).search(["norway"], 2)


def test_the_cache_is_a_retriever_of_the_same_identity() -> None:
    cached = CachedRetriever(Counting())
    assert isinstance(cached, Retriever)
    assert cached.identity == BM25Retriever(DOCUMENTS).identity


def test_memory_is_bounded_by_bytes_and_a_shared_document_is_kept_once() -> None:
    assert len({hash(Document(str(i), "Title", "")) for i in range(100)}) > 90, "titles alone are told apart"
    shared = Document("x", "Title", "t" * 10_000)

    class One:
        identity = "one"

        def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
            copied = replace(shared)  # a new object each time, as of a server or an index on disk
            return [[Hit(copied if query[0] == "s" else Document(query, "", query * 10_000), 1.0)] for query in queries]

    cached = CachedRetriever(One(), max_bytes=50_000)
    cached.search([f"s{i}" for i in range(20)], 1)
    cached.search(["s20"], 1)
    assert len(cached) == 21 and 10_000 < cached.bytes < 30_000
    assert len({id(cached.search([f"s{i}"], 1)[0][0].document) for i in range(21)}) == 1
    for i in range(20):
        cached.search([f"{i:05}"], 1)
        assert cached.bytes <= 50_000
    assert len(cached) == 0  # each answer of 50 kB is too large to keep, and made the others leave


def test_what_is_counted_in_is_counted_out() -> None:
    cached = CachedRetriever(Counting(), capacity=2)
    for query in ("norway", "france", "capital", "port", "norway", "zebra"):
        cached.search([query], 2)
    alone = CachedRetriever(Counting())
    alone.search(["norway", "zebra"], 2)
    assert cached.bytes == alone.bytes


def test_threads_may_share_a_cache() -> None:
    cached, plain = CachedRetriever(Counting(), capacity=3), Counting()
    queries = ["norway", "france", "capital", "port", "zebra", "oslo"]
    wanted = plain.search(queries, 2)

    def ask(turn: int) -> bool:
        asked = queries[turn % 6 :] + queries[: turn % 6]
        return cached.search(asked, 2) == wanted[turn % 6 :] + wanted[: turn % 6]

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(400)))
    assert cached.stats.hits + cached.stats.misses == 2400 and len(cached) == 3
    assert cached.stats.latency.calls == len(cached.retriever.calls)


def test_misuse_of_the_cache_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_bytes is 0"):
        CachedRetriever(Counting(), max_bytes=0)
    with pytest.raises(ConfigError, match="capacity is 0"):
        CachedRetriever(Counting(), capacity=0)
    with pytest.raises(ConfigError, match="give a list"):
        CachedRetriever(Counting()).search("norway", 2)
