"""Fusion: the sums are those of the formulas, ties are settled, parts that find nothing do no harm, and failures stay failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from jade_env.envs.pool import Pool
from jade_env.errors import ConfigError, RetrievalError
from jade_env.game.episode import Episode
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.hybrid import HybridRetriever
from jade_env.retrieval.make import HeldCorpus, make_retriever
from jade_env.retrieval.types import Document, Hit, Retriever
from jade_env.retriever_settings import Bm25, Hybrid
from jade_env.scenario import Scenario, load_scenario

DOCUMENTS = {name: Document(name, name, "") for name in "abcde"}


class Ranking:
    """A part that gives every query the same hits."""

    def __init__(self, identity: str, **scores: float) -> None:
        self.identity = identity
        self.hits = [Hit(DOCUMENTS[name], score) for name, score in scores.items()]
        self.asked: list[int] = []

    def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
        self.asked.append(top_k)
        return [self.hits[:top_k] for _ in queries]


def found(hybrid: HybridRetriever, top_k: int = 5) -> dict[str, float]:
    (hits,) = hybrid.search(["query"], top_k)
    return {hit.document.id: hit.score for hit in hits}


def test_reciprocal_ranks_add_up_by_the_formula() -> None:
    parts = Ranking("x", a=9, b=8, c=7), Ranking("y", c=0.3, d=0.2)
    sums = found(HybridRetriever(parts, rrf_k=60))
    assert list(sums) == ["c", "a", "b", "d"]
    assert sums["c"] == pytest.approx(1 / 63 + 1 / 61)
    assert sums["d"] == pytest.approx(1 / 62)


def test_weighted_scores_are_brought_to_the_same_scale_first() -> None:
    parts = Ranking("x", a=900, b=500, c=100), Ranking("y", c=0.3, d=0.2, b=0.1)
    sums = found(HybridRetriever(parts, fusion="weighted", weights=(0.4, 0.6)))
    assert sums == pytest.approx({"c": 0.6, "a": 0.4, "d": 0.3, "b": 0.2})
    assert list(sums) == ["c", "a", "d", "b"]


def test_a_weight_of_zero_leaves_the_order_of_the_other_part() -> None:
    parts = Ranking("x", a=3, b=2, c=1), Ranking("y", d=9, e=8)
    for fusion in ("rrf", "weighted"):
        assert list(found(HybridRetriever(parts, fusion=fusion, weights=(1, 0)), 3))[:2] == ["a", "b"]  # type: ignore[arg-type]


def test_ties_are_settled_by_the_first_part() -> None:
    sums = found(HybridRetriever((Ranking("x", a=2, b=1), Ranking("y", b=2, a=1))))
    assert list(sums) == ["a", "b"]
    assert sums["a"] == sums["b"]


def test_parts_are_asked_deeper_than_top_k() -> None:
    part = Ranking("x", a=1)
    HybridRetriever((part, part)).search(["query"], 5)
    HybridRetriever((part, part)).search(["query"], 80)
    HybridRetriever((part, part), depth=7).search(["query"], 5)
    assert part.asked == [50, 50, 80, 80, 7, 7]


def test_parts_that_find_nothing_or_scores_all_alike_do_no_harm() -> None:
    assert found(HybridRetriever((Ranking("x"), Ranking("y")))) == {}
    assert list(found(HybridRetriever((Ranking("x"), Ranking("y", b=1, a=1)), fusion="weighted"))) == ["b", "a"]


def test_a_part_that_fails_fails_the_whole() -> None:
    class Down(Ranking):
        def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
            raise RetrievalError("the server is down")

    with pytest.raises(RetrievalError, match="down"):
        HybridRetriever((Ranking("x", a=1), Down("y"))).search(["query"], 5)


def test_the_identity_tells_parts_rule_and_weights() -> None:
    x, y = Ranking("x"), Ranking("y")
    hybrids = [
        HybridRetriever((x, y)),
        HybridRetriever((y, x)),
        HybridRetriever((x, y), rrf_k=10),
        HybridRetriever((x, y), weights=(1, 2)),
        HybridRetriever((x, y), fusion="weighted"),
        HybridRetriever((x, y), depth=9),
    ]
    assert len({hybrid.identity for hybrid in hybrids}) == len(hybrids)
    assert all(isinstance(hybrid, Retriever) for hybrid in hybrids)


def test_misuse_is_refused() -> None:
    part = Ranking("x", a=1)
    with pytest.raises(ConfigError, match="two parts or more"):
        HybridRetriever([part])
    with pytest.raises(ConfigError, match="weights"):
        HybridRetriever([part, part], weights=(1,))
    with pytest.raises(ConfigError, match="at least 0"):
        HybridRetriever([part, part], weights=(0, 0))
    with pytest.raises(ConfigError, match="top_k is 0"):
        HybridRetriever([part, part]).search(["q"], 0)
    with pytest.raises(ConfigError, match="give a list"):
        HybridRetriever([part, part]).search("q", 1)


def test_settings_may_nest_hybrids() -> None:
    documents = [Document("0", "Oslo", "A port."), Document("1", "Paris", "A capital.")]
    inner = Hybrid(of=(Bm25(), Bm25(stem=False)))
    made = make_retriever(Hybrid(of=(inner, Bm25(k1=0.5)), top_k=2), HeldCorpus(documents))
    assert [hit.document for hit in made.search(["capital"], 2)[0]] == [documents[1]]
    assert BM25Retriever(documents).identity in made.identity


def test_a_part_that_answers_too_few_queries_fails_the_whole() -> None:
    class Short(Ranking):
        def search(self, queries: Sequence[str], top_k: int) -> list[list[Hit]]:
            return super().search(queries, top_k)[1:]

    with pytest.raises(RetrievalError, match="y gave 1 answers to 2 queries"):
        HybridRetriever((Ranking("x", a=1), Short("y"))).search(["one", "two"], 5)


# ---- a part behind a server ------------------------------------------------------------------------------------------

WORLD = {"data.passages": 300, "data.train": 60}


def with_a_remote_part(url: str, on_failure: str | None = None, nested: bool = False) -> Scenario:
    part: dict[str, Any] = {"kind": "remote", "urls": [url], "retries": 0, "timeout": 1.0}
    if on_failure:
        part["on_failure"] = on_failure
    of: list[dict[str, Any]] = [{"kind": "bm25"}, part]
    if nested:
        of = [{"kind": "bm25", "stem": False}, {"kind": "hybrid", "of": of}]
    return load_scenario("cooperative", {**WORLD, "retriever": {"kind": "hybrid", "of": of}})


def retrieve(pool: Pool) -> list[Episode]:
    """Play every open turn: the planners retrieve, and then the generators answer."""
    plan = {"workflow": "<workflow>R,AG</workflow>"}
    return pool.step({turn.id: plan.get(turn.kind, "<answer>x</answer>") for turn in pool.turns()})


def test_documents_of_a_server_and_of_a_local_index_are_fused(faulty: Callable[..., Any]) -> None:
    server = faulty()
    pool = Pool(with_a_remote_part(server.url), 3)
    retrieve(pool)
    for episode in pool.episodes:
        (node,) = episode.trace.nodes
        sources = ["server" if document.id.startswith(f"{node.query}#") else "index" for document in node.retrieved]
        assert set(sources) == {"server", "index"}
    assert server.counts["requests"] == 1


@pytest.mark.parametrize("nested", [False, True], ids=["hybrid", "in a hybrid"])
@pytest.mark.parametrize("overlap", [False, True], ids=["at once", "overlap"])
@pytest.mark.parametrize("fault", ["error", "forbidden", "too_few", "hang_up"])
def test_a_part_that_fails_for_good_ends_the_episodes_that_wait_and_says_why(
    fault: str, overlap: bool, nested: bool, faulty: Callable[..., Any]
) -> None:
    server = faulty()
    pool = Pool(with_a_remote_part(server.url, nested=nested), 4, overlap=overlap)
    server.plan(forever=fault)
    ended = retrieve(pool)
    assert len(ended) == 4
    for episode in ended:
        assert server.url in episode.truncated and episode.result is None
        assert all(node.retrieved is None for node in episode.trace.nodes)
    server.plan()
    retrieve(pool)
    assert all(episode.result is not None for episode in retrieve(pool))  # nothing of the failure is remembered


@pytest.mark.parametrize("nested", [False, True], ids=["hybrid", "in a hybrid"])
@pytest.mark.parametrize("overlap", [False, True], ids=["at once", "overlap"])
def test_a_part_that_fails_for_good_stops_the_run_where_it_says_so(
    overlap: bool, nested: bool, faulty: Callable[..., Any]
) -> None:
    server = faulty()
    pool = Pool(with_a_remote_part(server.url, "raise", nested), 4, overlap=overlap)
    server.kill()
    with pytest.raises(RetrievalError, match=f"^{server.url}: "):
        retrieve(pool)


def test_a_failure_that_passes_is_tried_again_within_a_hybrid(faulty: Callable[..., Any]) -> None:
    server = faulty()
    scenario = load_scenario(
        "cooperative",
        {**WORLD, "retriever": {"kind": "hybrid", "of": [{}, {"kind": "remote", "urls": [server.url], "retries": 2}]}},
    )
    pool = Pool(scenario, 3)
    server.plan("error", "hang_up")
    assert retrieve(pool) == []
    assert server.counts["requests"] == 3


def test_remote_parts_must_say_the_same_of_failures() -> None:
    def remote(on_failure: str) -> dict[str, Any]:
        return {"kind": "remote", "urls": ["http://127.0.0.1:9"], "on_failure": on_failure}

    inner = {"kind": "hybrid", "of": [{"kind": "bm25"}, remote("raise")]}
    with pytest.raises(ConfigError, match="on_failure: raise and another truncate; give all remote parts the same"):
        load_scenario("cooperative", {"retriever": {"kind": "hybrid", "of": [inner, remote("truncate")]}})
    for said in ("raise", "truncate"):
        settings = Hybrid.model_validate({"of": [remote(said), {"kind": "hybrid", "of": [{}, remote(said)]}]})
        assert settings.on_failure == said
    assert Hybrid(of=(Bm25(), Bm25())).on_failure == "truncate"


def test_passages_without_ids_cannot_be_fused_with_those_that_have_them() -> None:
    nameless = {"kind": "remote", "urls": ["http://127.0.0.1:9"], "protocol": "jade"}
    inner = {"kind": "hybrid", "of": [nameless, nameless]}
    assert Hybrid.model_validate({"of": [inner, nameless]})
    for others in ([{"kind": "bm25"}, nameless], [{"kind": "bm25"}, inner]):
        with pytest.raises(ConfigError, match="protocol jade sends no ids, .*take search_r1"):
            load_scenario("cooperative", {"retriever": {"kind": "hybrid", "of": others}})
