"""One process at work on one shard of a run: what is left to do, and putting it on disk."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain.errors import UserError
from bigain.runs.files import read_manifest, write_manifest, write_metrics, write_samples
from bigain.runs.journal import Journal, Record, read_journals
from bigain.runs.provenance import now

if TYPE_CHECKING:
    from bigain.runs.store import RunStore

__all__ = ["Carry", "Conclude", "Conclusion", "RunSession"]

Carry = Callable[[Path, Record], bool]
"""Brings what belongs to a record beside it from the run folder of another; whether it could."""


@dataclass(frozen=True)
class Conclusion:
    """What a run comes to: the records for samples.csv, in dataset order, and the metrics' rows."""

    records: Sequence[Record]
    rows: Sequence[Mapping[str, Any]]


_NOT_OF_A_RECORD = ("dataset/", "extractor/", "reference/")
"""Hashes that may differ between runs that share records: the one of the data covers the images in
use, so it moves with the limit; the others are of what judges the images when all are drawn."""

Conclude = Callable[[list[Record]], Conclusion]
"""Records of all images in dataset order -> what the run comes to."""


class RunSession:
    """An open shard; made by `RunStore.open`.

    Attributes:
        done: Image id -> record of this run's images, of all shards when the session was opened,
            and what this session added since.

    """

    def __init__(
        self,
        store: "RunStore",
        journal: Journal,
        image_ids: Sequence[int],
        own: Sequence[int],
        *,
        may_adopt: bool,
    ) -> None:
        self._store = store
        self._journal = journal
        self._image_ids = tuple(image_ids)
        self._own = dict.fromkeys(own)
        self._may_adopt = may_adopt
        self._started = time.monotonic()
        known = read_journals(store.folder)
        self.done: dict[int, Record] = {i: known[i] for i in image_ids if i in known}

    def todo(self) -> list[int]:
        """Image ids of this shard without a record, in dataset order."""
        return [image_id for image_id in self._own if image_id not in self.done]

    def append(self, record: Mapping[str, Any]) -> None:
        """Keep the record of one image; it survives whatever happens after this returns.

        Raises:
            ValueError: The image is not of this shard, has its record already, or a value is
                infinite.

        """
        image_id = record["image_id"]
        if image_id not in self._own or image_id in self.done:
            raise ValueError(f"image_id={image_id}: not an image that this shard has to do")
        self._journal.append([record])
        self.done[image_id] = dict(record)

    def adopt(self, carry: Carry = lambda _folder, _record: True) -> list[str]:
        """Take over records of this shard's images from runs of another limit or judgement.

        Such runs have our family id: one image's record is the same in all of them, finished or
        not.  A run of other weights, or with damaged files, has nothing to give, nor has an image
        that could not be read; with `force` nothing is taken.

        Args:
            carry: Brings the files that belong to a record; one without them is not taken.

        Returns:
            Run ids that gave something, sorted.

        """
        for folder in self._siblings() if self._may_adopt else []:
            found = self._records_of(folder)
            whole = [i for i in self.todo() if i in found and "failure" not in found[i]]
            missing = [image_id for image_id in whole if carry(folder, found[image_id])]
            fresh = [{"adopted_from": folder.name, **found[image_id]} for image_id in missing]
            self._journal.append(fresh)
            self.done |= dict(zip(missing, fresh, strict=True))
        return _adopted(list(self.done.values()))

    def finish(self, conclude: Conclude, facts: Mapping[str, Any] | None = None) -> bool:
        """Write samples.csv, metrics.csv and the manifest's `done`, if all shards are through.

        `facts` about how this process went, such as its peak memory, go into the manifest, and
        once more under the name of its shard.

        Of shards that end together one finds everything complete and finishes; for the other the
        run is done already.

        Returns:
            Whether the run is done; False means that other shards have images left.

        """
        with self._store.lock():
            if self._store.is_finished():
                self._tell_how_it_went(facts or {})
                return True
            records = read_journals(self._store.folder)
            if any(image_id not in records for image_id in self._image_ids):
                self._update(**(facts or {}), shards=self._shards(facts or {}))
                return False
            ordered = [records[image_id] for image_id in self._image_ids]
            conclusion = conclude(ordered)
            write_samples(self._store.folder, conclusion.records)
            write_metrics(self._store.folder, conclusion.rows)
            self._update(
                **(facts or {}),
                shards=self._shards(facts or {}),
                status="done",
                error=None,
                finished=now(),
                image_seconds=sum(record.get("seconds") or 0.0 for record in ordered),
                adopted_from=_adopted(ordered),
            )
            return True

    def fail(self, error: BaseException) -> None:
        """Put the failure on record; what was appended stays, and the run can be opened again."""
        text = f"{type(error).__name__}: {error}".strip(": ")
        with self._store.lock():
            if not self._store.is_finished():
                self._update(status="failed", error=text, finished=now())

    def _update(self, **changes: Any) -> None:
        """Change the manifest, adding this session's wall time.  The caller holds the lock."""
        manifest = self._store.manifest()
        now_ = time.monotonic()
        wall = manifest["wall_seconds"] + now_ - self._started
        self._started = now_
        write_manifest(self._store.folder, {**manifest, **changes, "wall_seconds": round(wall, 3)})

    def _tell_how_it_went(self, facts: Mapping[str, Any]) -> None:
        """Of a shard that ends when the run is done already; the caller holds the lock."""
        shards = self._shards(facts)
        if shards.keys() != self._store.manifest().get("shards", {}).keys():
            self._update(shards=shards)

    def _shards(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What the manifest tells of each shard, such as `0of2`, with these facts of ours."""
        own = self._journal.path.stem.partition("-")[2]
        return {**self._store.manifest().get("shards", {}), **({own: facts} if facts else {})}

    def _siblings(self) -> list[Path]:
        own = self._store.folder
        manifest = self._store.manifest()
        folders = [path for path in sorted(own.parent.iterdir()) if path != own]
        return [folder for folder in folders if _are_related(manifest, _manifest_or_none(folder))]

    @staticmethod
    def _records_of(folder: Path) -> dict[int, Record]:
        try:
            return read_journals(folder)
        except UserError:
            return {}


def _are_related(own: Mapping[str, Any], other: Mapping[str, Any] | None) -> bool:
    """Whether both are of one family, and made with the same weights as far as they say."""
    if other is None or other["family_id"] != own["family_id"]:
        return False
    mine, theirs = _weights(own), _weights(other)
    return not (mine and theirs) or mine == theirs


def _weights(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the records were made with."""
    hashes: Mapping[str, str] = manifest.get("hashes") or {}
    return {name: value for name, value in hashes.items() if not name.startswith(_NOT_OF_A_RECORD)}


def _manifest_or_none(folder: Path) -> dict[str, Any] | None:
    try:
        return read_manifest(folder)
    except UserError:
        return None


def _adopted(records: Sequence[Record]) -> list[str]:
    return sorted({record["adopted_from"] for record in records if "adopted_from" in record})
