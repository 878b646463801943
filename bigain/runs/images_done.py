"""Which images of a run have a record: 17 bytes per image of the run, done or not."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from bigain.runs.files import Record
from bigain.runs.journal import iterate_journals

__all__ = ["ImagesDone", "StoredRecords"]


class ImagesDone:
    """The images of a run, of which some have a record.

    Args:
        image_ids: All images of the run, in dataset order.

    Raises:
        ValueError: Image ids repeat, or there are none.

    """

    def __init__(self, image_ids: Sequence[int]) -> None:
        ids = np.fromiter(image_ids, np.int64, len(image_ids))
        self._order = np.argsort(ids, kind="stable")
        self._sorted = ids[self._order]
        if not len(ids) or (self._sorted[1:] == self._sorted[:-1]).any():
            raise ValueError("image ids must be unique and at least one")
        self._image_ids = image_ids
        self._done = np.zeros(len(ids), bool)
        self._count = 0

    def __len__(self) -> int:
        """How many have a record."""
        return self._count

    def __iter__(self) -> Iterator[int]:
        """Those that have a record, in dataset order."""
        return (self._image_ids[place] for place in np.flatnonzero(self._done).tolist())

    def __contains__(self, image_id: int) -> bool:
        place = self.place(image_id)
        return place is not None and bool(self._done[place])

    def place(self, image_id: int) -> int | None:
        """The position of an image in dataset order; None if it is not one of the run."""
        at = int(np.searchsorted(self._sorted, image_id))
        is_found = at < len(self._sorted) and self._sorted[at] == image_id
        return int(self._order[at]) if is_found else None

    def add(self, image_ids: Iterable[int]) -> None:
        """These have a record now; images of other runs are passed over."""
        ids = np.fromiter(image_ids, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        self._done[self._order[at[self._sorted[at] == ids]]] = True
        self._count = int(np.count_nonzero(self._done))

    def add_one(self, image_id: int) -> None:
        """As `add`, for one image of the run that has no record yet."""
        place = self.place(image_id)
        assert place is not None
        self._done[place] = True
        self._count += 1

    def discard(self, image_id: int) -> bool:
        """Take back that an image has a record; whether it had one."""
        place = self.place(image_id)
        if place is None or not self._done[place]:
            return False
        self._done[place] = False
        self._count -= 1
        return True

    def copy(self) -> Self:
        """An independent copy."""
        other = copy.copy(self)
        other._done = self._done.copy()
        return other

    def size_of_shard(self, index: int, count: int) -> int:
        """How many images shard `index` of `count` has."""
        return len(self._done[index::count])

    def missing(self, index: int = 0, count: int = 1) -> list[int]:
        """The images of shard `index` of `count` that have no record, in dataset order."""
        places = index + count * np.flatnonzero(~self._done[index::count])
        return [self._image_ids[place] for place in places.tolist()]

    def shards_left(self, count: int) -> list[int]:
        """The indices of the shards, of `count`, that have images without a record."""
        return [index for index in range(count) if not self._done[index::count].all()]


class StoredRecords(Iterable[Record]):
    """Records that are read from disk each time they are gone through, one after the other.

    Args:
        folder: The run folder.
        images: The images whose first record is meant.

    """

    def __init__(self, folder: Path, images: ImagesDone) -> None:
        self._folder = folder
        self._images = images

    def __iter__(self) -> Iterator[Record]:
        left = self._images.copy()
        for record in iterate_journals(self._folder):
            if left.discard(record["image_id"]):
                yield record
