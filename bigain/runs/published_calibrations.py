"""The calibrations of published races: `<results>/<profile>/calibrations/<hash>.json`.

A file is named by the first 12 hex digits of its sha256, which the manifest of a race has as
`task.race.calibration`.  So races from before and after `bigain calibrate force=true` each have
theirs.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.files import replace_file
from bigain.runs.calibrations import find_calibration, hash_of

__all__ = ["check_calibration", "publish_calibration"]

_FOLDER = "calibrations"


def publish_calibration(
    results: Path, profile: str, run_id: str, config: Mapping[str, Any]
) -> None:
    """Copy the calibration that a finished race was made with; other runs have none.

    Raises:
        UserError: It is neither in `<results>/calibrations` nor published.

    """
    digest = _digest(config)
    if digest is None:
        return
    path = _path(results / profile, digest)
    if path.is_file() and hash_of(path) == digest:
        return
    own = find_calibration(results, digest)
    if own is None:
        raise UserError(
            f"run {run_id}: its calibration {digest} is not in {results / _FOLDER}; allowed: "
            "restore the file, or do the run again with the calibration that is there"
        )
    replace_file(path, lambda temporary: shutil.copyfile(own, temporary))


def check_calibration(folder: Path, run_id: str, config: Mapping[str, Any]) -> None:
    """Raise UserError if the published calibration of a published race is missing or another.

    Args:
        folder: Of the profile.
        run_id: The run.
        config: The configuration in its manifest.

    """
    digest = _digest(config)
    if digest is None:
        return
    path = _path(folder, digest)
    if not path.is_file():
        raise UserError(f"{path}: is missing, run {run_id} was made with it; {_REMEDY}")
    found = hash_of(path)
    if found != digest:
        raise UserError(f"{path}: has the hash {found}, run {run_id} has {digest}; {_REMEDY}")


_REMEDY = "restore the committed file, or `bigain collect` where its run has a folder"


def _digest(config: Mapping[str, Any]) -> str | None:
    """The hash of the calibration; None if the run has none."""
    race = config["task"].get("race") or {}
    digest: str | None = race.get("calibration")
    return digest


def _path(folder: Path, digest: str) -> Path:
    return folder / _FOLDER / f"{digest}.json"
