"""Index folders: built from any good corpus, refused in a sentence when anything is not as it should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("faiss", reason="needs the extra dense")
pytest.importorskip("sklearn", reason="needs the extra dense")

from jade_env.errors import ConfigError, DataError
from jade_env.questions.datasets import read_corpus, write_corpus
from jade_env.retrieval.bm25 import BM25Retriever
from jade_env.retrieval.builder import build_index
from jade_env.retrieval.corpus import content_hash
from jade_env.retrieval.dense import DenseRetriever
from jade_env.retrieval.folder import open_index, read_manifest
from jade_env.retrieval.make import HeldCorpus, make_retriever
from jade_env.retrieval.types import Document, Hit
from jade_env.retriever_settings import Bm25, Dense

DOCUMENTS = [
    Document(
        f"d{i}", f"Town {i}", f"A town on river {i % 5}, {i} miles from the sea. Its bells were cast in {1500 + i}."
    )
    for i in range(300)
]
QUERIES = ["river 3", "town 14", "bells cast 1612", "miles from the sea", "nothing", "", "the of", "river " * 20_000]
DENSE = Dense(dimensions=16, device="cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    write_corpus(path, DOCUMENTS)
    return path


@pytest.fixture(scope="module", params=["bm25", "dense"])
def built(request: pytest.FixtureRequest, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished index of each kind; tests copy it before they harm it."""
    out = tmp_path_factory.mktemp("built") / str(request.param)
    build_index(corpus, Bm25() if request.param == "bm25" else DENSE, out)
    return out


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / built.name))


def plain(answers: Sequence[Sequence[Hit]]) -> list[list[tuple[str, float]]]:
    return [[(hit.document.id, hit.score) for hit in hits] for hits in answers]


def test_what_else_a_corpus_says_of_its_passages_comes_with_the_hits(tmp_path: Path) -> None:
    said = [Document("0", "Will", "A play.", {"year": 1599}), Document("1", "Ann", "A house.")]
    write_corpus(tmp_path / "corpus.jsonl", said)
    build_index(tmp_path / "corpus.jsonl", Bm25(), tmp_path / "index")
    found = open_index(tmp_path / "index").search(["play", "house"], 1)
    assert [[hit.document.metadata for hit in hits] for hits in found] == [[{"year": 1599}], [{}]]
    assert content_hash(said) != content_hash([Document("0", "Will", "A play."), said[1]])


def test_a_bm25_index_on_disk_answers_to_the_last_bit_as_one_in_memory(corpus: Path, tmp_path: Path) -> None:
    for settings in (Bm25(), Bm25(stem=False, stopwords=False, k1=0.9, b=0.4)):
        out = tmp_path / f"{settings.k1}"
        build_index(corpus, settings, out)
        held = BM25Retriever(DOCUMENTS, stem=settings.stem, stopwords=settings.stopwords, k1=settings.k1, b=settings.b)
        opened = open_index(out)
        assert plain(opened.search(QUERIES, 10)) == plain(held.search(QUERIES, 10))
        assert opened.search(["river 3"], 1)[0][0].document in DOCUMENTS


def test_bm25_does_not_depend_on_how_the_corpus_was_cut(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(corpus, Bm25(), tmp_path / "one")
    monkeypatch.setattr("jade_env.retrieval.bm25_build._BLOCK_PASSAGES", 7)
    build_index(corpus, Bm25(), tmp_path / "many")
    assert read_manifest(tmp_path / "one").files == read_manifest(tmp_path / "many").files


def test_a_dense_index_on_disk_answers_as_one_in_memory(corpus: Path, tmp_path: Path, cache: Path) -> None:
    build_index(corpus, DENSE, tmp_path / "index")
    held = make_retriever(DENSE, HeldCorpus(DOCUMENTS))
    opened = open_index(tmp_path / "index", device="cpu")
    assert isinstance(opened, DenseRetriever)
    for mine, theirs in zip(opened.search(QUERIES, 10), held.search(QUERIES, 10), strict=True):
        assert [hit.score for hit in mine] == pytest.approx([hit.score for hit in theirs], abs=1e-5)


def test_the_manifest_says_what_was_built(index: Path, corpus: Path) -> None:
    manifest = read_manifest(index)
    assert manifest.corpus.passages == 300
    assert manifest.corpus.name == "corpus.jsonl"
    assert manifest.retriever.kind == index.name
    assert manifest.versions["numpy"]
    assert {file.name for file in index.iterdir()} == {*manifest.files, "manifest.json"}
    assert (manifest.encoder is not None) == (index.name == "dense")


def test_building_again_leaves_a_finished_index_alone(index: Path, corpus: Path, tmp_path: Path) -> None:
    same = read_manifest(index).retriever
    before = (index / "manifest.json").stat().st_mtime_ns
    assert build_index(corpus, same, index) == read_manifest(index)
    assert (index / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="other settings"):
        build_index(corpus, Bm25(k1=3) if same.kind == "bm25" else DENSE.model_copy(update={"dimensions": 8}), index)
    other = tmp_path / "other.jsonl"
    write_corpus(other, DOCUMENTS[:-1])
    with pytest.raises(DataError, match="another corpus"):
        build_index(other, same, index)


# ---- damage ---------------------------------------------------------------------------------------------------------


def cut_short(index: Path, name: str) -> None:
    file = index / name
    file.write_bytes(file.read_bytes()[:-8])


def flip_a_bit(index: Path, name: str) -> None:
    content = bytearray((index / name).read_bytes())
    content[len(content) // 2] ^= 1
    (index / name).write_bytes(bytes(content))


def lose(index: Path, name: str) -> None:
    (index / name).unlink()


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, lose])
def test_a_damaged_index_is_refused_in_one_sentence_that_names_the_file(
    index: Path, damage: Callable[[Path, str], None]
) -> None:
    for name in read_manifest(index).files:
        content = (index / name).read_bytes()
        damage(index, name)
        with pytest.raises(DataError, match=name) as caught:
            open_index(index)
        assert "\n" not in str(caught.value)
        (index / name).write_bytes(content)
    open_index(index)


def test_an_index_of_another_version_is_refused(index: Path) -> None:
    manifest = json.loads((index / "manifest.json").read_text(encoding="utf-8"))
    (index / "manifest.json").write_text(json.dumps(manifest | {"format": 99}), encoding="utf-8")
    with pytest.raises(DataError, match="format 99, and this version reads format 2"):
        open_index(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1,", '{"format": 2}'])
def test_a_garbled_manifest_is_refused(index: Path, text: str) -> None:
    (index / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="manifest.json"):
        open_index(index)


def test_what_is_no_index_is_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_index(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no finished index"):
        open_index(tmp_path)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="other files"):
        build_index(corpus, Bm25(), tmp_path)


# ---- the corpus -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"id": "d0", "contents": "again"}', "taken by an earlier line"),
        (b'{"id": "x", "contents": "  "}', "the passage is blank"),
        (b'{"id": "x", "contents": "caf\xe9"}', "not UTF-8"),
        (b'{"id": "x"', "broken JSON"),
        (b'{"contents": "no id"}', '"id" is missing'),
    ],
)
def test_a_line_that_is_no_passage_is_named_and_leaves_nothing_that_opens(
    corpus: Path, tmp_path: Path, line: bytes, message: str
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(corpus.read_bytes() + line + b"\n")
    with pytest.raises(DataError, match=f"broken.jsonl:301: .*{message}"):
        build_index(broken, Bm25(), tmp_path / "index")
    with pytest.raises(DataError, match="no finished index"):
        open_index(tmp_path / "index")
    broken.write_bytes(corpus.read_bytes())  # mended, as the sentence says
    build_index(broken, Bm25(), tmp_path / "index")
    assert len(open_index(tmp_path / "index").documents) == 300


def test_the_corpus_must_be_there_and_hold_something(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        build_index(tmp_path / "none.jsonl", Bm25(), tmp_path / "index")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="empty"):
        build_index(tmp_path / "empty.jsonl", Bm25(), tmp_path / "index")


@pytest.mark.parametrize("settings", [Bm25(), DENSE], ids=["bm25", "dense"])
def test_passages_of_ten_megabytes_are_indexed(tmp_path: Path, settings: Bm25 | Dense) -> None:
    huge = Document("huge", "Huge", "walrus " + "bell tower " * 900_000)
    write_corpus(tmp_path / "corpus.jsonl", [*DOCUMENTS, huge])
    build_index(tmp_path / "corpus.jsonl", settings, tmp_path / "index")
    assert "huge" in {hit.document.id for hit in open_index(tmp_path / "index").search(["bell tower"], 3)[0]}


def test_a_corpus_without_words_can_be_indexed_and_finds_nothing(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", [Document("0", "", "the"), Document("1", "", "?!")])
    for settings in (Bm25(), DENSE):
        build_index(tmp_path / "corpus.jsonl", settings, tmp_path / settings.kind)
        assert open_index(tmp_path / settings.kind).search(["the", "bell"], 5) == [[], []]


def test_ids_and_texts_come_back_as_they_were(tmp_path: Path) -> None:
    odd = [
        Document("a b", 'A "quoted" title', 'text\nof "two" lines'),
        Document("b", "Two\nlines", "bell"),
        Document("7", "", "bell \u2028 \U0001f514"),
        Document("c", "Half a pair", "bell \ud800"),
    ]
    write_corpus(tmp_path / "corpus.jsonl", odd)
    build_index(tmp_path / "corpus.jsonl", Bm25(), tmp_path / "index")
    found = open_index(tmp_path / "index").search(["bell", "quoted"], 5)
    assert {hit.document for hits in found for hit in hits} == set(read_corpus(tmp_path / "corpus.jsonl")) == set(odd)
    for hits in found:
        for hit in hits:
            assert hit.document == next(document for document in odd if document.id == hit.document.id)


# ---- limits, and scenarios that name an index ------------------------------------------------------------------------


def test_an_index_that_does_not_fit_the_memory_is_refused_before_anything_is_encoded(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jade_env.retrieval import dense_build

    index = dense_build.make_index("Flat", 768, "ip")
    assert index.ntotal == 0
    with pytest.raises(ConfigError, match=r"Flat over 21,000,000 passages of length 768 takes about 60\.1 GB"):
        dense_build.plan_index(Dense(index="Flat"), 768, 21_000_000, 8 << 30)
    dense_build.plan_index(Dense(index="IVF4096,PQ64"), 768, 21_000_000, 8 << 30)
    with pytest.raises(ConfigError, match="at least 1 GB"):
        build_index(corpus, DENSE, tmp_path / "index", memory=1 << 20)


def test_settings_that_cannot_work_leave_no_folder_behind(corpus: Path, tmp_path: Path) -> None:
    for factory in ("nonsense", "PQ7", "IVF400,Flat"):
        with pytest.raises(ConfigError, match="retriever.index"):
            build_index(corpus, DENSE.model_copy(update={"index": factory}), tmp_path / "index")
        assert not (tmp_path / "index").exists()


def test_a_scenario_uses_a_built_index_only_with_its_own_corpus(corpus: Path, tmp_path: Path) -> None:
    build_index(corpus, DENSE, tmp_path / "index")
    settings = Dense(path=str(tmp_path / "index"), device="cpu", cache=0)
    by_content = make_retriever(settings, HeldCorpus(DOCUMENTS))
    assert by_content.search(["river 3"], 2) == make_retriever(settings, HeldCorpus((), corpus)).search(["river 3"], 2)
    with pytest.raises(DataError, match="built from another corpus"):
        make_retriever(settings, HeldCorpus(DOCUMENTS[1:]))
    build_index(corpus, Bm25(), tmp_path / "bm25")
    with pytest.raises(ConfigError, match="not a dense one"):
        make_retriever(Dense(path=str(tmp_path / "bm25")), HeldCorpus(DOCUMENTS))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JADE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
