"""Files of JSON lines: read as streams with the place of every mistake, written whole or not at all.

Knows nothing of what the records mean; whoever reads or writes them says what a good one is by a check that raises ValueError.
"""

from __future__ import annotations

import codecs
import json
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from jade_env.errors import DataError

Record = dict[str, Any]


def read_lines(path: Path, what: str) -> Iterator[tuple[str, Record]]:
    """Yield each line's JSON object with its place, `file:line`; blank lines are passed over.

    Args:
        path: the file.
        what: what it should hold, for the sentence about an empty one.

    Raises:
        DataError: at once for a file that cannot be opened; while reading for a line that is not a JSON object.
    """
    file = open_to_read(path)

    def lines() -> Iterator[tuple[str, Record]]:
        empty = True
        with file:
            for number, raw in enumerate(file, start=1):
                line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                if line.strip():
                    empty = False
                    place = f"{path}:{number}"
                    yield place, _parse(line, place)
        if empty:
            raise DataError(f"{path}: the file is empty; it should hold {what}, one JSON object a line")

    return lines()


def write_lines(file: BinaryIO, records: Iterable[Record], path: Path, check: Callable[[Record], object]) -> int:
    """Write records as lines of JSON, each checked as it will be when read, and return how many.

    Raises:
        DataError: a record that `check` refuses, an id that comes twice, or a value that JSON does not have.
    """
    ids = UniqueIds()
    count = 0
    for count, record in enumerate(records, start=1):
        try:
            check(record)
            ids.add(str(record["id"]))
            write_line(file, record)
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"{path}: record {count} cannot be written: {error}") from error
    return count


def write_line(file: BinaryIO, record: Record) -> None:
    """Write one record; ValueError or TypeError for a value that JSON does not have."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        file.write(line.encode() + b"\n")
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can hold
        file.write(json.dumps(record).encode() + b"\n")


@contextmanager
def written_whole(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Open files to write, which get their names only when all are finished; after an error none is left, nor their folder.

    Raises:
        DataError: a file that cannot be written.
    """
    drafts = [path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths]
    made = [folder for folder in dict.fromkeys(path.parent for path in paths) if not folder.exists()]
    try:
        with ExitStack() as stack:
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
            yield tuple(stack.enter_context(draft.open("wb")) for draft in drafts)
        for draft, path in zip(drafts, paths, strict=True):
            draft.replace(path)
    except OSError as error:
        raise DataError(f"{paths[0]}: cannot be written: {error.strerror or error}; choose another folder") from error
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
        for folder in made:
            with suppress(OSError):  # it holds what was written
                folder.rmdir()


def open_to_read(path: Path) -> BinaryIO:
    """Open a file of data.

    Raises:
        DataError: it is not there or cannot be read; the sentence says what is there instead.
    """
    try:
        file = path.open("rb")
        if file.peek(2)[:2] == b"\x1f\x8b":
            file.close()
            raise DataError(f"{path}: is packed by gzip; unpack it first (gunzip)")
        return file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; {_nearby(path)}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder; give a file in it, such as {path / 'train.jsonl'}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check its permissions and its folder's") from error


class UniqueIds:
    """Finds ids that come twice. Ids that count on from the first one, as most do, take no memory."""

    def __init__(self) -> None:
        self._position, self._first = 0, 0
        self._others: set[str] = set()
        # runs of positions whose id is another: the first of each and the one behind
        self._skipped: list[list[int]] = []

    def add(self, name: str) -> None:
        """Note the next record's id; ValueError if an earlier record has it."""
        number = _number(name)
        if not self._position:
            self._first = number or 0
        own = number == self._first + self._position
        if name in self._others or (not own and number is not None and self._was_counted(number - self._first)):
            raise ValueError(f"the id {name!r} is taken by an earlier line; give every line an id of its own")
        if not own:
            self._others.add(name)
            if self._skipped and self._skipped[-1][1] == self._position:
                self._skipped[-1][1] += 1
            else:
                self._skipped.append([self._position, self._position + 1])
        self._position += 1

    def _was_counted(self, position: int) -> bool:
        if not 0 <= position < self._position:
            return False
        run = bisect_right(self._skipped, position, key=lambda ends: ends[0]) - 1
        return run < 0 or position >= self._skipped[run][1]


def _number(name: str) -> int | None:
    """The number that an id is, as Python would write it."""
    if not (name.isascii() and name.isdigit()) or len(name) > 18 or (name[0] == "0" and name != "0"):
        return None
    return int(name)


def _parse(line: bytes, place: str) -> Record:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: byte {error.start + 1} of the line is not UTF-8; save the file in that encoding"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: broken JSON: {error.msg} at character {error.pos + 1}; mend the line or take it out"
        ) from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        raise DataError(f"{place}: JSON that cannot be read: {error}; mend the line or take it out") from error
    if not isinstance(value, dict):
        raise DataError(f"{place}: a {_kind(value)} where an object in braces should stand; write one object a line")
    return value


def _kind(value: object) -> str:
    return {list: "list", str: "string", bool: "truth value", type(None): "null"}.get(type(value), "number")


def _nearby(path: Path) -> str:
    """Say what there is where a file was looked for."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either; give the data's folder with --data DIR or JADE_DATA"
    names = sorted(found.name for found in folder.glob("*.json*") if not found.name.startswith("."))
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return (
        f"{folder} has {shown}" if names else f"{folder} has no JSON files; give another with --data DIR or JADE_DATA"
    )
