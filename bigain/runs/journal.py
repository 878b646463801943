r"""The journal of a shard: one JSON line per image, on disk before the next record is made.

A process may be killed at any byte.  Text after the last newline is therefore an incomplete record:
readers ignore it, and the next writer removes it before it appends.  Each shard writes its own
journal, and readers read the journals of all shards.

A run of days has millions of records.  So readers go through a file line by line and hold one
record at a time, and which images have a record is read from the beginning of each line, without
parsing the rest of it.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

from bigain.errors import FaultError, UserError
from bigain.files import parse_json, sync_folder
from bigain.runs.files import Record

__all__ = [
    "Entry",
    "Journal",
    "count_records",
    "entries",
    "iterate_journal",
    "iterate_journals",
    "journal_name",
    "journal_paths",
    "places",
    "read_journals",
    "record_at",
    "shard_of",
]

_BLOCK = 1 << 20
_HEAD = re.compile(rb'\{(?:"adopted_from": "(\w+)", )?"image_id": (-?\d+)[,}]')
"""How the line of a record begins."""


class Entry(NamedTuple):
    """What the beginning of a line says: the image, and the run that its record was copied from."""

    image_id: int
    adopted_from: str | None


def journal_name(index: int, count: int) -> str:
    """File name of shard `index` of `count`."""
    return f"journal-{index}of{count}.jsonl"


def shard_of(name: str) -> tuple[int, int]:
    """(index, count) from the name of a journal, or of the lock or beat of one."""
    found = re.search(r"journal-(\d+)of(\d+)", name)
    if found is None:
        raise ValueError(f"{name}: not the journal of a shard")
    return int(found[1]), int(found[2])


def journal_paths(folder: Path) -> list[Path]:
    """The journals of all shards in `folder`, for any number of shards, sorted by name."""
    return sorted(folder.glob("journal-*of*.jsonl"))


def iterate_journal(path: Path) -> Iterator[Record]:
    """The complete records of one journal, in the order of writing; none if there is no such file.

    Raises:
        UserError: A line before the last newline is not a record, so the file was damaged.

    """
    for number, line in enumerate(_lines(path), start=1):
        yield _parse(line, path, number)


def iterate_journals(folder: Path) -> Iterator[Record]:
    """The records of all shards; an image may come several times, its first record counts.

    Records of one image differ in the seconds only.
    """
    for path in journal_paths(folder):
        yield from iterate_journal(path)


def read_journals(folder: Path) -> dict[int, Record]:
    """Image id -> record, of all shards."""
    records: dict[int, Record] = {}
    for record in iterate_journals(folder):
        records.setdefault(record["image_id"], record)
    return records


def entries(folder: Path) -> Iterator[Entry]:
    """What has a record, in the order of `iterate_journals`.

    A line is only looked at where it begins and ends; one that begins in another way is parsed.

    Raises:
        UserError: A line is not a record.

    """
    for path in journal_paths(folder):
        for number, line in enumerate(_lines(path), start=1):
            yield _entry(line, path, number)


def places(path: Path) -> Iterator[tuple[int, int]]:
    """(image id, where its line begins) of each complete line of a journal.

    Raises:
        UserError: A line is not a record.

    """
    begin = 0
    for number, line in enumerate(_lines(path), start=1):
        yield _entry(line, path, number).image_id, begin
        begin += len(line) + 1


def record_at(handle: BinaryIO, path: Path, begin: int) -> Record:
    """The record whose line begins at `begin` of the open journal at `path`.

    Raises:
        UserError: The line is not a record.

    """
    handle.seek(begin)
    line = handle.readline()
    try:
        return _parse(line, path, 0)
    except UserError:
        handle.seek(0)
        return _parse(line, path, 1 + handle.read(begin).count(b"\n"))


def count_records(folder: Path) -> int:
    """The number of complete lines in the journals of all shards.

    Only newlines are counted, and the first and the last line of each journal are looked at.

    Raises:
        UserError: Such a line is not a record.

    """
    return sum(map(_count, journal_paths(folder)))


class Journal:
    """A context manager that appends records to one file; `RunStore` allows only one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._handle = self.path.open(
            "ab", buffering=0
        )  # after a full disk nothing is left to write
        _cut_torn_line(self.path, self._handle.fileno())
        sync_folder(self.path.parent)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write the records, one line each; they are on disk when this returns.  NaN becomes null.

        Raises:
            ValueError: A record has an infinite number.
            TypeError: A record has a value that JSON cannot represent.
            FaultError: Somebody deleted the file.

        """
        text = "".join(json.dumps(_plain(dict(r)), allow_nan=False) + "\n" for r in records)
        descriptor, left = self._handle.fileno(), memoryview(text.encode("utf-8"))
        if os.fstat(descriptor).st_nlink == 0:
            raise FaultError(f"{self.path}: was deleted while the run was at work")
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)


def _lines(path: Path) -> Iterator[bytes]:
    """The complete lines of a file, without their ends."""
    try:
        with path.open("rb", buffering=_BLOCK) as handle:
            for line in handle:
                if line.endswith(b"\n"):
                    yield line[:-1]
    except FileNotFoundError:
        return


def _entry(line: bytes, path: Path, number: int) -> Entry:
    head = _HEAD.match(line)
    if head is not None and line.endswith(b"}") and b"\0" not in line:
        return Entry(int(head[2]), None if head[1] is None else head[1].decode("ascii"))
    record = _parse(line, path, number)
    return Entry(record["image_id"], record.get("adopted_from"))


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        record = parse_json(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or type(record.get("image_id")) is not int:
        raise UserError(f"{path}: line {number} is damaged; remove the file or run with force=true")
    return record


def _count(path: Path) -> int:
    with path.open("rb") as handle:
        count = sum(block.count(b"\n") for block in iter(lambda: handle.read(_BLOCK), b""))
        if count:
            handle.seek(0)
            _entry(handle.readline()[:-1], path, 1)
            end = _last_newline(handle)
            start = _last_newline(handle, before=end) + 1
            handle.seek(start)
            _entry(handle.read(end - start), path, count)
    return count


def _last_newline(handle: BinaryIO, before: int | None = None) -> int:
    """Where the last newline of a file is, or the last one before a place; -1 if there is none."""
    end = handle.seek(0, os.SEEK_END) if before is None else before
    while end > 0:
        start = max(0, end - _BLOCK)
        handle.seek(start)
        found = handle.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found
        end = start
    return -1


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node


def _cut_torn_line(path: Path, descriptor: int) -> None:
    with path.open("rb") as handle:
        os.ftruncate(descriptor, _last_newline(handle) + 1)
