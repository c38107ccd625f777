"""The nouns of retrieval: a document, a hit, and what anything that retrieves must do. Knows no index and no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jade_env.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Document:
    """One passage of a corpus. `id` is unique within its corpus.

    `metadata` holds what else the file or server says of it; two passages are equal without it, since a server may say
    something else with each query.
    """

    id: str
    title: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def contents(self) -> str:
        """Title and text, as they are searched and served."""
        return f"{self.title}\n{self.text}"

    def __hash__(self) -> int:
        return hash((self.id, self.text))  # Python keeps those of strings; either alone may repeat


@dataclass(frozen=True, slots=True)
class Hit:
    """A document found for a query; a higher `score` is better, scores of different retrievers do not compare."""

    document: Document
    score: float


def check_queries(who: str, queries: Sequence[str], top_k: int) -> None:
    """Refuse what no retriever can be asked.

    Raises:
        ConfigError: `top_k` is below 1, or `queries` is one bare string.
    """
    if isinstance(queries, str):
        raise ConfigError(f"{who}: queries is the string {queries[:40]!r}; give a list of queries")
    if top_k < 1:
        raise ConfigError(f"{who}: top_k is {top_k}; it must be at least 1")


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
