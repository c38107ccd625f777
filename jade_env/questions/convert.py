"""From the official files of HotpotQA, 2WikiMultihopQA and MuSiQue to our layout. Knows those three formats and no others.

All splits of one dataset share one `corpus.jsonl`, made of the paragraphs that come with the questions; paragraphs of the same
title and text (white space aside) are one passage. Questions go to `<split>.jsonl`.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from jade_env.config import nearest
from jade_env.errors import ConfigError, DataError
from jade_env.questions.datasets import document_record, question_from
from jade_env.questions.jsonl import Record, open_to_read, read_lines, write_line, written_whole
from jade_env.retrieval.types import Document

Progress = Callable[[str, int], None]

_SPLIT = re.compile(r"[A-Za-z0-9_-]+")
_PROGRESS_EVERY = 1000


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion wrote.

    Attributes:
        passages: passages in the corpus.
        merged: paragraphs that were the same as an earlier passage.
        questions: questions written, by split.
        dropped: questions left out because they cannot be answered (MuSiQue), by split; their paragraphs are kept.
        unsupported: supporting facts whose paragraph is not among the question's own.
    """

    passages: int
    merged: int
    questions: Mapping[str, int]
    dropped: Mapping[str, int]
    unsupported: int


def convert(
    dataset: str, files: Mapping[str, Path], out: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> ConversionReport:
    """Convert the official files of a dataset; either all of the output is written or none.

    Args:
        dataset: which format the files have: hotpotqa, 2wikimultihopqa or musique.
        files: for each split its official file (a JSON list, or one object a line).
        out: the folder for `corpus.jsonl` and `<split>.jsonl`.
        overwrite: whether files of these names may be replaced.
        progress: called now and then with the split and its number of questions so far.

    Raises:
        ConfigError: an unknown dataset, or a split name that cannot be a file's.
        DataError: a file that is missing, broken or of another format, or output that is there already.
    """
    if dataset not in _READERS:
        raise ConfigError(f"convert: {dataset!r} is not one of {', '.join(_READERS)}{nearest(dataset, _READERS)}")
    if not files:
        raise ConfigError("convert: no files given; name at least one split, such as dev")
    for split in files:
        if split == "corpus" or not _SPLIT.fullmatch(split):
            raise ConfigError(
                f"convert: {split!r} cannot name a split; take letters, digits, - and _, and not 'corpus'"
            )
    targets = [out / "corpus.jsonl", *(out / f"{split}.jsonl" for split in files)]
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise DataError(f"{there[0]}: is there already; choose another folder or allow overwriting")
    written: dict[str, int] = {}
    dropped: dict[str, int] = {}
    with written_whole(*targets) as (corpus, *questions):
        passages = _Passages(corpus)
        for (split, path), file in zip(files.items(), questions, strict=True):
            written[split], dropped[split] = _convert_split(dataset, split, Path(path), file, passages, progress)
    return ConversionReport(passages.count, passages.merged, written, dropped, passages.unsupported)


def _convert_split(
    dataset: str, split: str, path: Path, file: BinaryIO, passages: _Passages, progress: Progress | None
) -> tuple[int, int]:
    """Convert one file, and return how many questions were written and how many dropped."""
    read = _READERS[dataset]
    written = dropped = 0
    for place, official in _records(path):
        try:
            record = read(official, passages)
            if record is None:
                dropped += 1
                continue
            record = {"id": f"{split}_{written}", **record}
            question_from(record)
        except ValueError as error:
            raise DataError(f"{place}: {error} (read as an official {dataset} file)") from error
        write_line(file, record)
        written += 1
        if progress and written % _PROGRESS_EVERY == 0:
            progress(split, written)
    if not written:
        raise DataError(f"{path}: none of its questions can be answered; {split} would be empty")
    if progress and written % _PROGRESS_EVERY:
        progress(split, written)
    return written, dropped


class _Passages:
    """The corpus being written; the same title and text get the same id."""

    def __init__(self, file: BinaryIO) -> None:
        self.merged = 0
        self.unsupported = 0
        self._file = file
        self._ids: dict[bytes, str] = {}

    @property
    def count(self) -> int:
        """How many passages were written."""
        return len(self._ids)

    def add(self, title: str, text: str) -> str:
        """Return the id of a passage, writing it if it is new."""
        if not title and not text:
            raise ValueError("a paragraph is blank, title and all")
        key = hashlib.blake2b(f"{title}\n{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
        known = self._ids.get(key)
        if known is not None:
            self.merged += 1
            return known
        name = self._ids[key] = str(len(self._ids))
        write_line(self._file, document_record(Document(name, title, text)))
        return name


def _hotpot(official: Record, passages: _Passages) -> Record:
    """Read a question of HotpotQA."""
    answer = _answer(official)
    by_title = _context(official, passages)
    supporting = _supporting(official, by_title, passages)
    metadata = {"source_id": _string(official, "_id"), "type": _string(official, "type")}
    if "level" in official:
        metadata["level"] = _string(official, "level")
    return _question(official, [answer], metadata | {"hops": len(supporting), "supporting_ids": supporting})


def _two_wiki(official: Record, passages: _Passages) -> Record:
    """Read a question of 2WikiMultihopQA; its evidence triples become the decomposition, `subject >> relation`."""
    answer = _answer(official)
    context = _context(official, passages)
    supporting = _supporting(official, context, passages)
    by_title = {t: next((name for name, _ in found if name in supporting), found[0][0]) for t, found in context.items()}
    bare = {_bare(title): name for title, name in by_title.items()}
    steps = []
    for triple in _list(official, "evidences"):
        if not isinstance(triple, list) or len(triple) != 3 or not all(isinstance(part, str) for part in triple):
            raise ValueError('"evidences" holds something other than [subject, relation, object]')
        subject, relation, value = map(_clean, triple)
        source = by_title.get(subject) or bare.get(_bare(subject))
        steps.append({"question": f"{subject} >> {relation}", "answer": value, "supporting_id": source})
    metadata: Record = {"source_id": _string(official, "_id"), "type": _string(official, "type")}
    metadata |= {"hops": len(supporting), "supporting_ids": supporting, "decomposition": steps}
    return _question(official, [answer], metadata)


def _musique(official: Record, passages: _Passages) -> Record | None:
    """Read a question of MuSiQue; None if it is marked as not answerable."""
    ids: dict[int, str] = {}
    for paragraph in _list(official, "paragraphs"):
        if not isinstance(paragraph, dict) or not isinstance(paragraph.get("idx"), int):
            raise ValueError('"paragraphs" holds something without a number idx, title and paragraph_text')
        title, text = _string(paragraph, "title"), _string(paragraph, "paragraph_text")
        ids[paragraph["idx"]] = passages.add(_clean(title), _clean(text))
    if official.get("answerable") is False:
        return None
    answer = _answer(official)
    steps = [_musique_step(step, ids) for step in _list(official, "question_decomposition")]
    aliases = official.get("answer_aliases") or []
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise ValueError('"answer_aliases" is not a list of strings')
    source_id = _string(official, "id")
    shape = source_id.partition("__")[0]
    supporting = [step["supporting_id"] for step in steps if step["supporting_id"] is not None]
    passages.unsupported += len(steps) - len(supporting)
    metadata: Record = {"source_id": source_id, "type": shape, "hops": len(steps)}
    metadata |= {"supporting_ids": list(dict.fromkeys(supporting)), "decomposition": steps}
    answers = [answer, *(_clean(alias) for alias in aliases if alias.strip())]
    return _question(official, list(dict.fromkeys(answers)), metadata)


def _musique_step(step: object, ids: Mapping[int, str]) -> Record:
    if not isinstance(step, dict) or not isinstance(step.get("paragraph_support_idx"), int | None):
        raise ValueError('"question_decomposition" holds something other than a step with question and answer')
    source = ids.get(step.get("paragraph_support_idx", -1))
    question, answer = _clean(_string(step, "question")), _clean(_string(step, "answer"))
    return {"question": question, "answer": answer, "supporting_id": source}


_READERS: Mapping[str, Callable[[Record, _Passages], Record | None]] = {
    "hotpotqa": _hotpot,
    "2wikimultihopqa": _two_wiki,
    "musique": _musique,
}


def _question(official: Record, answers: list[str], metadata: Record) -> Record:
    return {"question": _clean(_string(official, "question")), "golden_answers": answers, "metadata": metadata}


def _answer(official: Record) -> str:
    if "answer" not in official:
        raise ValueError("there is no answer; the official test files have none and cannot be converted")
    return _clean(_string(official, "answer"))


def _context(official: Record, passages: _Passages) -> dict[str, list[tuple[str, int]]]:
    """Add a question's paragraphs, and return by title the id of each with how many sentences it has."""
    found: dict[str, list[tuple[str, int]]] = {}
    for paragraph in _list(official, "context"):
        if not isinstance(paragraph, list) or len(paragraph) != 2 or not isinstance(paragraph[0], str):
            raise ValueError('"context" holds something other than [title, [sentence, ...]]')
        title, sentences = paragraph
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise ValueError('"context" holds something other than [title, [sentence, ...]]')
        title = _clean(title)
        found.setdefault(title, []).append((passages.add(title, _clean(" ".join(sentences))), len(sentences)))
    return found


def _supporting(official: Record, by_title: Mapping[str, Sequence[tuple[str, int]]], passages: _Passages) -> list[str]:
    """Return the ids of the passages that the supporting facts name, in their order.

    Of several paragraphs with one title, the first that has all of its sentences that are named.
    """
    last: dict[str, int] = {}
    for fact in _list(official, "supporting_facts"):
        if not isinstance(fact, list) or len(fact) != 2 or not isinstance(fact[0], str):
            raise ValueError('"supporting_facts" holds something other than [title, sentence number]')
        title, number = _clean(fact[0]), fact[1] if isinstance(fact[1], int) else 0
        last[title] = max(number, last.get(title, 0))
    passages.unsupported += sum(title not in by_title for title in last)
    named = [(by_title[title], number) for title, number in last.items() if title in by_title]
    return [next((name for name, size in found if number < size), found[0][0]) for found, number in named]


def _string(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f'"{name}" is missing or not a string')
    return value


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    if not isinstance(value, list):
        raise ValueError(f'"{name}" is missing or not a list')
    return value


def _clean(text: str) -> str:
    """Decode HTML entities and collapse white space."""
    return " ".join(html.unescape(text).split())


def _bare(title: str) -> str:
    """Return a title without what stands in brackets after it, and without case."""
    return re.sub(r"\s*\([^()]*\)$", "", title).casefold()


def _records(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield the objects of a JSON list or of JSON lines, each with its place."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    with closing(open_to_read(path)) as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return _list_items(path) if head.startswith(b"[") else read_lines(path, "questions")


def _list_items(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield the objects of a JSON list one by one: the text is held once, the objects are not."""
    with closing(open_to_read(path)) as file:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: byte {error.start + 1} is not UTF-8; save the file in that encoding") from error
    decoder = json.JSONDecoder()
    blank = re.compile(r"\s*")
    position = _after(blank, text, text.index("[") + 1)
    line, counted, number = 1, 0, 0
    while text[position : position + 1] != "]":
        line, counted, number = line + text.count("\n", counted, position), position, number + 1
        place = f"{path}:{line}: record {number}"
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{error.lineno}: record {number}: broken JSON: {error.msg}; fetch it again"
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: JSON that cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{place}: not an object; an official file is a list of objects")
        yield place, value
        position = _after(blank, text, position)
        if text[position : position + 1] == ",":
            position = _after(blank, text, position + 1)
        elif text[position : position + 1] != "]":
            raise DataError(
                f"{place}: no comma and no end of the list after it; the file seems cut off, fetch it again"
            )
    if not number:
        raise DataError(f"{path}: the list is empty; it should hold questions")
    if text[position + 1 :].strip():
        raise DataError(f"{path}: there is more behind the end of the list; is it several files in one?")


def _after(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position
