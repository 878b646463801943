r"""The journal of a run: one JSON line per image, on disk before the next image begins.

A process may die at any byte.  A line that ends with a newline is a record.  Whatever follows the
last newline is torn: readers ignore it, and the next writer cuts it off before it appends.
Each shard writes a file of its own; readers read the files of all shards.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bigain.errors import UserError
from bigain.files import sync_folder

__all__ = ["Journal", "Record", "journal_name", "journal_paths", "read_journal", "read_journals"]

Record = dict[str, Any]
"""What is kept of one image: plain JSON data with at least `image_id`."""


def journal_name(index: int, count: int) -> str:
    """File name of shard `index` of `count`."""
    return f"journal-{index}of{count}.jsonl"


def journal_paths(folder: Path) -> list[Path]:
    """The journals of all shards in `folder`, of whatever shard counts, by name."""
    return sorted(folder.glob("journal-*of*.jsonl"))


def read_journal(path: Path) -> list[Record]:
    """The complete records of one journal, in the order of writing; [] without such a file.

    Raises:
        UserError: A line before the last newline is no record: something else damaged the file.

    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def read_journals(folder: Path) -> dict[int, Record]:
    """Image id -> record over all shards; of several records of an image the first one counts.

    They agree in all but the seconds, so which one wins is a matter of order, not of results.
    """
    records: dict[int, Record] = {}
    for path in journal_paths(folder):
        for record in read_journal(path):
            records.setdefault(record["image_id"], record)
    return records


class Journal:
    """Appends records to one file; a context manager.  One writer at a time, see `RunStore`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Self:
        self._handle = self.path.open("ab")
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
        """Write the records, one line each; they are on disk when this returns.

        Not a number becomes null.

        Raises:
            ValueError: A record holds an infinite number.
            TypeError: A record holds something that JSON has no form for.

        """
        text = "".join(json.dumps(_plain(dict(r)), allow_nan=False) + "\n" for r in records)
        self._handle.write(text.encode("utf-8"))
        self._handle.flush()
        os.fsync(self._handle.fileno())


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "image_id" not in record:
        raise UserError(f"{path}: line {number} is damaged; remove the file or run with force=true")
    return record


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return None if isinstance(node, float) and math.isnan(node) else node


def _cut_torn_line(path: Path, descriptor: int) -> None:
    content = path.read_bytes()
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)
