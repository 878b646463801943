"""Finished runs in a dashboard, from the run store or from what is published of them.

What was shown already is remembered in `<results>/<tracker>/shown.json`: run id and project -> a
digest of what was shown.  So a second call does nothing, and one that was interrupted goes on.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.config import TrackingConfig
from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.archive import Archive
from bigain.runs.store import RunStore
from bigain.tracking.dashboard import Client, show_whole
from bigain.tracking.pictures import media_of
from bigain.tracking.view import View, with_flops

__all__ = ["Finished", "finished_run", "sync"]

_SHOWN = "shown.json"


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
        """A hash of what is shown of it, except pictures and the group, which is the first one."""
        shown = (self.view.config, self.metrics, self.records, self.view.tags)
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


def sync(
    runs: Iterable[Finished], client: Client, tracking: TrackingConfig, results: Path
) -> Iterator[bool]:
    """Show each of `runs` in the dashboard of `client`; yields whether it was new or had changed.

    What was shown is remembered, also if a later run fails.

    Args:
        runs: The runs.
        client: The client of the only tracker of `tracking`.
        tracking: What the user told the tracker.
        results: The folder of the run store.

    Raises:
        UserError: The file that remembers is damaged.
        Exception: The tracker cannot be reached, or refuses.

    """
    (tracker,) = tracking.trackers
    path = results / tracker / _SHOWN
    shown = _read(path)
    place = client.place(tracking)
    for each in runs:
        key = f"{each.view.run_id}|{place}"
        is_new = shown.get(key) != each.digest
        if is_new:
            page = client.open(each.view, tracking, results, 0)
            show_whole(page, each.metrics, each.records, media_of(each.records, each.folder))
            page.finish()
            shown[key] = each.digest
            replace_text(path, json.dumps(shown, indent=1) + "\n")
        yield is_new


def _plain(samples: pd.DataFrame) -> list[dict[str, Any]]:
    cells = samples.astype(object).where(samples.notna(), None)
    return [{str(key): cell for key, cell in row.items()} for row in cells.to_dict("records")]


def _read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{path}: is damaged; delete it, and every run is shown again") from None
    return found
