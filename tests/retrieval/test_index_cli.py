"""`jade index build|info|search` from a user's side: what is printed, and mistakes in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jade_env.cli import app
from jade_env.questions.datasets import write_corpus
from jade_env.retrieval.types import Document

DOCUMENTS = [Document(f"d{i}", f"Town {i}", f"A town on river {i % 5}, {i} miles from the sea.") for i in range(60)]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_corpus(
        tmp_path / "corpus.jsonl", [*DOCUMENTS, Document("evil", "Bell\x1b[31m", "bell\x07 \x1b]0;owned\x07 tower")]
    )
    return tmp_path / "corpus.jsonl"


def jade(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["index", *map(str, arguments)])
    return result.exit_code, result.output


def test_build_info_and_search(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    code, text = jade("build", corpus, "--out", out, "k1=1.2")
    assert (code, "61 passages" in text, f"next: jade index search {out}" in text) == (0, True, True)
    code, text = jade("info", out, "--check")
    assert code == 0
    assert "61 passages" in text
    assert "k1=1.2" in text
    code, text = jade("info", out, "--json")
    assert json.loads(text)["retriever"]["k1"] == 1.2
    code, text = jade("search", out, "town 14 river", "-k", 2)
    assert text.startswith("1. ")
    assert "[d14] Town 14" in text
    code, text = jade("search", out, "town 14", "-k", 1, "--json")
    assert json.loads(text)["hits"][0]["id"] == "d14"
    assert jade("search", out, "zebra") == (0, "nothing found\n")


def test_text_of_a_passage_cannot_command_the_terminal(corpus: Path, tmp_path: Path) -> None:
    jade("build", corpus, "--out", tmp_path / "index")
    _, text = jade("search", tmp_path / "index", "bell tower")
    assert "Bell" in text
    assert text.replace("\n", "").isprintable()


def test_a_dense_index_by_the_command_line(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="needs the extra dense")
    out = tmp_path / "index"
    code, _ = jade("build", corpus, "--retriever", "dense", "--index", "SQ8", "dimensions=16", "--out", out)
    assert code == 0
    assert "tfidf-svd(16,normalize)" in jade("info", out)[1].replace("\n", "")
    assert "searched on" in jade("search", out, "river 3")[1]
    assert "1. " in jade("search", out, "river 3")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("k2=1",), r"retriever: k2: unknown key"),
        (("--memory", "3X"), r"--memory 3X: expected a number"),
        (("--memory", "100M"), r"at least 1 GB"),
        (("k1=-1",), r"retriever: k1: .*greater than or equal to 0"),
    ],
)
def test_mistakes_are_one_sentence(corpus: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    import re

    code, text = jade("build", corpus, "--out", tmp_path / "index", *arguments)
    assert code == 2
    assert re.search(message, text)
    assert text.count("\n") == 1


def test_search_of_what_is_no_index(tmp_path: Path) -> None:
    code, text = jade("search", tmp_path / "nowhere", "town")
    assert code == 2
    assert "no such folder" in text
