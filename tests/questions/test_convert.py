"""From official files to our layout."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from jade_env.errors import ConfigError, DataError
from jade_env.questions import Step
from jade_env.questions.convert import ConversionReport, convert
from jade_env.questions.datasets import read_corpus, read_questions

HOTPOT: list[dict[str, Any]] = [
    {
        "_id": "5a1",
        "question": "Which  river crosses the town where Ann &amp; Co sits?",
        "answer": "the Mawe",
        "type": "bridge",
        "level": "hard",
        "context": [
            ["Ann &amp; Co", ["Ann &amp; Co sits in Dun.", " It sells  tea."]],
            ["Mill", ["A mill."]],
            ["Dun", ["Dun lies on the Mawe."]],
        ],
        "supporting_facts": [["Ann &amp; Co", 0], ["Dun", 0], ["Ann &amp; Co", 1]],
    },
    {
        "_id": "5a2",
        "question": "Are Dun and Mill towns?",
        "answer": "no",
        "type": "comparison",
        "level": "easy",
        "context": [["Dun", ["Dun lies on the  Mawe. "]], ["Mill", ["Another mill."]]],
        "supporting_facts": [["Dun", 0], ["Gone", 0]],
    },
]
TWO_WIKI: list[dict[str, Any]] = [
    {
        "_id": "7b1",
        "type": "compositional",
        "question": "When was the director of Tide born?",
        "context": [["Tide (film)", ["Tide is by Ann Lee."]], ["Ann Lee", ["Ann Lee, born 1901.", "She sang."]]],
        "supporting_facts": [["Tide (film)", 0], ["Ann Lee", 0]],
        "evidences": [["Tide", "director", "Ann Lee"], ["Ann Lee", "date of birth", "1901"], ["Bob", "age", "3"]],
        "answer": "1901",
    }
]
MUSIQUE: list[dict[str, Any]] = [
    {
        "id": "2hop__1_2",
        "paragraphs": [
            {"idx": 0, "title": "Dun", "paragraph_text": "Dun has a tower.", "is_supporting": True},
            {"idx": 1, "title": "Ann", "paragraph_text": "Ann was born in Dun.", "is_supporting": True},
        ],
        "question": "What is in the town where Ann was born?",
        "question_decomposition": [
            {"id": 1, "question": "Ann >> born in", "answer": "Dun", "paragraph_support_idx": 1},
            {"id": 2, "question": "What is in #1?", "answer": "a tower", "paragraph_support_idx": 0},
        ],
        "answer": "a tower",
        "answer_aliases": ["tower", "a tower"],
        "answerable": True,
    },
    {
        "id": "2hop__1_2",
        "paragraphs": [{"idx": 0, "title": "Lost", "paragraph_text": "Nothing.", "is_supporting": False}],
        "question": "What is in the town where Ann was born?",
        "question_decomposition": [
            {"id": 1, "question": "Ann >> born in", "answer": "Dun", "paragraph_support_idx": None}
        ],
        "answer": "a tower",
        "answer_aliases": [],
        "answerable": False,
    },
]


def save(path: Path, records: list[dict[str, Any]], lines: bool = False) -> Path:
    """Write an official file."""
    path.write_text("\n".join(map(json.dumps, records)) if lines else json.dumps(records), "utf-8")
    return path


def test_hotpotqa_is_converted(tmp_path: Path) -> None:
    report = convert("hotpotqa", {"dev": save(tmp_path / "hotpot.json", HOTPOT)}, tmp_path / "out")
    assert report == ConversionReport(4, 1, {"dev": 2}, {"dev": 0}, 1)
    corpus = {document.title: document for document in read_corpus(tmp_path / "out" / "corpus.jsonl")}
    assert corpus["Ann & Co"].text == "Ann & Co sits in Dun. It sells tea."
    first, second = read_questions(tmp_path / "out" / "dev.jsonl")
    assert first.id == "dev_0"
    assert first.text == "Which river crosses the town where Ann & Co sits?"
    assert first.golden_answers == ("the Mawe",)
    assert first.supporting_ids == (corpus["Ann & Co"].id, corpus["Dun"].id)
    expected = {"source_id": "5a1", "type": "bridge", "level": "hard", "hops": 2, "supporting_ids": ["0", "2"]}
    assert first.metadata == expected
    assert second.supporting_ids == (corpus["Dun"].id,)


def test_of_two_paragraphs_with_one_title_that_with_the_sentence_supports(tmp_path: Path) -> None:
    twice = [["Dun", ["Dun is a town."]], ["Dun", ["Dun is a song.", "It is about the Mawe."]], ["Mill", ["A mill."]]]
    facts = [["Dun", 0], ["Mill", 7], ["Dun", 1]]  # the official files have sentence numbers that no paragraph has
    (tmp_path / "dev.json").write_text(json.dumps([{**HOTPOT[0], "context": twice, "supporting_facts": facts}]))
    convert("hotpotqa", {"dev": tmp_path / "dev.json"}, tmp_path / "out")
    (question,) = read_questions(tmp_path / "out" / "dev.jsonl")
    texts = {document.id: document.text for document in read_corpus(tmp_path / "out" / "corpus.jsonl")}
    assert [texts[name] for name in question.supporting_ids] == [
        "Dun is a song. It is about the Mawe.",
        "A mill.",
    ]


def test_two_wiki_is_converted_with_its_evidence_as_steps(tmp_path: Path) -> None:
    convert("2wikimultihopqa", {"train": save(tmp_path / "wiki.json", TWO_WIKI)}, tmp_path / "out")
    (question,) = read_questions(tmp_path / "out" / "train.jsonl")
    assert question.kind == "compositional"
    assert question.decomposition == (
        Step("Tide >> director", "Ann Lee", "0"),
        Step("Ann Lee >> date of birth", "1901", "1"),
        Step("Bob >> age", "3", None),
    )
    assert [document.text for document in read_corpus(tmp_path / "out" / "corpus.jsonl")][
        1
    ] == "Ann Lee, born 1901. She sang."


def test_musique_drops_what_cannot_be_answered_and_keeps_its_paragraphs(tmp_path: Path) -> None:
    report = convert("musique", {"dev": save(tmp_path / "musique.jsonl", MUSIQUE, lines=True)}, tmp_path / "out")
    assert (report.passages, report.questions, report.dropped) == (3, {"dev": 1}, {"dev": 1})
    (question,) = read_questions(tmp_path / "out" / "dev.jsonl")
    assert question.golden_answers == ("a tower", "tower")
    assert question.kind == "2hop"
    assert question.supporting_ids == ("1", "0")
    assert question.decomposition == (Step("Ann >> born in", "Dun", "1"), Step("What is in #1?", "a tower", "0"))
    assert {document.title for document in read_corpus(tmp_path / "out" / "corpus.jsonl")} == {"Dun", "Ann", "Lost"}


def test_splits_share_one_corpus_and_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    files = {"train": save(tmp_path / "a.json", HOTPOT[:1]), "dev": save(tmp_path / "b.json", HOTPOT)}
    report = convert("hotpotqa", files, tmp_path / "out", progress=lambda split, count: told.append((split, count)))
    assert report.questions == {"train": 1, "dev": 2}
    assert report.passages == 4
    (train,), (dev, _) = (list(read_questions(tmp_path / "out" / f"{split}.jsonl")) for split in files)
    assert train.supporting_ids == dev.supporting_ids
    assert told == [("train", 1), ("dev", 2)]


def test_a_list_over_many_lines_and_one_object_a_line_are_both_read(tmp_path: Path) -> None:
    (tmp_path / "pretty.json").write_text("\ufeff" + json.dumps(HOTPOT, indent=2), "utf-8")
    one = convert("hotpotqa", {"dev": tmp_path / "pretty.json"}, tmp_path / "one")
    two = convert("hotpotqa", {"dev": save(tmp_path / "lines.jsonl", HOTPOT, lines=True)}, tmp_path / "two")
    assert one == two


def without(record: dict[str, Any], field: str) -> dict[str, Any]:
    """Return a record less one field."""
    return {key: value for key, value in deepcopy(record).items() if key != field}


@pytest.mark.parametrize(
    ("dataset", "records", "complaint"),
    [
        (
            "hotpotqa",
            [HOTPOT[0], without(HOTPOT[1], "answer")],
            "record 2: there is no answer; the official test files",
        ),
        ("hotpotqa", [without(HOTPOT[0], "context")], 'record 1: "context" is missing'),
        ("hotpotqa", [without(HOTPOT[0], "_id")], 'record 1: "_id" is missing'),
        ("hotpotqa", [{**HOTPOT[0], "context": [["Dun"]]}], '"context" holds something other'),
        ("hotpotqa", [{**HOTPOT[0], "context": [["Dun", "text"]]}], '"context" holds something other'),
        ("hotpotqa", [{**HOTPOT[0], "context": [["", []]]}], "a paragraph is blank"),
        ("hotpotqa", [{**HOTPOT[0], "supporting_facts": ["Dun"]}], '"supporting_facts" holds something other'),
        ("hotpotqa", [{**HOTPOT[0], "answer": " "}], "' *' in golden_answers is not an answer"),
        ("hotpotqa", MUSIQUE, '"context" is missing'),
        ("2wikimultihopqa", HOTPOT, '"evidences" is missing'),
        ("2wikimultihopqa", [{**TWO_WIKI[0], "evidences": [["a", "b"]]}], '"evidences" holds something other'),
        ("musique", HOTPOT, '"paragraphs" is missing'),
        ("musique", [{**MUSIQUE[0], "paragraphs": [{"title": "a"}]}], '"paragraphs" holds something without'),
        ("musique", [{**MUSIQUE[0], "question_decomposition": ["a"]}], '"question_decomposition" holds something'),
        ("musique", [{**MUSIQUE[0], "answer_aliases": "a"}], '"answer_aliases" is not a list'),
        ("musique", [MUSIQUE[1]], "none of its questions can be answered"),
    ],
)
def test_a_wrong_file_is_named_by_record_and_nothing_is_written(
    tmp_path: Path, dataset: str, records: list[dict[str, Any]], complaint: str
) -> None:
    path = save(tmp_path / "official.json", records)
    with pytest.raises(DataError, match=complaint) as caught:
        convert(dataset, {"dev": path}, tmp_path / "out")
    assert str(caught.value).startswith(str(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('[{"_id": 1},', r"official\.json:1: record"),
        ("[", r"official\.json:1: record 1: broken JSON"),
        ("[\n{}\n{}]", r"official\.json:2: record 1"),
        ("[]", r"official\.json: the list is empty"),
        (json.dumps(HOTPOT) * 2, r"official\.json: there is more behind the end of the list"),
        ("[3]", r"official\.json:1: record 1: not an object"),
        ("", r"official\.json: the file is empty"),
        ("{", r"official\.json:1: broken JSON"),
        (b"[{\xff", r"official\.json: byte 3 is not UTF-8"),
        (json.dumps(HOTPOT)[:-1], r"official\.json:1: record 2: no comma and no end"),
        (json.dumps(HOTPOT)[:-9], r"official\.json:1: record 2: broken JSON"),
    ],
)
def test_a_broken_file_is_named_by_line(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    path = tmp_path / "official.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=complaint):
        convert("hotpotqa", {"dev": path}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_that_are_there_are_not_replaced_unless_told_to(tmp_path: Path) -> None:
    files = {"dev": save(tmp_path / "hotpot.json", HOTPOT)}
    convert("hotpotqa", files, tmp_path / "out")
    before = (tmp_path / "out" / "corpus.jsonl").read_bytes()
    with pytest.raises(DataError, match=r"corpus\.jsonl: is there already"):
        convert("hotpotqa", files, tmp_path / "out")
    with pytest.raises(DataError, match="is missing"):
        convert("musique", files, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "corpus.jsonl").read_bytes() == before
    convert("hotpotqa", {"dev": save(tmp_path / "hotpot.json", HOTPOT[:1])}, tmp_path / "out", overwrite=True)
    assert len(list(read_questions(tmp_path / "out" / "dev.jsonl"))) == 1


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "hotpot.json", HOTPOT)
    with pytest.raises(ConfigError, match="'hotpot' is not one of hotpotqa, 2wikimultihopqa, musique"):
        convert("hotpot", {"dev": path}, tmp_path / "out")
    with pytest.raises(ConfigError, match="no files given"):
        convert("hotpotqa", {}, tmp_path / "out")
    for split in ("corpus", "../dev", "", "a b"):
        with pytest.raises(ConfigError, match="cannot name a split"):
            convert("hotpotqa", {split: path}, tmp_path / "out")
    with pytest.raises(DataError, match="no such file"):
        convert("hotpotqa", {"dev": tmp_path / "gone.json"}, tmp_path / "out")
