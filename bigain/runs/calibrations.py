"""The file that a race is calibrated with: where it is, whether it belongs to a run, its hash.

A calibration belongs to everything that can change an error: backbone, operator, classes, loss,
grid, precision and seed, to how many images and classes it was made from, and to the weights of
the trials.  It does not belong to the images of a run, so runs of any `dataset.limit` share it.
`bigain calibrate` makes it; the first 12 hex digits of its sha256 are part of the run id.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256, parse_json, replace_text
from bigain.locations import ASSETS
from bigain.runs.identity import Config, canonical, resolved, run_id

__all__ = [
    "FOLDER",
    "OF_IMAGES",
    "SHIPPED",
    "baseline_calibration",
    "calibration_id",
    "calibration_path",
    "errors_folder",
    "find_calibration",
    "hash_of",
    "need_calibration",
    "read_calibration",
    "with_calibration",
    "write_calibration",
]

FOLDER = "calibrations"
"""The name of every folder of calibrations."""

SHIPPED = ASSETS / FOLDER
"""Calibrations of operators for the two mini backbones, by their ids."""

OF_IMAGES = ("limit", "index", "fingerprint")
"""Settings of a dataset that say which images a run has."""

_NEEDED = ("calibration", "hashes", "image_ids", "order", "fit", "covariance")
_AGAIN = "make it again with `bigain calibrate` of the same arguments and force=true"


def calibration_id(config: RunConfig) -> str:
    """What a calibration of this run must belong to: 16 hex digits."""
    return run_id(_identity(config))


def calibration_path(config: RunConfig) -> Path:
    """Where the calibration of this run is, or would be."""
    return _path(config, calibration_id(config))


def baseline_calibration(config: Config) -> str | None:
    """The hash of the calibration that the baseline of a race has; see `baseline_id`.

    None if the baseline is not calibrated yet, so there is no run of it, and if this is no race.
    """
    if not isinstance(config, RunConfig) or not _is_calibrated(config):
        return None
    if config.operator.is_baseline:
        return config.task_as(ClassificationConfig).of_race.calibration
    path = _path(config, run_id({**_identity(config), "operator": {"name": "none"}}))
    return hash_of(path) if path.is_file() else None


def hash_of(path: Path) -> str:
    """The hash of a calibration: 12 hex digits."""
    return file_sha256(path)[:12]


def find_calibration(results: Path, digest: str) -> Path | None:
    """The calibration of this hash; None if there is none."""
    files = sorted((results / FOLDER).glob("*.*"))
    return next((path for path in files if hash_of(path) == digest), None)


def errors_folder(config: RunConfig) -> Path:
    """Where the errors that it is made from are kept, a file for each image.

    Calibrations with other numbers of images, or other weights, share them.
    """
    identity = _identity(config)
    task = {k: v for k, v in identity["task"].items() if k not in ("images", "weights")}
    return config.paths.cache / FOLDER / run_id({**identity, "task": task})


def with_calibration(config: RunConfig) -> RunConfig:
    """The run with the hash of its calibration in `task.race.calibration`, if there is one.

    Raises:
        UserError: The file has another hash than the one that is set.

    """
    if not _is_calibrated(config):
        return config
    task = config.task_as(ClassificationConfig)
    path, race = calibration_path(config), task.of_race
    if not path.is_file():
        return config
    found = hash_of(path)
    if race.calibration not in (None, found):
        raise _another(race.calibration, path, found)
    own = race.model_copy(update={"calibration": found})
    return config.model_copy(update={"task": task.model_copy(update={"race": own})})


def need_calibration(config: RunConfig, overrides: Sequence[str]) -> None:
    """Raise UserError if this is a race that has no calibration and needs one.

    Args:
        config: The run.
        overrides: What it was composed from, for the command that makes the calibration.

    """
    if _is_calibrated(config) and not calibration_path(config).is_file():
        raise _missing(config, f": {shlex.join(['bigain', 'calibrate', *overrides])}")


def read_calibration(config: RunConfig) -> dict[str, Any]:
    """The calibration of the run.

    Raises:
        UserError: It is missing, damaged, of another run, or changed since the run was planned.

    """
    path = calibration_path(config)
    planned = config.task_as(ClassificationConfig).of_race.calibration
    try:
        found, content = hash_of(path), parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(config, " `bigain calibrate` of the same arguments") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    lacking = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if lacking:
        raise UserError(f"{path}: has no {lacking[0]}; {_AGAIN}")
    if found != planned:
        raise _another(planned, path, found)
    if content["calibration"] != calibration_id(config):
        raise UserError(
            f"{path}: is the calibration {content['calibration']}; allowed: that of its name; "
            f"{_AGAIN}"
        )
    return dict(content)


def write_calibration(config: RunConfig, content: Mapping[str, Any]) -> Path:
    """Write the calibration of the run; returns its path."""
    path = calibration_path(config)
    settings = json.loads(canonical(_identity(config)))
    whole = {"calibration": calibration_id(config), "settings": settings, **content}
    replace_text(path, json.dumps(whole, indent=1) + "\n")
    return path


def _identity(config: RunConfig) -> dict[str, Any]:
    """The settings of the run that can change an error, and what is learned from the errors."""
    plain, task = resolved(config), config.task_as(ClassificationConfig)
    dataset = {k: v for k, v in plain["dataset"].items() if k not in OF_IMAGES}
    if config.dataset.facts.fingerprint is not None:
        dataset["fingerprint"] = config.dataset.facts.fingerprint
    race = {"images": task.of_race.images, "classes": task.of_race.classes}
    weights = {} if task.of_race.weighing == "ones" else {"weights": task.of_race.weighing}
    score = {} if task.score is None else {"score": task.score}
    own = {"name": "calibration", "loss": task.loss, "trials": task.trial_list[-1], **score}
    return {**plain, "dataset": dataset, "task": {**own, **race, **weights}}


def _is_calibrated(config: RunConfig) -> bool:
    task = config.task
    return isinstance(task, ClassificationConfig) and task.is_race and task.of_race.is_calibrated


def _path(config: RunConfig, name: str) -> Path:
    return config.paths.results / FOLDER / f"{name}.json"


def _missing(config: RunConfig, command: str) -> UserError:
    return UserError(
        f"task.allocation=racing: no calibration of {config.title} in "
        f"{calibration_path(config).parent}; make it with{command}"
    )


def _another(planned: str | None, path: Path, found: str) -> UserError:
    return UserError(
        f"task.race.calibration={planned}: {path} is {found}; allowed: {found}, or null"
    )
