"""The calibrations of published runs: `<results>/<profile>/calibrations/<hash>.json`.

A file is named by the first 12 hex digits of its sha256, which the manifest of a run has as
`task.race.calibration` (a race) or `operator.calibration`.  So runs from before and after
`bigain calibrate force=true` each have theirs.  Those that ship with the package are not copied.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.files import replace_file
from bigain.runs.calibrations import FOLDER, SHIPPED, find_calibration, hash_of

__all__ = ["check_calibration", "publish_calibration"]


def publish_calibration(
    results: Path, profile: str, run_id: str, config: Mapping[str, Any]
) -> None:
    """Copy the calibration that a finished run was made with; most runs have none.

    Raises:
        UserError: It is neither in `<results>/calibrations` nor published.

    """
    digest = _digest(config)
    if digest is None or _published(results / profile, digest) is not None:
        return
    own = find_calibration(results, digest)
    if own is None:
        raise UserError(
            f"run {run_id}: its calibration {digest} is not in {results / FOLDER}; allowed: "
            "restore the file, or do the run again with the calibration that is there"
        )
    path = results / profile / FOLDER / f"{digest}{own.suffix}"
    replace_file(path, lambda temporary: shutil.copyfile(own, temporary))


def check_calibration(folder: Path, run_id: str, config: Mapping[str, Any]) -> None:
    """Raise UserError if the published calibration of a published run is missing or another.

    Args:
        folder: Of the profile.
        run_id: The run.
        config: The configuration in its manifest.

    """
    digest = _digest(config)
    if digest is None or _published(folder, digest) is not None:
        return
    path = next(iter(sorted((folder / FOLDER).glob(f"{digest}.*"))), None)
    if path is None:
        path = folder / FOLDER / f"{digest}.json"
        raise UserError(f"{path}: is missing, run {run_id} was made with it; {_REMEDY}")
    raise UserError(f"{path}: has the hash {hash_of(path)}, run {run_id} has {digest}; {_REMEDY}")


_REMEDY = "restore the committed file, or `bigain collect` where its run has a folder"


def _digest(config: Mapping[str, Any]) -> str | None:
    """The hash of the calibration; None if the run has none."""
    race, operator = config["task"].get("race") or {}, config.get("operator") or {}
    digest: str | None = race.get("calibration") or operator.get("calibration")
    return digest


def _published(folder: Path, digest: str) -> Path | None:
    """The file with this hash that the profile has or that ships."""
    own = (folder / FOLDER).glob(f"{digest}.*")
    return next((path for path in (*own, *SHIPPED.glob("*.*")) if hash_of(path) == digest), None)
