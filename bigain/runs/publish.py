"""Finished runs as small committed files, without their folders.

`<results>/<profile>/samples/<run_id>.csv.gz` are a run's records, `manifests/<run_id>.json` beside
them its origin, and `<results>/<profile>/runs.csv` has its metrics among those of other runs, whose
folders need not be here.
"""

from collections.abc import Iterable
from pathlib import Path

from bigain.errors import UserError
from bigain.runs.collect import fresh_rows, list_rows
from bigain.runs.manifests import publish_manifest
from bigain.runs.published import publish_samples, published_path
from bigain.runs.store import RunStore

__all__ = ["publish_run", "publish_runs"]


def publish_run(results: Path, run_id: str) -> Path:
    """Write these files; the path of the records.  The same run gives the same bytes.

    Raises:
        UserError: The run is not finished.

    """
    store = RunStore(results, run_id)
    if not store.is_finished():
        raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")
    profile = str(store.manifest()["config"]["profile"])
    publish_runs(results, profile, [run_id])
    return published_path(results, profile, run_id)


def publish_runs(results: Path, profile: str, run_ids: Iterable[str]) -> None:
    """Publish those of the runs of a profile whose folders are here and finished.

    Files that would not change are left alone.

    Raises:
        UserError: A file of such a run or runs.csv is damaged, or a folder is of another run; then
            runs.csv stays as it is.

    """
    here = [name for name in run_ids if RunStore(results, name).is_finished()]
    rows = [row for name in here for row in fresh_rows(results, name)]
    list_rows(results, profile, rows)
    for name in here:
        publish_samples(results, profile, name)
        publish_manifest(results, profile, name)
