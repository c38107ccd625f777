"""Saved indexes: reused by content, whole or absent, and never trusted when damaged."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.index import IndexStore
from jade_env.retrieval.types import Document

DOCUMENTS = [Document(str(i), f"Town {i}", f"A town on river {i % 5}, {i} miles from the sea.") for i in range(50)]
QUERIES = ["river 3", "town 14", "miles from the sea", "nothing of that"]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one each time an index is built rather than read."""
    calls: list[str] = []
    original = BM25Retriever._build

    def counting(self: BM25Retriever) -> object:
        calls.append(self.identity)
        return original(self)

    monkeypatch.setattr(BM25Retriever, "_build", counting)
    return calls


def only_index(folder: Path) -> Path:
    (index,) = (folder / "bm25").iterdir()
    return index


def test_an_index_is_built_once_and_answers_the_same_when_read(tmp_path: Path, built: list[str]) -> None:
    first = BM25Retriever.cached(DOCUMENTS, tmp_path)
    second = BM25Retriever.cached(DOCUMENTS, tmp_path)
    assert len(built) == 1
    assert second.search(QUERIES, 10) == first.search(QUERIES, 10) == BM25Retriever(DOCUMENTS).search(QUERIES, 10)
    assert second.identity == first.identity


def test_other_content_or_parameters_have_an_index_of_their_own(tmp_path: Path, built: list[str]) -> None:
    BM25Retriever.cached(DOCUMENTS, tmp_path)
    BM25Retriever.cached([*DOCUMENTS[:-1], Document("49", "Town 49", "Changed.")], tmp_path)
    BM25Retriever.cached(DOCUMENTS, tmp_path, stem=False)
    BM25Retriever.cached(DOCUMENTS, tmp_path, k1=1.2)
    BM25Retriever.cached(DOCUMENTS, tmp_path, k1=1.2)
    assert len(built) == len(set(built)) == 4


def test_the_saved_files_hold_no_pickle(tmp_path: Path) -> None:
    BM25Retriever.cached(DOCUMENTS, tmp_path)
    files = list(only_index(tmp_path).iterdir())
    assert {file.suffix for file in files} == {".npy", ".json"}
    for file in files:
        if file.suffix == ".npy":
            assert file.read_bytes().startswith(b"\x93NUMPY")
            assert b"'descr': '|O'" not in file.read_bytes()


def truncate(index: Path) -> None:
    file = index / "data.csc.index.npy"
    file.write_bytes(file.read_bytes()[:-8])


def flip_a_bit(index: Path) -> None:
    file = index / "indices.csc.index.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def lose_a_file(index: Path) -> None:
    (index / "vocab.index.json").unlink()


def lose_the_manifest(index: Path) -> None:
    (index / "manifest.json").unlink()


def garble_the_manifest(index: Path) -> None:
    (index / "manifest.json").write_text("[1, 2", encoding="utf-8")


def empty_the_manifest(index: Path) -> None:
    (index / "manifest.json").write_text("[]", encoding="utf-8")


def replace_by_a_file(index: Path) -> None:
    shutil.rmtree(index)
    index.write_text("not a folder", encoding="utf-8")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit, lose_a_file, lose_the_manifest, garble_the_manifest, empty_the_manifest]
)
def test_a_damaged_index_is_built_anew_and_mended(
    tmp_path: Path, built: list[str], damage: Callable[[Path], None]
) -> None:
    expected = BM25Retriever.cached(DOCUMENTS, tmp_path).search(QUERIES, 10)
    damage(only_index(tmp_path))
    assert BM25Retriever.cached(DOCUMENTS, tmp_path).search(QUERIES, 10) == expected
    assert len(built) == 2
    assert BM25Retriever.cached(DOCUMENTS, tmp_path).search(QUERIES, 10) == expected
    assert len(built) == 2


def test_what_cannot_be_put_right_is_warned_of_and_does_no_harm(tmp_path: Path) -> None:
    expected = BM25Retriever.cached(DOCUMENTS, tmp_path).search(QUERIES, 10)
    replace_by_a_file(only_index(tmp_path))
    with pytest.warns(UserWarning, match="could not be saved .* set JADE_CACHE"):
        assert BM25Retriever.cached(DOCUMENTS, tmp_path).search(QUERIES, 10) == expected


def test_a_cache_that_cannot_be_written_gives_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.warns(UserWarning, match="could not be saved") as caught:
        hits = BM25Retriever.cached(DOCUMENTS, tmp_path / "file" / "below").search(QUERIES, 10)
    assert len(caught) == 1
    assert hits == BM25Retriever(DOCUMENTS).search(QUERIES, 10)


def test_a_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    with pytest.warns(UserWarning, match="No space left on device"):
        IndexStore(tmp_path).save("kind", "hash", write)
    assert list((tmp_path / "kind").iterdir()) == []


def test_the_quicker_of_two_processes_wins_and_neither_complains(tmp_path: Path) -> None:
    store = IndexStore(tmp_path)

    def slow(folder: Path) -> None:
        store.save("kind", "hash", lambda other: (other / "text").write_text("quick") and None)
        (folder / "text").write_text("slow")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.save("kind", "hash", slow)
    assert store.load("kind", "hash", lambda folder: (folder / "text").read_text()) == "quick"
    assert [entry.name for entry in (tmp_path / "kind").iterdir()] == ["hash"]


def test_the_folder_is_that_of_the_environment_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JADE_CACHE", str(tmp_path / "cache"))
    assert IndexStore().folder == tmp_path / "cache"
    assert IndexStore(tmp_path).folder == tmp_path
    monkeypatch.delenv("JADE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert IndexStore().folder == tmp_path / ".cache" / "jade-env"


def test_a_corpus_without_words_is_not_saved(tmp_path: Path) -> None:
    retriever = BM25Retriever.cached([Document("0", "", "the")], tmp_path)
    assert retriever.search(["the"], 1) == [[]]
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_may_be_given_by_its_path(tmp_path: Path, built: list[str]) -> None:
    lines = [json.dumps({"id": d.id, "contents": f'"{d.title}"\n{d.text}'}) for d in DOCUMENTS]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    by_path = BM25Retriever.cached(tmp_path / "corpus.jsonl", tmp_path)
    BM25Retriever.cached(DOCUMENTS, tmp_path)
    assert by_path.documents == tuple(DOCUMENTS)
    assert len(built) == 1
