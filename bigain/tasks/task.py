"""What a run needs to know of its task.

A task is a finite list of records.  Each record can be computed whether or not the others exist;
the rest of a run (name, journal, locks, resume, metrics file) is the same for all tasks.
"""

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bigain.runs.journal import Record
from bigain.runs.provenance import Origin
from bigain.runs.session import Evaluation

__all__ = ["Files", "NoFiles", "Task"]


class Files(Protocol):
    """The files that belong to the records of a run, such as generated images."""

    def missing(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of `records` whose file is gone or was changed."""
        ...

    def regenerate(self, records: Sequence[Record]) -> Generator[Record, None, None]:
        """Make the files of `records` again, with the same bytes, yielding a record for each.

        Raises:
            UserError: A file came out different from what its record says.

        """
        ...

    def copy_files(self, folder: Path, record: Record) -> bool:
        """Copy the file of `record` from another run's `folder`; whether that was possible."""
        ...


class NoFiles:
    """The `Files` of a task whose records are all there is."""

    def missing(self, records: Sequence[Record]) -> Sequence[Record]:  # noqa: ARG002, D102
        return ()

    def regenerate(self, records: Sequence[Record]) -> Generator[Record, None, None]:  # noqa: ARG002, D102
        yield from ()

    def copy_files(self, folder: Path, record: Record) -> bool:  # noqa: ARG002, D102
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

    def evaluate(self, records: list[Record]) -> Evaluation:
        """The metrics of all records, and the records with what only all together can say."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What the manifest says about this process, e.g. its peak memory; asked for at the end."""
        ...
