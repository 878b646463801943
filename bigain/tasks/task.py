"""What a run needs to know of its task.

A task is a finite list of records.  Each record can be computed whether or not the others exist;
the rest of a run (name, journal, locks, resume, metrics file) is the same for all tasks.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from bigain.runs.files import Evaluation, Record, Records
from bigain.runs.provenance import Origin

__all__ = ["Compress", "Files", "Task"]

Compress = Callable[[], AbstractContextManager[object]]
"""Makes a context in which the operator is applied to the denoiser."""


class Files:
    """The files that belong to the records of a run, such as images.  This class has none."""

    def missing(self, records: Iterable[Record]) -> Sequence[Record]:  # noqa: ARG002
        """Those of `records` whose file is gone or was changed."""
        return ()

    def regenerate(self, records: Sequence[Record]) -> Generator[Record, None, None]:  # noqa: ARG002
        """Make the files of `records` again, with the same bytes, yielding a record for each.

        Raises:
            UserError: A file came out different from what its record says.

        """
        yield from ()

    def copy_files(self, folder: Path, record: Record) -> bool:  # noqa: ARG002
        """Copy the file of `record` from another run's `folder`; whether that was possible."""
        return True


class Task(Protocol):
    """The work of a run, with model, data and operator loaded.

    Attributes:
        ids: The `image_id` of every record, in order; `efficiency` numbers its measurements.
        unit: What one record describes, for the progress bar.
        origin: Weights, data and attention backend, for the manifest.
        files: The files that belong to the records.

    """

    @property
    def ids(self) -> Sequence[int]: ...  # noqa: D102

    @property
    def unit(self) -> str: ...  # noqa: D102

    @property
    def origin(self) -> Origin: ...  # noqa: D102

    @property
    def files(self) -> Files: ...  # noqa: D102

    def records(self, ids: Sequence[int]) -> Generator[Record, None, None]:
        """Compute the records with these ids, one after the other, in their order."""
        ...

    def evaluate(self, records: Records) -> Evaluation:
        """Compute the metrics from all records, and add to each what depends on all of them."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """Facts about this process for the manifest, such as its peak memory, when it ends."""
        ...
