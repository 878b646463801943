"""The runs of `<results>/<profile>/runs.csv`, with their metrics and manifests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bigain.metrics import Metric
from bigain.runs.archive import Archive
from bigain.runs.archive_csv import metrics_of
from bigain.runs.audit import audit
from bigain.runs.manifests import Manifest

__all__ = ["ListedRun", "read_runs"]


@dataclass(frozen=True)
class ListedRun:
    """A finished run.

    Attributes:
        columns: What it is, by `DESCRIBING_COLUMNS`, as written; empty where it has no such thing.
        metrics: Name -> value with interval and n, in the order of the file.
        manifest: The file of its manifest; None where there is none.
        origin: The manifest, {} where there is none.

    """

    columns: Mapping[str, str]
    metrics: dict[str, Metric] = field(default_factory=dict)
    manifest: Path | None = None
    origin: Manifest = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.columns["run_id"]


def read_runs(results: Path, profile: str) -> list[ListedRun]:
    """The runs in the order of the file; none if there is no file.

    Raises:
        UserError: The file, or a manifest or records that it leads to, are damaged or contradict
            it.

    """
    audit(results, profile)
    archive = Archive(results, profile)
    return [_listed(archive, name) for name in archive.run_ids()]


def _listed(archive: Archive, name: str) -> ListedRun:
    rows, manifest = archive.published_rows(name), archive.manifest(name)
    path = archive.manifest_path(name) if manifest else None
    return ListedRun(rows[0].columns, metrics_of(rows), path, manifest or {})
