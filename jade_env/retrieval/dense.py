"""Nearest passages by their vectors, in an index of FAISS. Knows encoders by their protocol, and no file layout but FAISS's.

`Flat` is exact to the last bit: what FAISS finds is scored again in double precision, so that neither the batch nor the machine
changes a score, and equal scores are ordered by place in the corpus. Other indexes keep FAISS's scores, ordered alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jade_env.errors import ConfigError, DataError, MissingExtra, RetrievalError
from jade_env.retrieval.encoders import Encoder, Vectors
from jade_env.retrieval.types import Document, Hit, check_queries

if TYPE_CHECKING:
    import faiss

Metric = Literal["ip", "l2"]

_BEYOND = 8  # hits asked for beyond top_k, so that most ties at the end are seen at once
_GPU_MOST = 2048  # FAISS's limit of hits on a GPU
_ROUNDING = 1e-5  # of the largest possible score: further apart, float32 cannot have confused two scores
_IDS = 8  # bytes of a passage's number in an inverted list
_PRODUCTS = 8  # queries from which one matrix product beats a scan for each; FAISS itself waits for many thousands
_log = logging.getLogger(__name__)


class DenseRetriever:
    """Answers queries by the passages whose vectors are nearest to the query's."""

    def __init__(
        self,
        documents: Sequence[Document],
        index: faiss.Index,
        encoder: Encoder,
        *,
        identity: str,
        search: Mapping[str, int] | None = None,
        device: str = "auto",
    ) -> None:
        """Take an index whose row i is the vector of `documents[i]`.

        Raises:
            DataError: index, documents and encoder do not fit each other.
            ConfigError: the index has no such search setting, or the GPU asked for is not there.
        """
        if index.ntotal != len(documents) or index.d != encoder.dimensions:
            raise DataError(
                f"dense: an index of {index.ntotal} vectors of length {index.d} for {len(documents)} documents and an encoder "
                f"of length {encoder.dimensions}; build the index anew"
            )
        self.documents, self.encoder = documents, encoder
        self._index, self._faiss = index, _faiss()
        settings = dict(search or {})
        set_search(index, settings)
        shown = ",".join(f"{key}={value}" for key, value in sorted(settings.items()))
        self._identity = f"{identity}[{shown}]" if shown else identity
        self._exact = _flat_vectors(index)
        self._l2 = index.metric_type == self._faiss.METRIC_L2
        self._gpu, self.place = _on_gpu(index, device, settings)

    @property
    def identity(self) -> str:
        return self._identity

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        """Return for each query the `top_k` nearest documents, best first; none for a query without content.

        Scores are inner products, or squared distances with a minus before them.

        Raises:
            ConfigError: `top_k` is below 1, or `queries` is one bare string.
        """
        check_queries("dense", queries, top_k)
        answers: list[list[Hit]] = [[] for _ in queries]
        vectors = self.encoder.queries(queries)
        if not np.isfinite(vectors).all():
            raise RetrievalError(
                f"the encoder {self.encoder.identity} gave a vector that is not finite: try dtype=fp32"
            )
        asked = np.flatnonzero(vectors.any(axis=1))
        if len(asked):
            numbers, scores = self.nearest(vectors[asked], top_k)
            for place, row, values in zip(asked.tolist(), numbers.tolist(), scores.tolist(), strict=True):
                answers[place] = [Hit(self.documents[i], v) for i, v in zip(row, values, strict=True) if i >= 0]
        return answers

    def nearest(self, vectors: Vectors, top_k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Return numbers of documents and scores (queries x hits), best first; -1 where an index found fewer."""
        top_k = min(top_k, self._index.ntotal)
        if self._exact is None:
            scores, numbers = self._ask(vectors, top_k)
            if self._l2:
                scores = -scores
            if numbers.min() < 0:
                scores[numbers < 0] = -np.inf
            return _first(numbers, scores, top_k)
        wanted = min(self._index.ntotal, top_k + _BEYOND)
        values, numbers = self._ask(vectors, wanted)
        best_numbers = np.empty((len(vectors), top_k), dtype=np.int64)
        best_scores = np.empty((len(vectors), top_k), dtype=np.float32)
        rows = np.arange(len(vectors))
        while len(rows):
            scores, lengths = self._rescored(vectors[rows], numbers)
            best_numbers[rows], best_scores[rows] = _first(numbers, scores, top_k)
            if wanted == self._index.ntotal:
                break
            # Whether a passage FAISS left out could belong to the best: only if its last score is as good as our last.
            left_out = (-values if self._l2 else values)[:, -1] + _ROUNDING * lengths * lengths
            rows = rows[left_out >= best_scores[rows, -1]]
            wanted = min(self._index.ntotal, 4 * wanted)
            if len(rows):
                values, numbers = self._ask(vectors[rows], wanted)
        return best_numbers, best_scores

    def _ask(self, vectors: Vectors, wanted: int) -> tuple[Vectors, NDArray[np.int64]]:
        index = self._gpu if self._gpu is not None and wanted <= _GPU_MOST else self._index
        vectors = np.ascontiguousarray(vectors)
        if self._exact is None:  # it chooses clusters in FAISS's own way, the same in every batch
            values, numbers = index.search(vectors, wanted)
            return values, numbers
        library = self._faiss
        threads, threshold = library.omp_get_max_threads(), library.cvar.distance_compute_blas_threshold
        try:
            if len(vectors) == 1:
                library.omp_set_num_threads(1)  # several share one query's scan so badly that it takes twice as long
            if len(vectors) >= _PRODUCTS:
                library.cvar.distance_compute_blas_threshold = 1
            values, numbers = index.search(vectors, wanted)
        finally:
            library.omp_set_num_threads(threads)
            library.cvar.distance_compute_blas_threshold = threshold
        return values, numbers

    def _rescored(self, vectors: Vectors, numbers: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.float64]]:
        """The exact scores of the passages found, and each query's length plus that of its longest passage."""
        assert self._exact is not None
        scores, lengths = np.empty(numbers.shape, dtype=np.float32), np.empty(len(numbers))
        for row, (vector, found) in enumerate(zip(vectors, numbers, strict=True)):  # one at a time: memory stays small
            passages = self._exact[found].astype(np.float64)
            longest = np.einsum("kd,kd->k", passages, passages).max()
            lengths[row] = np.sqrt(longest) + np.linalg.norm(vector)
            if self._l2:
                passages -= vector
                scores[row] = -np.einsum("kd,kd->k", passages, passages)
            else:
                scores[row] = np.einsum("kd,d->k", passages, vector.astype(np.float64))
        return scores, lengths


def make_index(factory: str, dimensions: int, metric: Metric) -> faiss.Index:
    """Make an empty index of FAISS, with the seeds it has by default.

    Raises:
        ConfigError: FAISS does not know such an index, or not for vectors of this length.
    """
    library = _faiss()
    kind = library.METRIC_INNER_PRODUCT if metric == "ip" else library.METRIC_L2
    try:
        index: faiss.Index = library.index_factory(dimensions, factory, kind)
    except RuntimeError as error:
        reason = str(error).rpartition(":")[2].strip() or "unknown"
        raise ConfigError(
            f"retriever.index: FAISS makes no index {factory!r} for vectors of length {dimensions} ({reason}); try Flat, HNSW32, "
            "SQ8 or IVF1024,PQ64, where the number after PQ must divide the length"
        ) from None
    if "IDMap" in factory:
        raise ConfigError(f"retriever.index: {factory!r} renumbers passages; leave IDMap out")
    return index


def train_index(index: faiss.Index, sample: Vectors, factory: str) -> None:
    """Train an index on sample vectors.

    Raises:
        ConfigError: there are too few vectors for such an index.
    """
    if index.is_trained:
        return
    check_clusters(index, len(sample), factory)
    inner = _inner(index)
    learners: list[Any] = [inner, getattr(inner, "pq", None)]
    for learner in learners:
        if hasattr(learner, "cp"):
            learner.cp.min_points_per_centroid = 1  # or FAISS warns of few vectors, once a codebook
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # it serves a kind of search not used here, and is most of the time
    try:
        index.train(np.ascontiguousarray(sample))
    except RuntimeError as error:
        reason = str(error).rpartition("failed: ")[2].strip()
        raise ConfigError(
            f"retriever.index: {factory} cannot learn from {len(sample)} passages ({reason}); take Flat"
        ) from None


def check_clusters(index: faiss.Index, passages: int, factory: str) -> None:
    """Refuse an index with more clusters than passages; ConfigError."""
    if clusters_of(index) > passages:
        raise ConfigError(
            f"retriever.index: {factory} has {clusters_of(index)} clusters for {passages} passages; "
            f"take IVF{max(1, passages // 39)} or Flat"
        )


def add_vectors(index: faiss.Index, shards: Iterable[Vectors]) -> None:
    """Add vectors in order. Graphs are built by one thread, because several would build another one each time."""
    faiss = _faiss()
    threads = faiss.omp_get_max_threads()
    try:
        if "HNSW" in type(_inner(index)).__name__ or "NSG" in type(_inner(index)).__name__:
            faiss.omp_set_num_threads(1)
        for vectors in shards:
            index.add(np.ascontiguousarray(vectors))
    finally:
        faiss.omp_set_num_threads(threads)


def bytes_a_passage(index: faiss.Index) -> float:
    """Memory that an index takes for each passage, besides centroids and codebooks."""
    faiss = _faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return bytes_a_passage(index.base_index) + bytes_a_passage(index.refine_index)
    inner = _inner(index)
    if isinstance(inner, faiss.IndexHNSW):
        return float(inner.storage.sa_code_size() + 4 * inner.hnsw.cum_nb_neighbors(1) + _IDS)
    if isinstance(inner, faiss.IndexIVF):
        return float(inner.code_size + _IDS)
    try:
        return float(inner.sa_code_size())
    except RuntimeError:  # an index without codes of its own, such as NSG: the vectors, and as much again
        return 8.0 * index.d


def clusters_of(index: faiss.Index) -> int:
    """Number of clusters of an IVF index, 0 for others."""
    inner = _inner(index)
    return int(inner.nlist) if isinstance(inner, _faiss().IndexIVF) else 0


def set_search(index: faiss.Index, settings: dict[str, int]) -> None:
    """Set how hard an index looks; an IVF index without `nprobe` looks at a 64th of its clusters, at least 8.

    Raises:
        ConfigError: the index has no such setting.
    """
    clusters = clusters_of(index)
    if clusters:
        settings.setdefault("nprobe", min(clusters, max(8, clusters // 64)))
    for name, value in settings.items():
        try:
            _faiss().ParameterSpace().set_index_parameter(index, name, value)
        except RuntimeError:
            raise ConfigError(
                f"retriever.search: an index of the type {type(_inner(index)).__name__} has no {name}; nprobe is for IVF "
                "indexes, efSearch for HNSW"
            ) from None


def write_index(index: faiss.Index, path: Path) -> None:
    """Write an index; OSError where it cannot be."""
    try:
        _faiss().write_index(index, str(path))
    except RuntimeError as error:
        raise OSError(str(error)) from error


def read_index(path: Path) -> faiss.Index:
    """Read an index, its vectors memory-mapped where FAISS can; ValueError for a broken file."""
    library = _faiss()
    errors: list[str] = []
    for flags in (library.IO_FLAG_MMAP_IFC, 0):
        try:
            index: faiss.Index = library.read_index(str(path), flags)
            return index
        except RuntimeError as error:
            errors.append(str(error).rpartition(":")[2].strip())
    raise ValueError(f"{path.name}: {errors[-1]}")


def faiss_version() -> str:
    """FAISS's version, whichever package it comes from."""
    return str(_faiss().__version__)


def _first(numbers: NDArray[np.int64], scores: Vectors, top_k: int) -> tuple[NDArray[np.int64], Vectors]:
    """The `top_k` best of each row, equal scores by number."""
    if scores.shape[1] == top_k and (scores[:, 1:] < scores[:, :-1]).all():
        return numbers, scores
    order = np.lexsort((numbers, -scores), axis=1)[:, :top_k]
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _flat_vectors(index: faiss.Index) -> Vectors | None:
    """The stored vectors of a `Flat` index as an array over its memory; None for other indexes."""
    faiss = _faiss()
    if not isinstance(index, faiss.IndexFlat):
        return None
    vectors: Vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    return vectors


def _inner(index: faiss.Index) -> Any:
    """The index behind a transformation of the vectors, such as OPQ or PCA, or before a refinement."""
    faiss = _faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        return _inner(index.base_index)
    return _inner(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def _on_gpu(index: faiss.Index, device: str, settings: Mapping[str, int]) -> tuple[faiss.Index | None, str]:
    """A copy on a GPU where FAISS sees one and it fits, and a line that says where the index is searched."""
    faiss = _faiss()
    seen = faiss.get_num_gpus()
    if device == "cpu" or not seen:
        why = "as set" if device == "cpu" else "FAISS sees no GPU"
        if device.startswith("cuda"):
            raise ConfigError(f"retriever.device: {device} is asked for, but {why}; pip install 'jade-env[dense-gpu]'")
        place = f"index searched on the CPU ({why})"
        _log.info(place)
        return None, place
    number = int(device.partition(":")[2] or 0)
    try:
        copy = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index)
        for name, value in settings.items():
            faiss.GpuParameterSpace().set_index_parameter(copy, name, value)
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["unknown"])[-1][:120]
        if device != "auto":
            raise ConfigError(f"retriever.device: the index cannot be put on {device} ({reason})") from None
        place = f"index searched on the CPU (it does not fit the GPU: {reason})"
        _log.warning(place)
        return None, place
    place = f"index searched on GPU {number}"
    _log.info(place)
    return copy, place


def _faiss() -> Any:
    if find_spec("faiss") is None:
        raise MissingExtra("faiss", "dense")
    import faiss

    return faiss
