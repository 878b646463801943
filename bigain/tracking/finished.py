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

from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.archive import Archive
from bigain.runs.files import read_csv
from bigain.runs.store import RunStore
from bigain.tracking.pictures import Media, media_of
from bigain.tracking.view import View, with_flops

__all__ = ["Finished", "Shown", "finished_run"]


@dataclass(frozen=True)
class Finished:
    """A finished run as plain data.

    Attributes:
        view: What does not change.
        metrics: The rows of metrics.csv, and FLOPs.
        records: One record per image, in the order of the dataset; what is here of it.
        folder: Where its pictures may be; it may not exist.
        asked: The group that the user asked for, which is a tag too; None: any group will do.

    """

    view: View
    metrics: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    folder: Path
    asked: str | None = None

    @property
    def media(self) -> Media:
        """Its pictures and tables."""
        return media_of(self.view.job_type, self.records, self.folder)

    @property
    def digest(self) -> str:
        """A hash of its configuration and results; group and tags depend on who shows it."""
        shown = (self.view.config, self.metrics, self.records)
        return hashlib.sha256(json.dumps(shown, default=str, sort_keys=True).encode()).hexdigest()


def finished_run(
    archive: Archive,
    run_id: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    *,
    asked: str | None = None,
) -> Finished:
    """The finished run with this id.

    Args:
        archive: Where it is.
        run_id: Its id.
        group: The group in which it is shown, if it was not shown yet.
        tags: Words beside those of the run.
        asked: The group that the user asked for, in which it is shown again if it is in another.

    Raises:
        UserError: There is none, or a file of it is damaged.

    """
    manifest, checked = archive.manifest(run_id), archive.samples(run_id)
    if manifest is None or checked is None:
        raise UserError(f"{run_id}: is no finished run in {archive.results}")
    return Finished(
        View.of(run_id, manifest["config"], asked or group, tags),
        with_flops(map(asdict, archive.metrics(run_id).values()), manifest["config"]),
        # Not from the table, in which a column of ints with an empty cell is one of floats.
        read_csv(archive.samples_path(run_id)),
        RunStore(archive.results, run_id).folder,
        asked,
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
        """Whether the run was shown as it is now, in the group that was asked for."""
        digest, marks = self._known(run)
        asked = {_group(run.asked), _tag(run.asked)} if run.asked else set()
        return digest == run.digest and asked <= marks

    def has_other(self, run: Finished) -> bool:
        """Whether the run was shown with another configuration or other results."""
        return self._known(run)[0] not in (None, run.digest)

    def add(self, run: Finished) -> None:
        """Remember that the run was shown."""
        marks = [_group(run.view.group), *map(_tag, run.view.tags)]
        replace_text(self._path(run), "\n".join([run.digest, *marks, ""]))

    def _known(self, run: Finished) -> tuple[str | None, set[str]]:
        """The digest that was shown, None if it is not known, and its group and tags."""
        try:
            digest, *marks = self._path(run).read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ValueError):
            return None, set()
        return digest, set(marks)

    def _path(self, run: Finished) -> Path:
        return self._folder / f"{run.view.run_id}-{self._place}.txt"


def _group(name: str | None) -> str:
    return f"group={name}"


def _tag(name: str | None) -> str:
    return f"tag={name}"
