"""Several retrievers' rankings fused into one. Knows nothing of how the parts find their documents.

A part that cannot answer, such as a server that is down, fails the whole: there is no answer of the remaining parts.

Reciprocal ranks (`rrf`) need no scores that compare. `weighted` brings each part's scores to [0, 1] by the best and the worst hit
of that query (min-max) before they are weighed: a document that a part did not return then counts 0, like that part's worst
hit, where a z-score would have no natural value for it, and no part outweighs another by the scale of its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jade_env.errors import ConfigError, RetrievalError
from jade_env.retrieval.types import Document, Hit, Retriever, check_queries

LEAST_DEPTH = 50


class HybridRetriever:
    """Asks every part, and ranks by the sum of what the parts say of a document."""

    def __init__(
        self,
        parts: Sequence[Retriever],
        *,
        fusion: Literal["rrf", "weighted"] = "rrf",
        weights: Sequence[float] | None = None,
        rrf_k: int = 60,
        depth: int | None = None,
    ) -> None:
        """Fuse `parts`, which search the same corpus.

        Args:
            parts: at least two.
            fusion: `rrf` adds weight / (rrf_k + rank), `weighted` adds weight x score in [0, 1].
            weights: one a part; equal if not given.
            rrf_k: how little the first ranks stand out.
            depth: hits asked of each part; max(50, top_k) if not given.

        Raises:
            ConfigError: too few parts, or weights that do not fit them.
        """
        self.parts = tuple(parts)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(self.parts)
        if len(self.parts) < 2 or len(self.weights) != len(self.parts):
            raise ConfigError(
                f"hybrid: {len(self.parts)} parts and {len(self.weights)} weights; give two parts or more"
            )
        if min(self.weights) < 0 or not any(self.weights):
            raise ConfigError(f"hybrid: weights are {self.weights}; they must be at least 0, and one above")
        self.fusion, self.rrf_k, self.depth = fusion, rrf_k, depth

    @property
    def identity(self) -> str:
        """Rule, weights and the identities of the parts."""
        rule = f"rrf:{self.rrf_k}" if self.fusion == "rrf" else "weighted"
        weighed = ",".join(f"{w:g}x{part.identity}" for w, part in zip(self.weights, self.parts, strict=True))
        return f"hybrid({rule},{self.depth or 'auto'},{weighed})"

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return for each query the `top_k` documents of the greatest sum; equal sums in the order of the first part.

        Raises:
            ConfigError: `top_k` is below 1, or `queries` is one bare string.
            RetrievalError: a part cannot answer, or gave another number of answers than it was asked for.
        """
        check_queries("hybrid", queries, top_k)
        depth = max(self.depth or LEAST_DEPTH, top_k)
        answers = [part.search(queries, depth) for part in self.parts]
        for part, found in zip(self.parts, answers, strict=True):
            if len(found) != len(queries):
                raise RetrievalError(f"hybrid: {part.identity} gave {len(found)} answers to {len(queries)} queries")
        return [self._fused(rankings, top_k) for rankings in zip(*answers, strict=True)]

    def _fused(self, rankings: Sequence[Sequence[Hit]], top_k: int) -> list[Hit]:
        sums: dict[str, float] = {}
        documents: dict[str, Document] = {}  # in the order of the first part, then of the second, which settles ties
        for weight, hits in zip(self.weights, rankings, strict=True):
            for hit, value in zip(hits, self._values(hits), strict=True):
                documents.setdefault(hit.document.id, hit.document)
                sums[hit.document.id] = sums.get(hit.document.id, 0.0) + weight * value
        best = sorted(documents, key=lambda name: -sums[name])[:top_k]
        return [Hit(documents[name], sums[name]) for name in best]

    def _values(self, hits: Sequence[Hit]) -> list[float]:
        if self.fusion == "rrf":
            return [1.0 / (self.rrf_k + rank) for rank in range(1, len(hits) + 1)]
        if not hits:
            return []
        best, worst = hits[0].score, hits[-1].score
        return [(hit.score - worst) / (best - worst) if best > worst else 1.0 for hit in hits]
