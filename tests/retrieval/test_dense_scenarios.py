"""Scenarios choose their retriever by its block: every kind plays, and a wrong block is explained by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("faiss", reason="needs the extra dense")
pytest.importorskip("sklearn", reason="needs the extra dense")

import jade_env
from jade_env.errors import ConfigError
from jade_env.scenario import Bm25, load_scenario

PARTS: dict[str, Any] = {"kind": "hybrid", "of": [{"kind": "bm25"}, {"kind": "dense", "dimensions": 32}]}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"kind": "dens"}, r"retriever.kind: 'dens' is not one of bm25, dense, hybrid, remote; did you mean 'dense'\?"),
        ({"kind": "dense", "encodr": "x"}, r"retriever.encodr: unknown key; did you mean 'encoder'\?"),
        ({"kind": "bm25", "index": "Flat"}, r"retriever.index: unknown key.*allowed: kind, top_k, stem"),
        ({"kind": "dense", "search": {"nprob": 1}}, r"retriever.search.nprob: .*did you mean 'nprobe'"),
        ({"kind": "dense", "path": "x", "index": "SQ8"}, r"the built index has its own index"),
        ({"kind": "hybrid", "of": [{}]}, r"retriever.of: a hybrid has at least two parts"),
        ({**PARTS, "weights": [1]}, r"weights: 1 for 2 parts"),
        ({**PARTS, "weights": [0, 0]}, r"retriever.weights: all are 0"),
        (
            {"kind": "hybrid", "of": [{}, {"kind": "dense", "metric": "cosine"}]},
            r"retriever.of.1.metric: 'cosine' is not",
        ),
        ({"kind": "remote", "urls": []}, r"retriever.urls: name at least one server"),
        ({"kind": "remote", "urls": ["localhost"]}, r"retriever.urls.0: "),
    ],
)
def test_a_wrong_block_is_explained(block: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_scenario("cooperative", {"retriever": block})


def test_a_block_without_a_kind_is_bm25_as_it_always_was() -> None:
    assert load_scenario("cooperative", {"retriever": {"top_k": 7}}).retriever == Bm25(top_k=7)
    settings = load_scenario("cooperative", {"retriever.kind": "dense"}).retriever
    assert (settings.kind, settings.top_k) == ("dense", 3)


@pytest.mark.parametrize("block", [{"kind": "dense", "dimensions": 32}, PARTS], ids=["dense", "hybrid"])
def test_episodes_play_the_same_twice_and_in_pools_of_any_size(
    block: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JADE_CACHE", str(tmp_path))

    def documents(n: int) -> dict[str, list[str]]:
        changes = {"retriever": block, "workflows": [["R", "AG"]]}
        pool = jade_env.make_pool("small_world", n=n, mode="discrete", split="dev", overrides=changes)
        found: dict[str, list[str]] = {}
        while len(found) < 12:
            for episode in pool.step({turn.id: 1 for turn in pool.turns()}):
                found[str(episode.question.id)] = [
                    document.id for node in episode.trace.nodes for document in node.documents
                ]
        return found

    one, many = documents(1), documents(6)
    both = one.keys() & many.keys()
    assert len(both) > 5
    assert all(one[name] for name in both)
    assert {name: one[name] for name in both} == {name: many[name] for name in both}
