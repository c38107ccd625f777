"""Turns texts into vectors: the protocol of encoders, and the one that needs no weights, TF-IDF with a truncated SVD.

Knows no index. Neural encoders are in `neural.py`; `encoder_choice.py` chooses. Everything saved is JSON or plain arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jade_env.errors import MissingExtra
from jade_env.retrieval.types import Document
from jade_env.retrieval.words import english_stemmer, english_stopwords, words_in
from jade_env.retriever_settings import EMBEDDED

Vectors = NDArray[np.float32]

CARD = "encoder.json"
ARRAYS = "encoder.npz"
FIT_ON = 50_000
"""Passages that the embedded encoder is fitted on; of larger corpora they are drawn at random."""
_MAX_WORDS = 100_000
_MAX_LETTERS = 1_000_000


class Encoder(Protocol):
    """Turns queries and passages into rows of float32. A row of zeros says that the text has nothing to compare by."""

    @property
    def identity(self) -> str:
        """Changes whenever the vectors may."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of every vector."""
        ...

    def queries(self, texts: Sequence[str]) -> Vectors:
        """Encode queries."""
        ...

    def passages(self, documents: Sequence[Document]) -> Vectors:
        """Encode passages."""
        ...

    def save(self, folder: Path) -> None:
        """Leave in the folder what `read_encoder` needs."""
        ...


class TfidfSvd:
    """Latent semantic analysis: word weights (TF-IDF), brought to few dimensions by a truncated SVD of the corpus.

    It needs no weights and no GPU and is fitted in seconds, and finds less than BM25 does; `docs/retrieval.md` has figures.
    """

    VERSION = 1
    """Of the way it is fitted."""

    def __init__(self, words: tuple[str, ...], idf: Vectors, components: Vectors, normalize: bool) -> None:
        """Take a fitted encoder: the words (W), their weights (W), the directions (D x W)."""
        _require_sklearn()
        from sklearn.feature_extraction.text import TfidfVectorizer

        if idf.shape != (len(words),) or components.ndim != 2 or components.shape[1] != len(words):
            raise ValueError("words, weights and directions do not fit each other")
        self._words, self._idf, self._components, self._normalize = words, idf, components, normalize
        self._directions = np.ascontiguousarray(components.T)
        if words:
            self._vectorizer = TfidfVectorizer(vocabulary=list(words), **_TFIDF)
            self._vectorizer.idf_ = idf
        digest = hashlib.sha256("\n".join(words).encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(idf).tobytes() + np.ascontiguousarray(components).tobytes())
        norm = ",normalize" if normalize else ""
        self._identity = f"{EMBEDDED}({self.dimensions}{norm}):{digest.hexdigest()[:16]}"

    @classmethod
    def fit(cls, documents: Sequence[Document], dimensions: int, normalize: bool = True, seed: int = 0) -> TfidfSvd:
        """Fit on a corpus; the same corpus gives the same encoder. Corpora of few words leave dimensions at zero."""
        _require_sklearn()
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        sample = range(len(documents))
        if len(documents) > FIT_ON:
            sample = np.sort(np.random.default_rng(seed).choice(len(documents), FIT_ON, replace=False)).tolist()
        vectorizer = TfidfVectorizer(max_features=_MAX_WORDS, **_TFIDF)
        try:
            matrix = vectorizer.fit_transform(documents[i].contents for i in sample)
        except ValueError:  # no word in all the corpus
            return cls((), np.zeros(0, np.float32), np.zeros((dimensions, 0), np.float32), normalize)
        words = tuple(vectorizer.get_feature_names_out().tolist())
        components = np.zeros((dimensions, len(words)), dtype=np.float32)
        rank = min(dimensions, *matrix.shape)
        svd = TruncatedSVD(rank, n_iter=4, random_state=seed)
        svd.fit(matrix)
        # The strongest directions, which most passages share, are damped: worth two points of recall.
        components[:rank] = svd.components_ / np.sqrt(np.maximum(svd.singular_values_, 1e-6))[:, None]
        return cls(words, vectorizer.idf_.astype(np.float32), components, normalize)

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def dimensions(self) -> int:
        return int(self._components.shape[0])

    def queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts)

    def passages(self, documents: Sequence[Document]) -> Vectors:
        return self._encode([document.contents for document in documents])

    def save(self, folder: Path) -> None:
        card = {"kind": EMBEDDED, "identity": self.identity, "normalize": self._normalize, "words": self._words}
        (folder / CARD).write_text(json.dumps(card), encoding="utf-8")
        np.savez(folder / ARRAYS, idf=self._idf, components=self._components)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        if not self._words or not texts:
            return np.zeros((len(texts), self.dimensions), dtype=np.float32)
        vectors: Vectors = (self._vectorizer.transform(texts) @ self._directions).astype(np.float32, copy=False)
        return unit(vectors) if self._normalize else vectors


def unit(vectors: Vectors) -> Vectors:
    """Rows of length one; rows of zeros stay so."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    result: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-9)
    return result


def words_of(text: str) -> list[str]:
    """The stems of a text, stopwords left out."""
    stem, stopwords = english_stemmer(), english_stopwords()
    return [stem(word) for word in words_in(text[:_MAX_LETTERS]) if word not in stopwords]


_TFIDF: dict[str, Any] = {"analyzer": words_of, "sublinear_tf": True, "dtype": np.float32}


def _require_sklearn() -> None:
    if find_spec("sklearn") is None:
        raise MissingExtra("scikit-learn", "dense")
