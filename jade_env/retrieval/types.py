"""The nouns of retrieval: a document, a hit, and what anything that retrieves must do. Knows no index and no server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of a corpus. `id` is unique within its corpus."""

    id: str
    title: str
    text: str

    def __hash__(self) -> int:
        return hash(self.id)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found for a query; a higher `score` is better, scores of different retrievers do not compare."""

    document: Document
    score: float


@runtime_checkable
class Retriever(Protocol):
    """Anything that answers queries. Implementations are deterministic: the same query gives the same hits."""

    @property
    def identity(self) -> str:
        """A short string that changes whenever the answers may: kind, parameters and the corpus's content hash."""
        ...

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return for each query at most `top_k` hits, best first (fewer where fewer documents match).

        Raises:
            RetrievalError: the retriever cannot answer; never an empty list in place of a failure.
        """
        ...
