"""A session: one process computes one shard of a run and writes its records to a journal.

Which images have a record is known for the whole run; the records themselves stay on disk until
the run is evaluated.  So memory does not grow with the number of images done.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bigain.errors import FaultError
from bigain.runs.adoption import manifest_or_none, related_runs, usable_records
from bigain.runs.beats import Heartbeat
from bigain.runs.errors import write_errors
from bigain.runs.features import write_features
from bigain.runs.files import (
    METRIC_COLUMNS,
    Evaluate,
    Record,
    read_manifest,
    write_manifest,
    write_metrics,
    write_samples,
)
from bigain.runs.images_done import ImagesDone, StoredRecords
from bigain.runs.journal import Journal, entries, shard_of
from bigain.runs.leases import Lease
from bigain.runs.ordered import OrderedRecords
from bigain.runs.progress import Pace
from bigain.runs.provenance import now
from bigain.runs.renewal import Renewal

if TYPE_CHECKING:
    from bigain.metrics import Metric  # loads pandas, which a finished run does not need

__all__ = ["CopyFiles", "RunSession"]

CopyFiles = Callable[[Path, Record], bool]
"""(folder of another run, record) -> whether the files of the record could be copied from it."""

_T = TypeVar("_T")
_AT_ONCE = 1000
"""Adopted records that are written together."""


class RunSession:
    """One open shard of a run; `RunStore.open` makes it.

    Args:
        folder: The run folder, which has a manifest.
        lock: The lock of the shared files in the folder.
        journal: The open journal of this shard.
        images: All images of the run, of which none is done yet.
        heart: The heartbeat of this shard.
        may_adopt: Whether records of related runs may be copied.

    Attributes:
        done: The images that have a record: those of all shards at the start, and those added
            since.  Iterating gives their ids in dataset order.
        pace: How fast this shard goes.

    """

    def __init__(
        self,
        folder: Path,
        lock: Lease,
        journal: Journal,
        images: ImagesDone,
        heart: Heartbeat,
        *,
        may_adopt: bool,
    ) -> None:
        self._folder = folder
        self._lock = lock
        self._journal = journal
        self._heart = heart
        self._may_adopt = may_adopt
        self._started = time.monotonic()
        self._index, self._count = shard_of(journal.path.name)
        self._sources: set[str] = set()
        self.done = images
        self._look()
        total = images.size_of_shard(self._index, self._count)
        self.pace = Pace(total, total - len(self.todo()))

    def todo(self) -> list[int]:
        """The images of this shard that have no record yet, in dataset order."""
        return self.done.missing(self._index, self._count)

    @property
    def stored(self) -> StoredRecords:
        """The records of the images that are in `done` now."""
        return StoredRecords(self._folder, self.done.copy())

    def append(self, record: Mapping[str, Any]) -> None:
        """Write the record of one image; it is on disk when this returns.

        Raises:
            ValueError: The image is not in this shard or has a record, or a value is infinite.
            FaultError: Another process works on this shard meanwhile, or the folder was deleted.

        """
        image_id = record["image_id"]
        place = self.done.place(image_id)
        if place is None or place % self._count != self._index or image_id in self.done:
            raise ValueError(f"image_id={image_id}: not an image that this shard has to do")
        if not self._heart.check():
            raise FaultError(
                f"{self._journal.path}: this process stood still for so long that another one "
                "took over its shard; this one ends"
            )
        self._journal.append([record])
        self.done.add_one(image_id)
        self.pace.add()

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
        for folder in related_runs(self._folder) if self._may_adopt else []:
            found = usable_records(folder, set(self.todo()), is_usable)
            copied = (record for record in found if copy_files(folder, record))
            for some in _batched(copied, _AT_ONCE):
                self._take([{"adopted_from": folder.name, **record} for record in some])
        return sorted(self._sources)

    def finish(self, evaluate: Evaluate, facts: Mapping[str, Any] | None = None) -> bool:
        """If every image has a record, evaluate the run and write its files, last of all `done`.

        If two shards end at the same time, the first one evaluates the run and the second one finds
        it done.

        Args:
            evaluate: Computes the metrics from the records of all images.
            facts: Facts about this process, such as its peak memory, for the manifest.

        Returns:
            Whether the run is done; False if other shards still have images to compute.

        """
        facts = facts or {}
        if not self._folder.is_dir():  # the lock would make it again
            raise self._deleted()
        with self._lock:
            if self._is_finished():
                shards = self._shards(facts)
                if shards.keys() != self._manifest().get("shards", {}).keys():
                    self._update(shards=shards)
                return True
            self._look()
            left = self.done.shards_left(self._count)
            if left:
                names = [f"{index}of{self._count}" for index in left]
                self._update(**facts, shards=self._shards(facts), shards_left=names)
                return False
            records = OrderedRecords(self._folder, self.done)
            evaluation = evaluate(records)
            write_samples(self._folder, evaluation.records)
            write_errors(self._folder, evaluation.records)
            write_features(self._folder, evaluation.features)
            write_metrics(self._folder, map(self._row, evaluation.metrics))
            self._update(
                **facts,
                shards=self._shards(facts),
                status="done",
                error=None,
                finished=now(),
                image_seconds=sum(record.get("seconds") or 0.0 for record in records),
                adopted_from=_adopted(records),
            )
            Renewal(self._folder).end()
            return True

    def fail(self, error: BaseException) -> None:
        """Write the error into the manifest.  Records are kept, and the run can be opened again.

        A process that was told to stop did not fail: its run stays `running`, with no process.
        """
        is_stop = isinstance(error, KeyboardInterrupt | SystemExit)
        if is_stop or self._heart.is_lost or not self._folder.is_dir():
            return
        text = f"{type(error).__name__}: {error}".strip(": ")
        with suppress(OSError, FaultError), self._lock:  # on a full disk the error is only shown
            if not self._is_finished():
                self._update(status="failed", error=text, finished=now())

    def _look(self) -> None:
        """Find out which images have a record, in the journals of all shards."""
        for some in _batched(entries(self._folder), _AT_ONCE):
            self._sources |= {each.adopted_from for each in some if each.adopted_from}
            self.done.add(each.image_id for each in some)

    def _take(self, records: Sequence[Record]) -> None:
        self._journal.append(records)
        self._sources |= set(_adopted(records))
        self.done.add(record["image_id"] for record in records)
        self.pace.add(len(records))

    def _manifest(self) -> dict[str, Any]:
        manifest = read_manifest(self._folder)
        if manifest is None:
            raise self._deleted()
        return manifest

    def _deleted(self) -> FaultError:
        return FaultError(f"{self._folder}: was deleted while the run was at work")

    def _is_finished(self) -> bool:
        found = manifest_or_none(self._folder)
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
        if changes.get("status") == "done":
            manifest.pop("shards_left", None)
        write_manifest(self._folder, {**manifest, **changes, "wall_seconds": round(wall, 3)})

    def _shards(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Shard, such as `0of2` -> its facts, with those of this shard."""
        own = self._journal.path.stem.partition("-")[2]
        return {**self._manifest().get("shards", {}), **({own: facts} if facts else {})}


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _adopted(records: Iterable[Record]) -> list[str]:
    return sorted({record["adopted_from"] for record in records if "adopted_from" in record})
