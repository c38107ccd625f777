"""A memory of answered queries in front of any retriever. Knows nothing of how the retriever finds its documents."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import getsizeof

from jade_env.errors import ConfigError, RetrievalError
from jade_env.retrieval.remote_stats import Latency, LatencyClock
from jade_env.retrieval.types import Document, Hit, Retriever, check_queries

MAX_BYTES = 1_000_000_000
_HIT_BYTES = 100  # a hit's object, number and place in the answer
_ANSWER_BYTES = 300  # an answer's key, tuple and place in the memory
_DOCUMENT_BYTES = 250  # a document's object and places, without its strings


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How often a query was answered without the retriever. A query that stands twice in a batch is one hit.

    `latency` is of the calls of the retriever behind, one a batch.
    """

    hits: int = 0
    misses: int = 0
    latency: Latency = field(default=Latency(), compare=False)

    @property
    def hit_rate(self) -> float:
        """Share of the queries that were hits; 0.0 before the first query."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class CachedRetriever:
    """Remembers the most recently used answers of a retriever: `capacity` of them, in about `max_bytes` of memory.

    An answer belongs to its query and `top_k` both. What stands twice in one batch is asked of the retriever once, and
    all that is not remembered goes to it in one call. If that call fails, nothing is remembered or counted. A document in
    several answers is kept once. Several threads may search at once.
    """

    def __init__(self, retriever: Retriever, capacity: int = 100_000, max_bytes: int = MAX_BYTES) -> None:
        """Start with an empty memory.

        Args:
            retriever: what is asked.
            capacity: answers kept.
            max_bytes: estimated size of what is kept. Documents count, though a local retriever holds them anyway.
        """
        for name, value in (("capacity", capacity), ("max_bytes", max_bytes)):
            if value < 1:
                raise ConfigError(f"query cache: {name} is {value}; it must be at least 1")
        self.retriever = retriever
        self.capacity, self.max_bytes = capacity, max_bytes
        self._answers: OrderedDict[tuple[str, int], tuple[Hit, ...]] = OrderedDict()
        # the object that is kept of each document, and in how many places of answers it stands
        self._documents: dict[Document, tuple[Document, int]] = {}
        self._clock, self._lock = LatencyClock(), threading.Lock()
        self._hits = self._misses = self._bytes = 0

    @property
    def identity(self) -> str:
        """That of the retriever behind: the answers are the same."""
        return self.retriever.identity

    @property
    def remote(self) -> bool:
        """Whether the retriever behind answers from elsewhere."""
        return bool(getattr(self.retriever, "remote", False))

    @property
    def stats(self) -> CacheStats:
        """Hits and misses so far."""
        return CacheStats(self._hits, self._misses, self._clock.latency)

    @property
    def bytes(self) -> int:
        """Estimated size of what is remembered."""
        return self._bytes

    def __len__(self) -> int:
        """How many answers are remembered now."""
        return len(self._answers)

    def remembers(self, query: str, top_k: int) -> bool:
        """Whether an answer would come without asking the retriever."""
        return (query, top_k) in self._answers

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Answer from memory where possible, and the rest by one call of the retriever.

        Raises:
            RetrievalError: the retriever failed, or answered another number of queries than it was asked.
        """
        check_queries("query cache", queries, top_k)
        found: dict[str, tuple[Hit, ...]] = {}
        with self._lock:
            for query in queries:
                hits = self._answers.get((query, top_k))
                if hits is not None:
                    self._answers.move_to_end((query, top_k))
                    found[query] = hits
        missing = [query for query in dict.fromkeys(queries) if query not in found] if len(found) < len(queries) else []
        if missing:
            began = time.perf_counter()
            fresh = self.retriever.search(missing, top_k)
            self._clock.add(time.perf_counter() - began)
            if len(fresh) != len(missing):
                raise RetrievalError(
                    f"{self.retriever.identity} returned {len(fresh)} answers to {len(missing)} queries; "
                    "it must return one list of hits for each"
                )
            new = {query: self._hits_of(query, hits) for query, hits in zip(missing, fresh, strict=True)}
            found |= new
            with self._lock:
                for query, hits in new.items():
                    self._keep((query, top_k), hits)
                self._make_room()
        with self._lock:
            self._misses += len(missing)
            self._hits += len(queries) - len(missing)
        return [list(found[query]) for query in queries]

    def _hits_of(self, query: str, hits: object) -> tuple[Hit, ...]:
        found = tuple(hits) if isinstance(hits, Iterable) and not isinstance(hits, str | Mapping) else (hits,)
        for hit in found:
            if not isinstance(hit, Hit) or not isinstance(hit.document, Document):
                raise RetrievalError(
                    f"{self.retriever.identity} answered {query[:40]!r} with {hit!r:.80}; it must return a list of "
                    "jade_env.retrieval.Hit(document, score) for each query"
                )
        return found

    # ---- what is kept; the lock is held ------------------------------------------------------------------------------

    def _keep(self, key: tuple[str, int], hits: tuple[Hit, ...]) -> None:
        if key in self._answers:  # another thread has asked the same
            return
        kept = []
        for hit in hits:  # retrievers from elsewhere make a new object of a document each time
            document, places = self._documents.get(hit.document, (hit.document, 0))
            self._documents[document] = document, places + 1
            if not places:
                self._bytes += _size(document)
            kept.append(hit if document is hit.document else Hit(document, hit.score))
        self._answers[key] = tuple(kept)
        self._bytes += _ANSWER_BYTES + getsizeof(key[0]) + _HIT_BYTES * len(hits)

    def _make_room(self) -> None:
        while len(self._answers) > self.capacity or self._bytes > self.max_bytes:
            (query, _), hits = self._answers.popitem(last=False)
            self._bytes -= _ANSWER_BYTES + getsizeof(query) + _HIT_BYTES * len(hits)
            for hit in hits:
                document, places = self._documents[hit.document]
                self._documents[document] = document, places - 1
                if places == 1:
                    del self._documents[document]
                    self._bytes -= _size(document)


def _size(document: Document) -> int:
    return _DOCUMENT_BYTES + getsizeof(document.id) + getsizeof(document.title) + getsizeof(document.text)
