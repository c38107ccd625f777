"""A memory of answered queries in front of any retriever. Knows nothing of how the retriever finds its documents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from jade_env.errors import ConfigError, RetrievalError
from jade_env.retrieval.types import Hit, Retriever


@dataclass(frozen=True, slots=True)
class CacheStats:
    """How often a query was answered without the retriever. A query that stands twice in a batch is one hit."""

    hits: int = 0
    misses: int = 0

    @property
    def hit_rate(self) -> float:
        """Share of the queries that were hits; 0.0 before the first query."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class CachedRetriever:
    """Remembers the answers of a retriever, the `capacity` most recently used ones.

    An answer belongs to its query and `top_k` both. What stands twice in one batch is asked of the retriever once, and
    all that is not remembered goes to it in one call. If that call fails, nothing is remembered or counted.
    """

    def __init__(self, retriever: Retriever, capacity: int = 100_000) -> None:
        """Start with an empty memory; `capacity` is the number of answers kept."""
        if capacity < 1:
            raise ConfigError(f"query cache: capacity is {capacity}; it must be at least 1")
        self.retriever = retriever
        self.capacity = capacity
        self._answers: OrderedDict[tuple[str, int], tuple[Hit, ...]] = OrderedDict()
        self._hits = 0
        self._misses = 0

    @property
    def identity(self) -> str:
        """That of the retriever behind: the answers are the same."""
        return self.retriever.identity

    @property
    def stats(self) -> CacheStats:
        """Hits and misses of `search` so far; `preload` is not counted."""
        return CacheStats(self._hits, self._misses)

    def __len__(self) -> int:
        """How many answers are remembered now."""
        return len(self._answers)

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Answer from memory where possible, and the rest by one call of the retriever.

        Raises:
            RetrievalError: the retriever failed, or answered another number of queries than it was asked.
        """
        answers, asked = self._answer(queries, top_k)
        self._misses += asked
        self._hits += len(queries) - asked
        return answers

    def preload(self, queries: Sequence[str], top_k: int) -> None:
        """Learn the answers to `queries` ahead of time, by one call of the retriever."""
        self._answer(queries, top_k)

    def clear(self) -> None:
        """Forget all answers and statistics."""
        self._answers.clear()
        self._hits = self._misses = 0

    def _answer(self, queries: Sequence[str], top_k: int) -> tuple[list[list[Hit]], int]:
        """Return the answers, and how many queries the retriever was asked."""
        if isinstance(queries, str):
            raise ConfigError(f"query cache: queries is the string {queries[:40]!r}; give a list of queries")
        known = self._answers
        if len(queries) == 1 and (key := (queries[0], top_k)) in known:  # one episode asks one query at a time
            known.move_to_end(key)
            return [list(known[key])], 0
        missing = [query for query in dict.fromkeys(queries) if (query, top_k) not in self._answers]
        # New answers are kept apart until the batch is answered: it may be larger than the memory.
        found: dict[str, tuple[Hit, ...]] = {}
        if missing:
            fresh = self.retriever.search(missing, top_k)
            if len(fresh) != len(missing):
                raise RetrievalError(
                    f"{self.retriever.identity} returned {len(fresh)} answers to {len(missing)} queries; "
                    "it must return one list of hits for each"
                )
            found = {query: tuple(hits) for query, hits in zip(missing, fresh, strict=True)}
        answers: list[list[Hit]] = []
        for query in queries:
            hits = found.get(query)
            if hits is None:
                self._answers.move_to_end((query, top_k))
                hits = self._answers[query, top_k]
            answers.append(list(hits))
        for query, hits in found.items():
            self._answers[query, top_k] = hits
        while len(self._answers) > self.capacity:
            self._answers.popitem(last=False)
        return answers, len(missing)
