"""Dense retrieval: exact where it says so, ties by place, and refusals in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faiss", reason="needs the extra dense")
pytest.importorskip("sklearn", reason="needs the extra dense")

from jade_env.errors import ConfigError, DataError
from jade_env.retrieval.dense import DenseRetriever, add_vectors, make_index, read_index, train_index, write_index
from jade_env.retrieval.encoders import TfidfSvd, Vectors
from jade_env.retrieval.make import HeldCorpus, make_retriever
from jade_env.retrieval.types import Document, Retriever
from jade_env.retriever_settings import Dense

DIMENSIONS = 32


class Given:
    """An encoder of vectors made beforehand; texts are numbers of rows."""

    identity = "given"
    dimensions = DIMENSIONS

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def queries(self, texts: Sequence[str]) -> Vectors:
        return self.vectors[[int(text) for text in texts]]

    def passages(self, documents: Sequence[Document]) -> Vectors:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def made(
    passages: Vectors, queries: Vectors, factory: str = "Flat", metric: str = "ip", **search: int
) -> DenseRetriever:
    index = make_index(factory, DIMENSIONS, metric)  # type: ignore[arg-type]
    train_index(index, passages, factory)
    add_vectors(index, [passages])
    documents = [Document(str(i), "", f"passage {i}") for i in range(len(passages))]
    return DenseRetriever(documents, index, Given(queries), identity="test", search=search, device="cpu")


def random(rows: int, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).standard_normal((rows, DIMENSIONS)).astype(np.float32)


def brute_force(passages: Vectors, queries: Vectors, metric: str) -> np.ndarray:
    p, q = passages.astype(np.float64), queries.astype(np.float64)
    if metric == "ip":
        return (q @ p.T).astype(np.float32)
    return -((q[:, None, :] - p[None]) ** 2).sum(axis=2).astype(np.float32)


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_flat_equals_brute_force_numpy_exactly_whatever_the_batch(metric: str, batch: int) -> None:
    passages, queries = random(2000), random(64, seed=1)
    scores = brute_force(passages, queries, metric)
    expected = np.lexsort((np.broadcast_to(np.arange(2000), scores.shape), -scores), axis=1)[:, :20]
    retriever = made(passages, queries, metric=metric)
    for start in range(0, 64, batch):
        names = [str(i) for i in range(start, min(64, start + batch))]
        for row, hits in zip(range(start, start + batch), retriever.search(names, 20), strict=False):
            assert [int(hit.document.id) for hit in hits] == expected[row].tolist()
            assert [hit.score for hit in hits] == scores[row][expected[row]].tolist()


@pytest.mark.parametrize("batch", [1, 64])
def test_a_search_leaves_the_settings_of_faiss_as_they_were(batch: int) -> None:
    """They belong to the whole process, and to whoever else uses FAISS in it."""
    import faiss

    retriever = made(random(200), random(batch, seed=1))
    before = faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold
    retriever.search([str(i) for i in range(batch)], 3)
    assert (faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold) == before


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_equal_scores_are_ordered_by_place_even_beyond_what_was_first_asked_for(metric: str) -> None:
    passages = np.repeat(random(10), 100, axis=0)  # every passage stands a hundred times
    retriever = made(passages, passages, metric=metric)
    for query in (0, 450, 999):
        (hits,) = retriever.search([str(query)], 30)
        first = 100 * (query // 100)
        if metric == "l2":
            assert [int(hit.document.id) for hit in hits] == list(range(first, first + 30))
        numbers = [int(hit.document.id) for hit in hits]
        assert numbers == sorted(numbers)
        assert numbers[0] % 100 == 0


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,PQ8", "IVF16,Flat", "SQ8", "PCA16,IVF8,Flat"])
def test_any_factory_string_searches_and_reads_back_alike(tmp_path: Path, factory: str) -> None:
    passages, queries = random(3000), random(20, seed=1)
    retriever = made(passages, queries, factory)
    write_index(retriever._index, tmp_path / "index")
    again = DenseRetriever(
        retriever.documents, read_index(tmp_path / "index"), Given(queries), identity="test", device="cpu"
    )
    names = [str(i) for i in range(20)]
    answers = retriever.search(names, 5)
    assert answers == again.search(names, 5)
    assert all(len(hits) == 5 for hits in answers)
    for hits in answers:
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_building_a_graph_twice_gives_the_same_answers() -> None:
    passages, queries = random(3000), random(50, seed=1)
    names = [str(i) for i in range(50)]
    first, second = (made(passages, queries, "HNSW16").search(names, 10) for _ in range(2))
    assert first == second


def test_more_clusters_looked_at_find_more_and_change_the_identity() -> None:
    passages, queries = random(4000), random(100, seed=1)
    names = [str(i) for i in range(100)]
    exact = [{hit.document.id for hit in hits} for hits in made(passages, queries).search(names, 10)]

    def found(nprobe: int) -> int:
        answers = made(passages, queries, "IVF64,Flat", nprobe=nprobe).search(names, 10)
        return sum(len(best & {hit.document.id for hit in hits}) for best, hits in zip(exact, answers, strict=True))

    assert found(1) < found(16) < found(64) == 1000
    identities = {made(passages, queries, "IVF64,Flat", nprobe=n).identity for n in (1, 16)}
    assert len(identities) == 2


def test_top_k_beyond_the_corpus_gives_all_of_it() -> None:
    retriever = made(random(5), random(1))
    assert len(retriever.search(["0"], 100)[0]) == 5


def test_a_query_without_content_has_no_hits() -> None:
    queries = random(2)
    queries[1] = 0
    assert [len(hits) for hits in made(random(50), queries).search(["0", "1", "0"], 3)] == [3, 0, 3]
    assert made(random(50), queries).search([], 3) == []


@pytest.mark.parametrize("factory", ["nonsense", "PQ7", "", "IDMap,Flat"])
def test_an_index_that_cannot_be_is_refused_by_name(factory: str) -> None:
    with pytest.raises(ConfigError, match=r"retriever\.index: .*" + factory):
        make_index(factory, DIMENSIONS, "ip")


def test_misuse_is_refused() -> None:
    retriever = made(random(50), random(1))
    assert isinstance(retriever, Retriever)
    with pytest.raises(ConfigError, match="top_k is 0"):
        retriever.search(["0"], 0)
    with pytest.raises(ConfigError, match="give a list"):
        retriever.search("0", 1)
    with pytest.raises(ConfigError, match="has no efSearch"):
        made(random(50), random(1), efSearch=3)
    with pytest.raises(ConfigError, match="50 passages"):
        made(random(50), random(1), "IVF64,Flat")
    with pytest.raises(DataError, match="do not fit|build the index anew"):
        DenseRetriever([], retriever._index, Given(random(1)), identity="test")


# ---- the embedded encoder, and retrievers made from settings --------------------------------------------------------

TOWNS = [
    Document(str(i), f"Town {i}", text)
    for i, text in enumerate(
        ["A port in Norway, known for herring.", "The capital of France, on the Seine.", "A spa in Bohemia."] * 5
    )
]


def test_the_embedded_encoder_finds_what_shares_words_and_is_the_same_every_time() -> None:
    retrievers = [
        DenseRetriever(TOWNS, index, encoder, identity="x", device="cpu")
        for encoder in (TfidfSvd.fit(TOWNS, 8), TfidfSvd.fit(TOWNS, 8))
        for index in [make_index("Flat", 8, "ip")]
        if add_vectors(index, [encoder.passages(TOWNS)]) is None
    ]
    first, second = retrievers
    assert first.encoder.identity == second.encoder.identity
    answers = first.search(["capital of France", "herring ports"], 1)
    assert [hits[0].document.text for hits in answers] == [TOWNS[1].text, TOWNS[0].text]
    assert answers == second.search(["capital of France", "herring ports"], 1)


@pytest.mark.parametrize("query", ["", "   ", "the of and", "zebra", "\x00\ud800"])
def test_an_empty_query_and_one_without_known_words_find_nothing(query: str, tmp_path: Path) -> None:
    retriever = make_retriever(Dense(dimensions=8), HeldCorpus(TOWNS))
    assert retriever.search([query], 3) == [[]]


def test_a_query_of_100_kilobytes_is_answered() -> None:
    retriever = make_retriever(Dense(dimensions=8), HeldCorpus(TOWNS))
    assert retriever.search(["herring " * 12_500], 1)[0][0].document.id == "0"


def test_a_corpus_without_words_finds_nothing() -> None:
    retriever = make_retriever(Dense(dimensions=4), HeldCorpus([Document("0", "", "the"), Document("1", "", "a")]))
    assert retriever.search(["the"], 2) == [[]]


def test_an_index_of_a_corpus_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, corpus = Dense(dimensions=8, cache=0), HeldCorpus(TOWNS)
    first = make_retriever(settings, corpus)
    monkeypatch.setattr(TfidfSvd, "fit", None)  # a second fit would raise
    second = make_retriever(settings, corpus)
    assert second.identity == first.identity
    assert second.search(["herring", "Seine"], 5) == first.search(["herring", "Seine"], 5)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JADE_CACHE", str(tmp_path / "cache"))
