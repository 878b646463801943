"""The file that an operator is made from: where it is, whether it belongs to a run, its hash.

Such an operator (`operator=dip_go`) is the result of `bigain calibrate`.  It belongs to backbone
and weights, to the operator's settings, among them the trials and a seed of its own, and to the
classes of the dataset.  It does not belong to the images, seed or precision of a run.  The first 12
hex digits of the file's sha256 are in the setting `operator.calibration`, and so part of the run
id.

A file of one's own in `<paths.results>/calibrations` comes first; those of the two mini backbones
ship with the package.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.runs.calibrations import FOLDER, OF_IMAGES, SHIPPED, hash_of
from bigain.runs.identity import canonical, resolved, run_id

__all__ = [
    "AGAIN",
    "identity_of",
    "measurements_folder",
    "need_operator_calibration",
    "operator_calibration_id",
    "own_calibration_path",
    "planned_calibration",
    "with_operator_calibration",
]

AGAIN = "make it again with `bigain calibrate` of the same arguments and force=true"
_SUFFIXES = (".json", ".safetensors")
_PARTS = ("backbone", "dataset", "operator")


def operator_calibration_id(config: RunConfig) -> str:
    """What the calibration of this run's operator must belong to: 16 hex digits."""
    return run_id(_identity(config))


def identity_of(config: RunConfig) -> dict[str, Any]:
    """The same as JSON data, for the file."""
    plain: dict[str, Any] = json.loads(canonical(_identity(config)))
    return plain


def own_calibration_path(config: RunConfig, suffix: str) -> Path:
    """Where `bigain calibrate` writes it."""
    folder = config.paths.results / FOLDER
    return folder / f"{operator_calibration_id(config)}{suffix}"


def measurements_folder(config: RunConfig, without: Sequence[str]) -> Path:
    """Where the measurements on single images are kept, a file for each.

    Args:
        config: The run.
        without: Settings of the operator that the measurements do not depend on.

    """
    identity = _identity(config)
    operator = {k: v for k, v in identity["operator"].items() if k not in without}
    return config.paths.cache / FOLDER / run_id({**identity, "operator": operator})


def with_operator_calibration(config: RunConfig) -> RunConfig:
    """The run with the hash of its calibration in `operator.calibration`, if there is one.

    Raises:
        UserError: The file has another hash than the one that is set.

    """
    path = _found(config) if config.operator.is_calibrated else None
    if path is None:
        return config
    found, planned = hash_of(path), config.operator.calibration
    if planned not in (None, found):
        raise _another(planned, path, found)
    return config.model_copy(update={"operator": config.operator.made_from(found)})


def need_operator_calibration(config: RunConfig, overrides: Sequence[str] = ()) -> None:
    """Raise UserError if the operator of this run needs a calibration that is not there.

    Args:
        config: The run.
        overrides: What it was composed from, for the command that makes the calibration.

    """
    if config.operator.is_calibrated and _found(config) is None:
        named = shlex.join(["bigain", "calibrate", *overrides]) if overrides else "bigain calibrate"
        command = f": {named}" if overrides else f" `{named}` of the same arguments"
        raise UserError(
            f"operator={config.operator.name}: no calibration of {config.title} in "
            f"{config.paths.results / FOLDER}; make it with{command}"
        )


def planned_calibration(config: RunConfig) -> Path:
    """The calibration that the run was planned with.

    Raises:
        UserError: It is missing, or has changed since.

    """
    need_operator_calibration(config)
    path = _found(config)
    assert path is not None
    found = hash_of(path)
    if found != config.operator.calibration:
        raise _another(config.operator.calibration, path, found)
    return path


def _identity(config: RunConfig) -> dict[str, Any]:
    plain = {key: resolved(config)[key] for key in _PARTS}
    dataset = {k: v for k, v in plain["dataset"].items() if k not in OF_IMAGES}
    if config.dataset.facts.fingerprint is not None:
        dataset["fingerprint"] = config.dataset.facts.fingerprint
    backbone = {k: v for k, v in plain["backbone"].items() if k != "sites"}
    operator = {k: v for k, v in plain["operator"].items() if k != "calibration"}
    return {"dataset": dataset, "backbone": backbone, "operator": operator}


def _found(config: RunConfig) -> Path | None:
    name = operator_calibration_id(config)
    folders = (config.paths.results / FOLDER, SHIPPED)
    paths = (folder / f"{name}{suffix}" for folder in folders for suffix in _SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _another(planned: str | None, path: Path, found: str) -> UserError:
    return UserError(
        f"operator.calibration={planned}: {path} is {found}; allowed: {found}, or null"
    )
