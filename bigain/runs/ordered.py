"""The records of a run in dataset order, without having all of them in memory."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bigain.errors import FaultError
from bigain.runs.files import Record
from bigain.runs.images_done import ImagesDone
from bigain.runs.journal import journal_paths, places, record_at

__all__ = ["OrderedRecords"]


class OrderedRecords:
    """Records that are read from the journals each time they are gone through.

    In memory is where each begins: 12 bytes an image.  If an image has several records, the first
    one counts, as in `bigain.runs.journal.iterate_journals`.

    Args:
        folder: The run folder.
        images: The images of the run, all of which have a record.

    Raises:
        UserError: A line of a journal is not a record.
        FaultError: An image has no record: somebody changed or removed a journal.

    """

    def __init__(self, folder: Path, images: ImagesDone) -> None:
        self._paths = journal_paths(folder)
        self._journal = np.full(len(images), -1, np.int32)
        self._begin = np.zeros(len(images), np.int64)
        for number, path in enumerate(self._paths):
            for image_id, begin in places(path):
                place = images.place(image_id)
                if place is not None and self._journal[place] < 0:
                    self._journal[place], self._begin[place] = number, begin

        lacking = np.flatnonzero(self._journal < 0)
        if len(lacking):
            raise FaultError(
                f"{folder}: the records of {len(lacking)} images are gone from its journals while "
                "the run was at work; the same command computes them again"
            )

    def __len__(self) -> int:
        return len(self._journal)

    def __iter__(self) -> Iterator[Record]:
        with ExitStack() as held:
            handles = [held.enter_context(path.open("rb")) for path in self._paths]
            for number, begin in zip(self._journal.tolist(), self._begin.tolist(), strict=True):
                yield record_at(handles[number], self._paths[number], begin)
