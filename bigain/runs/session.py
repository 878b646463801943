"""One process at work on one shard of a run: what is left to do, and putting it on disk."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock

from bigain.errors import UserError
from bigain.files import sync_folder
from bigain.runs.files import (
    METRIC_COLUMNS,
    Evaluate,
    Record,
    read_manifest,
    write_manifest,
    write_metrics,
    write_samples,
)
from bigain.runs.provenance import now

if TYPE_CHECKING:
    from bigain.metrics import Metric  # loads pandas, which a finished run does not need

__all__ = [
    "CopyFiles",
    "Journal",
    "RunSession",
    "journal_name",
    "journal_paths",
    "read_journal",
    "read_journals",
]

CopyFiles = Callable[[Path, Record], bool]
"""Copies the files of a record from the folder of another run; whether that was possible."""


_NOT_OF_A_RECORD = ("dataset/", "extractor/", "reference/")
"""Hashes that may differ between runs that share records.  The dataset's covers the images in use,
so it changes with the limit; the others belong to what compares the images once all are made."""


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


class RunSession:
    """An open shard; made by `RunStore.open`.

    Args:
        folder: The run folder, with a manifest in it.
        lock: The lock of the shared files in it.
        journal: The open journal of this shard.
        image_ids: All images of the run, in dataset order.
        own: Those of this shard.
        may_adopt: Whether records of related runs may be taken over.

    Attributes:
        done: Image id -> record: of all shards when the session was opened, and what this session
            added since.

    """

    def __init__(
        self,
        folder: Path,
        lock: FileLock,
        journal: Journal,
        image_ids: Sequence[int],
        own: Sequence[int],
        *,
        may_adopt: bool,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._journal = journal
        self._image_ids = tuple(image_ids)
        self._own = dict.fromkeys(own)
        self._may_adopt = may_adopt
        self._started = time.monotonic()
        known = read_journals(folder)
        self.done: dict[int, Record] = {i: known[i] for i in image_ids if i in known}

    def todo(self) -> list[int]:
        """Image ids of this shard without a record, in dataset order."""
        return [image_id for image_id in self._own if image_id not in self.done]

    def append(self, record: Mapping[str, Any]) -> None:
        """Write the record of one image; it is on disk when this returns.

        Raises:
            ValueError: The image is not of this shard, has its record already, or a value is
                infinite.

        """
        image_id = record["image_id"]
        if image_id not in self._own or image_id in self.done:
            raise ValueError(f"image_id={image_id}: not an image that this shard has to do")
        self._journal.append([record])
        self.done[image_id] = dict(record)

    def adopt(self, copy_files: CopyFiles = lambda _folder, _record: True) -> list[str]:
        """Take over records of this shard's images from runs that differ in limit or evaluation.

        Such runs have our family id: an image's record is the same in all of them, finished or
        not.  Not taken over are records made with other weights, records from damaged files, and
        images that could not be read; with `force` nothing is taken over.

        Args:
            copy_files: Copies the files of a record; without them the record is not taken over.

        Returns:
            Run ids that gave something, sorted.

        """
        for folder in self._siblings() if self._may_adopt else []:
            found = _records_of(folder)
            usable = [i for i in self.todo() if i in found and "failure" not in found[i]]
            taken = [image_id for image_id in usable if copy_files(folder, found[image_id])]
            fresh = [{"adopted_from": folder.name, **found[image_id]} for image_id in taken]
            self._journal.append(fresh)
            self.done |= dict(zip(taken, fresh, strict=True))
        return _adopted(list(self.done.values()))

    def finish(self, evaluate: Evaluate, facts: Mapping[str, Any] | None = None) -> bool:
        """If all shards are through: evaluate, and write samples.csv, metrics.csv and `done`.

        `facts` about this process, such as its peak memory, go into the manifest, and once more
        under the name of its shard.  Of shards that end together the first one evaluates; for the
        other the run is done already.

        Returns:
            Whether the run is done; False means that other shards have images left.

        """
        facts = facts or {}
        with self._lock:
            if self._is_finished():
                shards = self._shards(facts)
                if shards.keys() != self._manifest().get("shards", {}).keys():
                    self._update(shards=shards)
                return True
            records = read_journals(self._folder)
            if any(image_id not in records for image_id in self._image_ids):
                self._update(**facts, shards=self._shards(facts))
                return False
            ordered = [records[image_id] for image_id in self._image_ids]
            evaluation = evaluate(ordered)
            write_samples(self._folder, evaluation.records)
            write_metrics(self._folder, map(self._row, evaluation.metrics))
            self._update(
                **facts,
                shards=self._shards(facts),
                status="done",
                error=None,
                finished=now(),
                image_seconds=sum(record.get("seconds") or 0.0 for record in ordered),
                adopted_from=_adopted(ordered),
            )
            return True

    def fail(self, error: BaseException) -> None:
        """Record the failure; appended records stay, and the run can be opened again."""
        text = f"{type(error).__name__}: {error}".strip(": ")
        with self._lock:
            if not self._is_finished():
                self._update(status="failed", error=text, finished=now())

    def _manifest(self) -> dict[str, Any]:
        return read_manifest(self._folder) or {}

    def _is_finished(self) -> bool:
        found = _manifest_or_none(self._folder)
        return found is not None and found["status"] == "done"

    def _row(self, metric: "Metric") -> dict[str, Any]:
        row = {**self._manifest()["columns"], **asdict(metric)}
        return {name: row[name] for name in METRIC_COLUMNS}

    def _update(self, **changes: Any) -> None:
        """Change the manifest and add this session's wall time.  The caller holds the lock."""
        manifest = self._manifest()
        now_ = time.monotonic()
        wall = manifest["wall_seconds"] + now_ - self._started
        self._started = now_
        write_manifest(self._folder, {**manifest, **changes, "wall_seconds": round(wall, 3)})

    def _shards(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The facts of each shard, by a name such as `0of2`, with these facts of ours."""
        own = self._journal.path.stem.partition("-")[2]
        return {**self._manifest().get("shards", {}), **({own: facts} if facts else {})}

    def _siblings(self) -> list[Path]:
        manifest = self._manifest()
        folders = [path for path in sorted(self._folder.parent.iterdir()) if path != self._folder]
        return [folder for folder in folders if _are_related(manifest, _manifest_or_none(folder))]


def _records_of(folder: Path) -> dict[int, Record]:
    try:
        return read_journals(folder)
    except UserError:
        return {}


def _are_related(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether both are of one family and, as far as they say, made with the same weights."""
    if other is None or other["family_id"] != own["family_id"]:
        return False
    mine, theirs = _weights(own), _weights(other)
    return not (mine and theirs) or mine == theirs


def _weights(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of what the records were made with."""
    hashes: Mapping[str, str] = manifest.get("hashes") or {}
    return {name: value for name, value in hashes.items() if not name.startswith(_NOT_OF_A_RECORD)}


def _manifest_or_none(folder: Path) -> dict[str, Any] | None:
    try:
        return read_manifest(folder)
    except UserError:
        return None


def _adopted(records: Sequence[Record]) -> list[str]:
    return sorted({record["adopted_from"] for record in records if "adopted_from" in record})


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
