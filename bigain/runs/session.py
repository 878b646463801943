r"""A session: one process computes one shard of a run and writes its records to a journal.

A journal has one JSON line per image, and a line is on disk before the next image begins.  A
process may be killed at any byte.  Text after the last newline is therefore an incomplete record:
readers ignore it, and the next writer removes it before it appends.  Each shard writes its own
journal, and readers read the journals of all shards.
"""

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
from bigain.files import parse_json, sync_folder
from bigain.runs.files import (
    METRIC_COLUMNS,
    Evaluate,
    Record,
    read_manifest,
    write_manifest,
    write_metrics,
    write_samples,
)
from bigain.runs.provenance import differing, now, weights_of

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
"""(folder of another run, record) -> whether the files of the record could be copied from it."""


def journal_name(index: int, count: int) -> str:
    """File name of shard `index` of `count`."""
    return f"journal-{index}of{count}.jsonl"


def journal_paths(folder: Path) -> list[Path]:
    """The journals of all shards in `folder`, for any number of shards, sorted by name."""
    return sorted(folder.glob("journal-*of*.jsonl"))


def read_journal(path: Path) -> list[Record]:
    """The complete records of one journal, in the order of writing; [] if there is no such file.

    Raises:
        UserError: A line before the last newline is not a record, so the file was damaged.

    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [_parse(line, path, number) for number, line in enumerate(lines, start=1)]


def read_journals(folder: Path) -> dict[int, Record]:
    """Image id -> record, of all shards.

    If an image has several records, the first one is used.  They differ in the seconds only.
    """
    records: dict[int, Record] = {}
    for path in journal_paths(folder):
        for record in read_journal(path):
            records.setdefault(record["image_id"], record)
    return records


class Journal:
    """A context manager that appends records to one file; `RunStore` allows only one writer."""

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
        """Write the records, one line each; they are on disk when this returns.  NaN becomes null.

        Raises:
            ValueError: A record has an infinite number.
            TypeError: A record has a value that JSON cannot represent.

        """
        text = "".join(json.dumps(_plain(dict(r)), allow_nan=False) + "\n" for r in records)
        self._handle.write(text.encode("utf-8"))
        self._handle.flush()
        os.fsync(self._handle.fileno())


class RunSession:
    """One open shard of a run; `RunStore.open` makes it.

    Args:
        folder: The run folder, which has a manifest.
        lock: The lock of the shared files in the folder.
        journal: The open journal of this shard.
        image_ids: All images of the run, in dataset order.
        own: The images of this shard.
        may_adopt: Whether records of related runs may be copied.

    Attributes:
        done: Image id -> record: those of all shards at the start, and those added since.

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
        """The images of this shard that have no record yet, in dataset order."""
        return [image_id for image_id in self._own if image_id not in self.done]

    def append(self, record: Mapping[str, Any]) -> None:
        """Write the record of one image; it is on disk when this returns.

        Raises:
            ValueError: The image is not in this shard or has a record, or a value is infinite.

        """
        image_id = record["image_id"]
        if image_id not in self._own or image_id in self.done:
            raise ValueError(f"image_id={image_id}: not an image that this shard has to do")
        self._journal.append([record])
        self.done[image_id] = dict(record)

    def adopt(
        self,
        copy_files: CopyFiles = lambda _folder, _record: True,
        is_usable: Callable[[Mapping[str, Any]], bool] = lambda _manifest: True,
    ) -> list[str]:
        """Copy records of this shard's images from runs that differ only in limit or evaluation.

        These runs have the same family id, and an image has the same record in all of them, whether
        they are finished or not.  Records that were made with other weights or of other images,
        records in damaged files and images that could not be read are not copied.  With `force`
        nothing is copied.

        Args:
            copy_files: Copies the files of a record; where it cannot, the record is not copied.
            is_usable: Whether the run with this manifest is of the images that are there now.

        Returns:
            The ids of the runs whose records are used, sorted.

        """
        for folder in self._siblings() if self._may_adopt else []:
            found = _records_of(folder)
            usable = [i for i in self.todo() if i in found and "failure" not in found[i]]
            if not (usable and is_usable(read_manifest(folder) or {})):
                continue
            taken = [image_id for image_id in usable if copy_files(folder, found[image_id])]
            fresh = [{"adopted_from": folder.name, **found[image_id]} for image_id in taken]
            self._journal.append(fresh)
            self.done |= dict(zip(taken, fresh, strict=True))
        return _adopted(list(self.done.values()))

    def finish(self, evaluate: Evaluate, facts: Mapping[str, Any] | None = None) -> bool:
        """If every image has a record, evaluate the run and write samples.csv, metrics.csv, `done`.

        If two shards end at the same time, the first one evaluates the run and the second one finds
        it done.

        Args:
            evaluate: Computes the metrics from the records of all images.
            facts: Facts about this process, such as its peak memory, for the manifest.

        Returns:
            Whether the run is done; False if other shards still have images to compute.

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
        """Write the error into the manifest.  Records are kept, and the run can be opened again."""
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
        """Change the manifest and add the wall time of this session.  The caller holds the lock."""
        manifest = self._manifest()
        now_ = time.monotonic()
        wall = manifest["wall_seconds"] + now_ - self._started
        self._started = now_
        write_manifest(self._folder, {**manifest, **changes, "wall_seconds": round(wall, 3)})

    def _shards(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Shard, such as `0of2` -> its facts, with those of this shard."""
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
    """Whether both runs have the same family id and, where they state hashes, the same weights."""
    if other is None or other["family_id"] != own["family_id"]:
        return False
    mine, theirs = (weights_of(each.get("hashes") or {}) for each in (own, other))
    return not (mine and theirs) or not differing(mine, theirs)


def _manifest_or_none(folder: Path) -> dict[str, Any] | None:
    try:
        return read_manifest(folder)
    except UserError:
        return None


def _adopted(records: Sequence[Record]) -> list[str]:
    return sorted({record["adopted_from"] for record in records if "adopted_from" in record})


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        record = parse_json(line)
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
