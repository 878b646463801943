"""Finished runs as plain data, and what of them a tracker was shown already.

This is remembered in `<results>/<tracker>/shown`: a file for each run and place, with a digest of
what was shown.  Several processes may remember runs at once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.archive import Archive
from bigain.runs.store import RunStore
from bigain.tracking.view import View, with_flops

__all__ = ["Finished", "Shown", "finished_run"]


@dataclass(frozen=True)
class Finished:
    """A finished run as plain data.

    Attributes:
        view: What does not change.
        metrics: The rows of metrics.csv, and FLOPs.
        records: One record per image, in the order of the dataset; what is published of it.
        folder: Where its pictures may be; it may not exist.

    """

    view: View
    metrics: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    folder: Path

    @property
    def digest(self) -> str:
        """A hash of its configuration and results; group and tags depend on who shows it."""
        shown = (self.view.config, self.metrics, self.records)
        return hashlib.sha256(json.dumps(shown, default=str, sort_keys=True).encode()).hexdigest()


def finished_run(
    archive: Archive, run_id: str, group: str | None = None, tags: Sequence[str] = ()
) -> Finished:
    """The finished run with this id.

    Raises:
        UserError: There is none, or a file of it is damaged.

    """
    manifest, samples = archive.manifest(run_id), archive.samples(run_id)
    if manifest is None or samples is None:
        raise UserError(f"{run_id}: is no finished run in {archive.results}")
    return Finished(
        View.of(run_id, manifest["config"], group, tags),
        with_flops(map(asdict, archive.metrics(run_id).values()), manifest["config"]),
        _plain(samples),
        RunStore(archive.results, run_id).folder,
    )


class Shown:
    """The finished runs that a tracker was shown at one place.

    Args:
        folder: The tracker's own folder in the results.
        place: The server or folder, and the project, where the tracker shows them.

    """

    def __init__(self, folder: Path, place: str) -> None:
        self._folder = folder / "shown"
        self._place = hashlib.sha256(place.encode()).hexdigest()[:8]

    def __contains__(self, run: Finished) -> bool:
        """Whether the run was shown as it is now."""
        try:
            return self._path(run).read_text(encoding="utf-8").strip() == run.digest
        except (FileNotFoundError, UnicodeDecodeError):
            return False

    def add(self, run: Finished) -> None:
        """Remember that the run was shown."""
        replace_text(self._path(run), run.digest + "\n")

    def _path(self, run: Finished) -> Path:
        return self._folder / f"{run.view.run_id}-{self._place}.txt"


def _plain(samples: pd.DataFrame) -> list[dict[str, Any]]:
    cells = samples.astype(object).where(samples.notna(), None)
    return [{str(key): cell for key, cell in row.items()} for row in cells.to_dict("records")]
