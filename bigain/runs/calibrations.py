"""The file that a race is calibrated with: where it is, whether it belongs to a run, its hash.

A calibration belongs to everything that can change an error: backbone, operator, classes, loss,
grid, precision and seed, and to how many images and classes it was made from.  It does not belong
to the images of a run, so runs of any `dataset.limit` share it.  `bigain calibrate` makes it; the
first 12 hex digits of its sha256 are part of the run id.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256, parse_json, replace_text
from bigain.runs.identity import canonical, resolved, run_id

__all__ = [
    "calibration_id",
    "calibration_path",
    "errors_folder",
    "need_calibration",
    "read_calibration",
    "with_calibration",
    "write_calibration",
]

_FOLDER = "calibrations"
_OF_IMAGES = ("limit", "index", "fingerprint")


def calibration_id(config: RunConfig) -> str:
    """What a calibration of this run must belong to: 16 hex digits."""
    return run_id(_identity(config))


def calibration_path(config: RunConfig) -> Path:
    """Where the calibration of this run is, or would be."""
    return config.paths.results / _FOLDER / f"{calibration_id(config)}.json"


def errors_folder(config: RunConfig) -> Path:
    """Where the errors that it is made from are kept, a file for each image.

    Calibrations with other numbers of images share them.
    """
    identity = _identity(config)
    task = {key: value for key, value in identity["task"].items() if key != "images"}
    return config.paths.cache / _FOLDER / run_id({**identity, "task": task})


def with_calibration(config: RunConfig) -> RunConfig:
    """The run with the hash of its calibration in `task.race.calibration`, if there is one.

    Raises:
        UserError: The file has another hash than the one that is set.

    """
    task = config.task
    if not isinstance(task, ClassificationConfig) or not task.is_race:
        return config
    path, race = calibration_path(config), task.of_race
    if not path.is_file():
        return config
    found = file_sha256(path)[:12]
    if race.calibration not in (None, found):
        raise _another(race.calibration, path, found)
    own = race.model_copy(update={"calibration": found})
    return config.model_copy(update={"task": task.model_copy(update={"race": own})})


def need_calibration(config: RunConfig, overrides: Sequence[str]) -> None:
    """Raise UserError if this is a race without a calibration.

    Args:
        config: The run.
        overrides: What it was composed from, for the command that makes the calibration.

    """
    task = config.task
    if isinstance(task, ClassificationConfig) and task.is_race and not _is_there(config):
        command = shlex.join(["bigain", "calibrate", *overrides])
        raise UserError(
            f"task.allocation=racing: no calibration of {config.title} in "
            f"{calibration_path(config).parent}; make it with: {command}"
        )


def read_calibration(config: RunConfig) -> dict[str, Any]:
    """The calibration of the run.

    Raises:
        UserError: It is missing, damaged, of another run, or changed since the run was planned.

    """
    path = calibration_path(config)
    planned = config.task_as(ClassificationConfig).of_race.calibration
    try:
        found, content = file_sha256(path)[:12], parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        again = "delete it, and make it again with `bigain calibrate`"
        raise UserError(f"{path}: cannot be read ({error}); {again}") from error
    if found != planned:
        raise _another(planned, path, found)
    if content["calibration"] != calibration_id(config):
        raise UserError(
            f"{path}: is the calibration {content['calibration']}; allowed: that of its name"
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
    """The settings of the run that can change an error, and the size of the calibration."""
    plain, task = resolved(config), config.task_as(ClassificationConfig)
    dataset = {k: v for k, v in plain["dataset"].items() if k not in _OF_IMAGES}
    if config.dataset.facts.fingerprint is not None:
        dataset["fingerprint"] = config.dataset.facts.fingerprint
    race = {"images": task.of_race.images, "classes": task.of_race.classes}
    own = {"name": "calibration", "loss": task.loss, "trials": task.trial_list[-1], **race}
    return {**plain, "dataset": dataset, "task": own}


def _is_there(config: RunConfig) -> bool:
    return calibration_path(config).is_file()


def _another(planned: str | None, path: Path, found: str) -> UserError:
    return UserError(
        f"task.race.calibration={planned}: {path} is {found}; allowed: {found}, or null"
    )
