"""The errors of the first stage of a classification: `errors.npz`, one row per image.

    image_ids   int64, shape (images,), in dataset order
    timesteps   int64, shape (trials,)
    errors      float32, shape (images, trials, classes)

All classes take the trials of the first stage, under every operator, so all statistics of errors
and margins follow from this file and the labels.  An image that could not be read, and one that was
classified before errors were kept, has NaN.  A run of which no image has such errors, such as a
race, has no file.

In a record they are text, because a thousand numbers as JSON are slow to read.  The file is written
one image after the other (`bigain.runs.arrays`).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError
from bigain.runs.arrays import Array, InParts, read_arrays, write_arrays
from bigain.runs.files import FIRST_STAGE, Record, Records

if TYPE_CHECKING:
    import pandas as pd  # a finished run is skipped without it

__all__ = ["ERRORS", "FirstStage", "Values", "check_errors", "has_errors", "packed", "read_errors"]
__all__ += ["write_errors"]

ERRORS = "errors.npz"
_REPEAT = "restore the file, or start the run again with force=true"
_RESTORE = "restore the committed file, or `bigain collect` where its run has a folder"
_TOLERANCE = 1e-4

Values = npt.NDArray[np.float32]
"""Errors, shape (trials, classes) of an image, or (images, trials, classes)."""


@dataclass(frozen=True)
class FirstStage:
    """The errors of a run over the trials that all classes take.

    Attributes:
        image_ids: Shape (images,), in dataset order.
        timesteps: Timestep of each trial, shape (trials,).
        errors: fp32, shape (images, trials, classes); NaN for an image without errors.

    """

    image_ids: npt.NDArray[np.int64]
    timesteps: npt.NDArray[np.int64]
    errors: Values


def packed(timesteps: Sequence[int], errors: Values) -> dict[str, Any]:
    """The part of a record: timesteps, and errors as base64 of little-endian fp32.

    Args:
        timesteps: Of the trials of the first stage.
        errors: Shape (trials, classes).

    """
    text = base64.b64encode(errors.astype("<f4").tobytes()).decode("ascii")
    return {"timesteps": list(timesteps), "errors": text}


def has_errors(record: Mapping[str, Any]) -> bool:
    """Whether the image of a record has errors of all classes."""
    return bool(record.get(FIRST_STAGE))


def write_errors(folder: Path, records: Records) -> None:
    """Write the errors of a run, in the order of `records`; no file if no record has any.

    Raises:
        UserError: The errors of a record are damaged.

    """
    first = next(filter(has_errors, records), None)
    if first is None:
        return
    timesteps = first[FIRST_STAGE]["timesteps"]
    trials = len(timesteps)
    classes = _unpacked(folder, first, trials).shape[1]
    missing = np.full((trials, classes), np.nan, "<f4")
    image_ids = np.array([record["image_id"] for record in records], "<i8")
    rows = (
        _unpacked(folder, record, trials) if has_errors(record) else missing for record in records
    )

    arrays: dict[str, Array | InParts] = {
        "image_ids": image_ids,
        "timesteps": np.array(timesteps, "<i8"),
        "errors": InParts((len(image_ids), trials, classes), rows),
    }
    write_arrays(folder / ERRORS, arrays)


def read_errors(path: Path) -> FirstStage:
    """The errors in a file that `write_errors` wrote.

    Raises:
        UserError: It is damaged.

    """
    found = FirstStage(*read_arrays(path, ["image_ids", "timesteps", "errors"]))
    if found.errors.shape[:2] != (len(found.image_ids), len(found.timesteps)):
        raise UserError(f"{path}: damaged: the shapes of its arrays do not agree; {_REPEAT}")
    return found


def check_errors(
    path: Path, frame: "pd.DataFrame", records: Path, timesteps: Sequence[int]
) -> None:
    """Raise UserError unless a file of errors gives what the records of its run say.

    Args:
        path: The file of the errors.
        frame: The records.
        records: Their file, for the message.
        timesteps: Of the first stage of its protocol.

    """
    found = read_errors(path)
    if found.timesteps.tolist() != [*timesteps]:
        allowed = f"timesteps {found.timesteps.tolist()}; allowed: those of its run, {[*timesteps]}"
        raise UserError(f"{path}: has {allowed}; {_RESTORE}")
    if not np.array_equal(found.image_ids, frame["image_id"]):
        raise UserError(f"{path}: has other images than {records}; {_RESTORE}")
    several = frame["labels"] if "labels" in frame else [[label] for label in frame["label"]]
    stated = zip(several, frame["true_errors"], frame["margin_mean"], strict=True)
    for errors, image_id, (labels, true_errors, margin) in zip(
        found.errors.astype("float64"), found.image_ids, stated, strict=True
    ):
        if not labels or (np.isnan(errors).all() and not isinstance(true_errors, list)):
            continue  # it has no true class, or could not be read
        own = errors[:, labels].mean(axis=1)
        wrong = np.delete(errors, labels, axis=1) - own[:, None]
        given = np.array([*own, wrong.mean() if wrong.size else np.nan])
        said = np.array([*(true_errors if isinstance(true_errors, list) else ()), margin], float)
        is_same = said.shape == given.shape
        if not (is_same and np.allclose(said, given, rtol=_TOLERANCE, equal_nan=True)):
            raise UserError(
                f"{path}: image {image_id} has other errors than {records} says; {_RESTORE}"
            )


def _unpacked(folder: Path, record: Record, trials: int) -> Values:
    """The errors of a record, shape (trials, classes)."""
    try:
        data = base64.b64decode(record[FIRST_STAGE]["errors"], validate=True)
        return np.frombuffer(data, "<f4").reshape(trials, -1)
    except ValueError:
        raise UserError(
            f"{folder}: the errors of image {record['image_id']} in its journal are damaged; "
            "start the run again with force=true"
        ) from None
