"""Questions and corpora on disk."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jade_env.errors import DataError
from jade_env.questions import Question, Step
from jade_env.questions.datasets import (
    complete,
    question_from,
    question_record,
    read_corpus,
    read_questions,
    write_corpus,
    write_questions,
)
from jade_env.questions.jsonl import UniqueIds
from jade_env.retrieval.types import Document

GOOD = {"id": "dev_0", "question": "Who?", "golden_answers": ["Ann"]}
ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
FILLED = ANY_TEXT.filter(lambda text: bool(text.strip()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
TYPED = ("type", "supporting_ids", "decomposition")
STEPS = st.builds(Step, ANY_TEXT, ANY_TEXT, st.none() | ANY_TEXT)
QUESTIONS = st.builds(
    Question,
    id=ANY_TEXT.filter(bool),
    text=FILLED,
    golden_answers=st.lists(FILLED, min_size=1, max_size=3).map(tuple),
    kind=ANY_TEXT,
    supporting_ids=st.lists(ANY_TEXT, max_size=3).map(tuple),
    decomposition=st.lists(STEPS, max_size=3).map(tuple),
    metadata=st.dictionaries(ANY_TEXT.filter(lambda key: key not in TYPED), JSON, max_size=3),
)
DOCUMENTS = st.builds(Document, ANY_TEXT.filter(bool), ANY_TEXT, FILLED)


def write(path: Path, *lines: object) -> Path:
    """Write lines, strings as they are and anything else as JSON."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


@given(questions=st.lists(QUESTIONS, min_size=1, max_size=4, unique_by=lambda question: question.id))
def test_any_questions_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, questions: list[Question]
) -> None:
    path = tmp_path_factory.mktemp("round") / "dev.jsonl"
    assert write_questions(path, questions) == len(questions)
    back = list(read_questions(path))
    assert back == [complete(question) for question in questions]
    assert [(q.kind, q.supporting_ids, q.decomposition) for q in back] == [
        (q.kind, q.supporting_ids, q.decomposition) for q in questions
    ]
    write_questions(path, back)
    assert list(read_questions(path)) == back


@given(documents=st.lists(DOCUMENTS, min_size=1, max_size=4, unique_by=lambda document: document.id))
def test_any_passages_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, documents: list[Document]) -> None:
    path = tmp_path_factory.mktemp("round") / "corpus.jsonl"
    write_corpus(path, documents)
    assert list(read_corpus(path)) == documents


def test_shared_data_is_read_whole_and_unchanged(shared_data: Path) -> None:
    for name in ("hotpotqa", "2wikimultihopqa", "musique", "xquad_en"):
        corpus = {document.id for document in read_corpus(shared_data / name / "corpus.jsonl")}
        for split in ("train", "dev"):
            path = shared_data / name / f"{split}.jsonl"
            questions = list(read_questions(path))
            assert all(set(question.supporting_ids) <= corpus for question in questions)
            lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
            assert [question_record(question) for question in questions] == lines


def test_extra_fields_and_metadata_are_kept_together(tmp_path: Path) -> None:
    held = {"type": "bridge", "level": "hard", "supporting_ids": ["3"]}
    line = {**GOOD, "metadata": held, "source": "abc", "level": "easy"}
    (question,) = read_questions(write(tmp_path / "dev.jsonl", line))
    assert question.metadata == {"source": "abc", **held}
    assert (question.kind, question.supporting_ids) == ("bridge", ("3",))


def test_extra_fields_of_passages_are_kept_and_written(tmp_path: Path) -> None:
    line = {
        "id": "0",
        "contents": '"Will"\nA play.',
        "url": "will.html",
        "metadata": {"year": 1599, "url": "other.html"},
    }
    path = write(tmp_path / "corpus.jsonl", line)
    (document,) = read_corpus(path)
    assert document.metadata == {"url": "other.html", "year": 1599}
    write_corpus(path, [document])
    (back,) = read_corpus(path)
    assert (back, back.metadata) == (document, document.metadata)
    (odd,) = read_corpus(write(tmp_path / "odd.jsonl", line | {"metadata": "a book"}))
    assert odd.metadata == {"url": "will.html", "metadata": "a book"}
    (none,) = read_corpus(write(tmp_path / "none.jsonl", {"id": "0", "contents": "x", "metadata": None}))
    assert none.metadata == {}


def test_steps_are_typed(tmp_path: Path) -> None:
    steps = [
        {"question": "Who wrote X?", "answer": "Ann", "supporting_id": "7"},
        {"question": "#1 >> age", "answer": "3"},
    ]
    (question,) = read_questions(write(tmp_path / "dev.jsonl", {**GOOD, "metadata": {"decomposition": steps}}))
    assert question.decomposition == (Step("Who wrote X?", "Ann", "7"), Step("#1 >> age", "3"))


def test_one_bare_string_is_one_answer(tmp_path: Path) -> None:
    (question,) = read_questions(write(tmp_path / "dev.jsonl", {**GOOD, "golden_answers": "Ann Lee"}))
    assert question.golden_answers == ("Ann Lee",)


@pytest.mark.parametrize(
    ("line", "title", "text"),
    [
        ({"contents": '"Will"\nA play.'}, "Will", "A play."),
        ({"contents": '""Will" and "Grace""\nA play.\nIn two acts.'}, '"Will" and "Grace"', "A play.\nIn two acts."),
        ({"contents": '"Will"\r\nA play.'}, "Will", "A play."),
        ({"contents": "No title here.\nNone."}, "", "No title here.\nNone."),
        ({"contents": '"Quoted" it begins\nbut has no title.'}, "", '"Quoted" it begins\nbut has no title.'),
        ({"contents": '"'}, "", '"'),
        ({"title": "Will", "text": "A play."}, "Will", "A play."),
        ({"text": "A play."}, "", "A play."),
        ({"title": "Will", "contents": "A play."}, "Will", "A play."),
    ],
)
def test_titles_are_found_in_every_layout(tmp_path: Path, line: dict[str, str], title: str, text: str) -> None:
    assert list(read_corpus(write(tmp_path / "corpus.jsonl", {"id": 5, **line}))) == [Document("5", title, text)]


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n   \n")
    assert len(list(read_questions(path))) == 1


def test_line_separators_of_unicode_do_not_break_lines(tmp_path: Path) -> None:
    question = Question("1", "a\u2028b\x85c\x0bd", ("e\u2029f",))
    write_questions(tmp_path / "dev.jsonl", [question])
    assert list(read_questions(tmp_path / "dev.jsonl")) == [question]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "x", "question": ', "broken JSON"),
        ('["dev_0"]', "a list where an object"),
        ("17", "a number where an object"),
        ({"question": "Who?", "golden_answers": ["Ann"]}, '"id" is missing'),
        ({"id": "x", "golden_answers": ["Ann"]}, '"question" is missing'),
        ({"id": "x", "question": " \n", "golden_answers": ["Ann"]}, '"question" is blank'),
        ({"id": "x", "question": "Who?"}, "no gold answers"),
        ({"id": "x", "question": "Who?", "golden_answers": []}, "no gold answers"),
        ({"id": "x", "question": "Who?", "golden_answers": ""}, "'' in golden_answers is not an answer"),
        ({"id": "x", "question": "Who?", "golden_answers": ["Ann", " "]}, "' ' in golden_answers is not an answer"),
        ({"id": "x", "question": "Who?", "golden_answers": [3]}, "3 in golden_answers is not an answer"),
        ({**GOOD}, "'dev_0' is taken"),
        ({**GOOD, "id": "x", "metadata": []}, "metadata is not an object"),
        ({**GOOD, "id": "x", "metadata": {"supporting_ids": [True]}}, "supporting_ids is not a list of passage ids"),
        ({**GOOD, "id": "x", "metadata": {"decomposition": {}}}, "decomposition is not a list"),
        ({**GOOD, "id": "x", "metadata": {"decomposition": [{"question": "a"}]}}, "step 1 of metadata.decomposition"),
        ({**GOOD, "id": "x", "metadata": {"list_items": "B1, C2"}}, "list_items is not a list of strings"),
        ({**GOOD, "id": "x", "metadata": {"list_items": ["B1", 2]}}, "list_items is not a list of strings"),
        (
            {**GOOD, "id": "x", "metadata": {"list_items": ["B"], "list_aliases": [[], []]}},
            "list_aliases is not a list with",
        ),
        (
            {**GOOD, "id": "x", "metadata": {"list_items": ["B"], "list_aliases": [["b", 1]]}},
            "list_aliases is not a list with",
        ),
        ({**GOOD, "id": "x", "metadata": {"list_items": ["B1", " "]}}, "list_items is not a list of strings"),
        ("[" * 100_000, "cannot be read|broken JSON"),
        ('{"id": ' + "1" * 5000 + "}", "cannot be read"),
    ],
)
def test_a_bad_question_is_named_by_file_and_line(tmp_path: Path, line: Any, complaint: str) -> None:
    path = write(tmp_path / "dev.jsonl", GOOD, "", line)
    reader = read_questions(path)
    assert next(reader).text == "Who?"
    with pytest.raises(DataError, match=complaint) as caught:
        next(reader)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"id": "1"}, 'neither "contents" nor "text"'),
        ({"id": "1", "contents": 4}, "contents is not a string"),
        ({"id": "1", "text": None}, "title or text is not a string"),
        ({"id": "1", "title": 4, "text": "a"}, "title or text is not a string"),
        ({"id": "1", "contents": '""\n  '}, "blank"),
        ({"id": "", "contents": "a"}, '"id" is missing'),
        ({"id": "0", "contents": "a"}, "'0' is taken"),
    ],
)
def test_a_bad_passage_is_named_by_file_and_line(tmp_path: Path, line: Any, complaint: str) -> None:
    path = write(tmp_path / "corpus.jsonl", {"id": "0", "contents": "a"}, line)
    with pytest.raises(DataError, match=complaint) as caught:
        list(read_corpus(path))
    assert str(caught.value).startswith(f"{path}:2: ")


@given(ids=st.lists(st.sampled_from(["0", "1", "2", "3", "00", "a", "+1", "\u0661"]), max_size=6))
def test_ids_that_come_twice_are_always_found(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    path = write(tmp_path_factory.mktemp("ids") / "dev.jsonl", *({**GOOD, "id": name} for name in ["x", *ids]))
    if len(set(ids)) == len(ids):
        assert [question.id for question in read_questions(path)] == ["x", *ids]
    else:
        with pytest.raises(DataError, match="is taken by an earlier line"):
            list(read_questions(path))


@given(first=st.integers(0, 3), ids=st.lists(st.integers(0, 9), max_size=8))
def test_ids_that_count_from_any_number_and_come_twice_are_found(first: int, ids: list[int]) -> None:
    seen, known = UniqueIds(), set[str]()
    for name in map(str, [first, first + 1, *ids]):
        if name in known:
            with pytest.raises(ValueError, match="is taken by an earlier line"):
                seen.add(name)
            return
        seen.add(name)
        known.add(name)


def test_ids_that_count_take_no_memory_whatever_they_begin_with() -> None:
    for first in (0, 1, 1000):
        seen = UniqueIds()
        for number in range(first, first + 5000):
            seen.add(str(number))
        assert not seen._others and not seen._skipped
    seen = UniqueIds()
    for number in range(5000):
        seen.add(f"doc-{number}")
    assert len(seen._others) == 5000 and len(seen._skipped) == 1


def test_bytes_that_are_not_utf8_are_named_by_line_and_place(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"dev\.jsonl:2: byte 12 of the line is not UTF-8"):
        list(read_questions(path))


def test_a_packed_file_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    with pytest.raises(DataError, match="is packed by gzip; unpack it first"):
        list(read_questions(path))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "dev.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"dev\.jsonl: the file is empty; it should hold questions"):
        list(read_questions(tmp_path / "dev.jsonl"))


def test_a_missing_file_is_refused_at_once_and_its_neighbours_named(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", GOOD)
    with pytest.raises(DataError, match=r"dev\.jsonl: no such file; .* has train\.jsonl"):
        read_questions(tmp_path / "dev.jsonl")
    with pytest.raises(DataError, match="give the data's folder with --data DIR or JADE_DATA"):
        read_corpus(tmp_path / "nowhere" / "corpus.jsonl")
    with pytest.raises(DataError, match=r"is a folder; give a file in it"):
        read_questions(tmp_path)


def test_reading_is_lazy(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.jsonl", GOOD, "broken")
    assert next(read_questions(path)).id == "dev_0"


def test_what_could_not_be_read_back_is_not_written_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    good = question_from(GOOD)
    write_questions(path, [good])
    before = path.read_bytes()
    for bad in (
        Question("b", "Who?", ()),
        Question("dev_0", "Who else?", ("Bob",)),
        Question("b", " ", ("Bob",)),
        Question("b", "Who?", ("Bob",), metadata={"when": {1, 2}}),
        Question("b", "Who?", ("Bob",), metadata={"score": float("nan")}),
    ):
        with pytest.raises(DataError, match="record 2 cannot be written"):
            write_questions(path, [good, bad])
        assert path.read_bytes() == before
        assert [found.name for found in tmp_path.iterdir()] == ["dev.jsonl"]


def test_a_broken_off_writing_leaves_nothing(tmp_path: Path) -> None:
    def questions() -> Any:
        yield question_from(GOOD)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_questions(tmp_path / "new" / "dev.jsonl", questions())
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"dev\.jsonl: cannot be written"):
        write_questions(tmp_path / "file" / "dev.jsonl", [question_from(GOOD)])


def test_what_the_typed_fields_say_wins_over_metadata() -> None:
    question = Question("a", "Who?", ("Ann",), supporting_ids=("1",), metadata={"type": "old", "supporting_ids": ["2"]})
    assert complete(question).metadata == {"supporting_ids": ["1"]}


def test_items_of_a_list_may_have_other_spellings() -> None:
    metadata = {"list_items": ["605,000", "Oslo"], "list_aliases": [["605 thousand", "605000"], []]}
    question = question_from({**GOOD, "id": "x", "metadata": metadata})
    assert question.list_spellings == (("605,000", "605 thousand", "605000"), ("Oslo",))
    assert question_from({**GOOD, "id": "x", "metadata": {"list_items": ["A", "B"]}}).list_spellings == ("A", "B")
