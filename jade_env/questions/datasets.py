"""Questions and corpora on disk: JSONL in the layout of FlashRAG and Search-R1, read as streams and written whole.

Knows no dataset by name. A corpus line is `{"id", "contents"}`, contents being the title in double quotes, a newline and the
text; a question line is `{"id", "question", "golden_answers", "metadata"}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from jade_env.errors import DataError
from jade_env.questions.jsonl import Record, UniqueIds, read_lines, write_lines, written_whole
from jade_env.questions.question import Question, Step
from jade_env.retrieval.types import Document

_QUESTION_FIELDS = frozenset(("id", "question", "golden_answers", "metadata"))
_PASSAGE_FIELDS = frozenset(("id", "contents", "title", "text"))
_Value = TypeVar("_Value", Question, Document)


def read_questions(path: str | Path) -> Iterator[Question]:
    """Read questions one by one.

    Extra fields are kept in `metadata`, beside what the file's metadata object holds (which wins where both have one);
    `kind` is its `type`. A single string as `golden_answers` is taken as one answer.

    Raises:
        DataError: at once for a file that cannot be opened, and while reading for a line that is not a question with an id
            of its own and gold answers; the sentence names file and line.
    """
    return _read(Path(path), "questions", question_from)


def read_corpus(path: str | Path) -> Iterator[Document]:
    """Read passages one by one; `title` and `text` in place of `contents` will do, and so will contents without a title.

    Extra fields are kept in `metadata`, as those of questions are.

    Raises:
        DataError: as `read_questions`.
    """
    return _read(Path(path), "passages", document_from)


def write_questions(path: str | Path, questions: Iterable[Question]) -> int:
    """Write questions, whole or not at all, and return how many; `read_questions` gives back `complete(question)`.

    Raises:
        DataError: the file cannot be written, or a question could not be read back.
    """
    target = Path(path)
    with written_whole(target) as (file,):
        return write_lines(file, map(question_record, questions), target, question_from)


def write_corpus(path: str | Path, documents: Iterable[Document]) -> int:
    """Write passages, whole or not at all, and return how many.

    Raises:
        DataError: as `write_questions`.
    """
    target = Path(path)
    with written_whole(target) as (file,):
        return write_lines(file, map(document_record, documents), target, document_from)


def complete(question: Question) -> Question:
    """Return the question as a file holds it: kind, supporting ids and decomposition stand in its metadata too."""
    metadata = dict(question.metadata)
    if _kind(metadata) != question.kind:
        _put(metadata, "type", question.kind)
    if _told(_supporting_ids, metadata) != question.supporting_ids:
        _put(metadata, "supporting_ids", list(question.supporting_ids))
    if _told(_decomposition, metadata) != question.decomposition:
        _put(metadata, "decomposition", [_step_record(step) for step in question.decomposition])
    return replace(question, metadata=metadata)


def question_record(question: Question) -> Record:
    """Return a question's JSON object."""
    return {
        "id": question.id,
        "question": question.text,
        "golden_answers": list(question.golden_answers),
        "metadata": dict(complete(question).metadata),
    }


def document_record(document: Document) -> Record:
    """Return a passage's JSON object. A title of several lines, which `contents` cannot hold, gets a field of its own."""
    record: Record = {"id": document.id, "contents": f'"{document.title}"\n{document.text}'}
    if "\n" in document.title:
        record |= {"title": document.title, "text": document.text}
    return record | {"metadata": dict(document.metadata)} if document.metadata else record


def question_from(record: Record) -> Question:
    """Make a question of a JSON object.

    Raises:
        ValueError: a field that is missing or wrong; the sentence says which and what should stand there.
    """
    name, text = _id(record), _text(record, "question")
    held = record.get("metadata")
    if held is not None and not isinstance(held, dict):
        raise ValueError("metadata is not an object; write {} if there is none")
    metadata = {key: value for key, value in record.items() if key not in _QUESTION_FIELDS} | (held or {})
    _check_list_items(metadata)
    return Question(
        id=name,
        text=text,
        golden_answers=_golden_answers(record),
        kind=_kind(metadata),
        supporting_ids=_supporting_ids(metadata),
        decomposition=_decomposition(metadata),
        metadata=metadata,
    )


def document_from(record: Record) -> Document:
    """Make a passage of a JSON object.

    Raises:
        ValueError: as `question_from`.
    """
    name = _id(record)
    if "text" in record or "contents" not in record:
        if "text" not in record:
            raise ValueError('there is neither "contents" nor "text"; a passage needs one of them')
        title = record.get("title") or ""
        if not isinstance(title, str) or not isinstance(record["text"], str):
            raise ValueError("title or text is not a string")
        text = record["text"]
    else:
        if not isinstance(record["contents"], str):
            raise ValueError("contents is not a string")
        title, text = split_contents(record["contents"])
        if not title and isinstance(record.get("title"), str):
            title = record["title"]
    if not title.strip() and not text.strip():
        raise ValueError("the passage is blank; give it text or take it out")
    extra = {key: value for key, value in record.items() if key not in _PASSAGE_FIELDS}
    if isinstance(held := extra.pop("metadata", None), dict):
        extra |= held
    elif held is not None:
        extra["metadata"] = held
    return Document(name, title, text, extra)


def split_contents(contents: str) -> tuple[str, str]:
    """Split contents into title and text; the title is its first line where that stands in double quotes, else empty."""
    first, newline, rest = contents.partition("\n")
    first = first.removesuffix("\r")
    if newline and len(first) > 1 and first[0] == first[-1] == '"':
        return first[1:-1], rest
    return "", contents


def _read(path: Path, what: str, parse: Callable[[Record], _Value]) -> Iterator[_Value]:
    lines = read_lines(path, what)

    def values() -> Iterator[_Value]:
        ids = UniqueIds()
        for place, record in lines:
            try:
                value = parse(record)
                ids.add(value.id)
            except ValueError as error:
                raise DataError(f"{place}: {error}") from error
            yield value

    return values()


def _id(record: Record) -> str:
    name = record.get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str) or not name:
        raise ValueError('"id" is missing or not a string; give every line an id of its own')
    return name


def _text(record: Record, field: str) -> str:
    text = record.get(field)
    if not isinstance(text, str):
        raise ValueError(f'"{field}" is missing or not a string')
    if not text.strip():
        raise ValueError(f'"{field}" is blank')
    return text


def _golden_answers(record: Record) -> tuple[str, ...]:
    answers = record.get("golden_answers")
    if isinstance(answers, str):
        answers = [answers]
    if not isinstance(answers, list) or not answers:
        raise ValueError('there are no gold answers; "golden_answers" should be a list of strings, the main one first')
    for answer in answers:
        if not isinstance(answer, str) or not answer.strip():
            raise ValueError(f"{answer!r} in golden_answers is not an answer; all should be strings and none blank")
    return tuple(answers)


def _kind(metadata: Mapping[str, Any]) -> str:
    kind = metadata.get("type")
    return kind if isinstance(kind, str) else ""


def _supporting_ids(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    ids = metadata.get("supporting_ids")
    if ids is None:
        return ()
    if not isinstance(ids, list) or not all(isinstance(i, str | int) and not isinstance(i, bool) for i in ids):
        raise ValueError("metadata.supporting_ids is not a list of passage ids")
    return tuple(map(str, ids))


def _check_list_items(metadata: Mapping[str, Any]) -> None:
    items = metadata.get("list_items")
    if items is None:
        return
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) and item.strip() for item in items):
        raise ValueError("metadata.list_items is not a list of strings, none of them blank")
    aliases = metadata.get("list_aliases")
    if aliases is not None and not (
        isinstance(aliases, list | tuple)
        and len(aliases) == len(items)
        and all(
            isinstance(more, list | tuple) and all(isinstance(a, str) and a.strip() for a in more) for more in aliases
        )
    ):
        raise ValueError("metadata.list_aliases is not a list with a list of strings for each of list_items")


def _decomposition(metadata: Mapping[str, Any]) -> tuple[Step, ...]:
    steps = metadata.get("decomposition")
    if steps is None:
        return ()
    if not isinstance(steps, list):
        raise ValueError("metadata.decomposition is not a list of steps")
    return tuple(_step(step, number) for number, step in enumerate(steps, start=1))


def _step(step: object, number: int) -> Step:
    if isinstance(step, dict):
        question, answer, source = step.get("question"), step.get("answer"), step.get("supporting_id")
        if isinstance(question, str) and isinstance(answer, str) and (source is None or isinstance(source, str)):
            return Step(question, answer, source)
    raise ValueError(
        f'step {number} of metadata.decomposition is not {{"question", "answer", "supporting_id"}} with strings'
    )


def _step_record(step: Step) -> Record:
    return {"question": step.question, "answer": step.answer, "supporting_id": step.supporting_id}


def _told(parse: Callable[[Mapping[str, Any]], object], metadata: Mapping[str, Any]) -> object:
    """Return what metadata tells of a field, None where that is malformed."""
    try:
        return parse(metadata)
    except ValueError:
        return None


def _put(metadata: dict[str, Any], field: str, value: object) -> None:
    """Make metadata tell a field's value, or nothing where that is empty."""
    if value:
        metadata[field] = value
    else:
        metadata.pop(field, None)
