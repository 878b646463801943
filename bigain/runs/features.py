"""The features of generated images, and of the real ones that they are compared with.

    features.npz    image_ids   int64, shape (images,), in the order of the records
                    features    float32, shape (images, d)
                    reference   name of the features of the real images
    reference.npz   features    float32, shape (real images, d)

Distance, KID, precision and recall follow from these files, exactly as the run computed them
(`bigain.metrics.generation`).  The name is the beginning of the sha256 of the real features, which
are published once for all runs that are compared with them: `references/<name>.npz`.

An evaluation keeps features where they are few (`bigain.features.evaluator`): 64 numbers an image,
not Inception's 2,048.  Runs from before they were kept have none, nor have those that are compared
with statistics of a file, which have no features of real images.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError
from bigain.runs.arrays import Array, publish_arrays, read_arrays, write_arrays

__all__ = ["FEATURES", "REFERENCE", "Features", "features_path", "publish_features"]
__all__ += ["read_features", "reference_path", "write_features"]

FEATURES = "features.npz"
REFERENCE = "reference.npz"
_RESTORE = "restore the committed file, or publish the run again"


@dataclass(frozen=True)
class Features:
    """The features of generated images and of real ones.

    Attributes:
        image_ids: Of the generated images, shape (n,), in the order of the records.
        generated: Shape (n, d), fp32.
        real: Shape (m, d), fp32.

    """

    image_ids: npt.NDArray[np.int64]
    generated: npt.NDArray[np.float32]
    real: npt.NDArray[np.float32]


def write_features(folder: Path, features: Features | None) -> None:
    """Write the features of a run into its folder; nothing if there are none."""
    if features is None:
        return
    real = np.ascontiguousarray(features.real, "<f4")
    write_arrays(folder / REFERENCE, {"features": real})
    arrays = {
        "image_ids": features.image_ids.astype("<i8"),
        "features": np.ascontiguousarray(features.generated, "<f4"),
        "reference": np.array(_name_of(real), "<U16"),
    }
    write_arrays(folder / FEATURES, arrays)


def features_path(folder: Path, run_id: str) -> Path:
    """The published features of a run, in the folder of its profile."""
    return folder / "features" / f"{run_id}.npz"


def reference_path(folder: Path, name: str) -> Path:
    """The published features of real images, in the folder of a profile."""
    return folder / "references" / f"{name}.npz"


def publish_features(own: Path, folder: Path) -> None:
    """Copy the features in the folder `own` of a run, if it has any, into that of its profile."""
    if (own / FEATURES).is_file():
        name = _reference_of(own / FEATURES)
        publish_arrays(own / REFERENCE, reference_path(folder, name))
        publish_arrays(own / FEATURES, features_path(folder, own.name))


def read_features(folder: Path, run_id: str) -> Features | None:
    """The published features of a run; None if it has none.

    Args:
        folder: Of its profile.
        run_id: The run.

    Raises:
        UserError: A file is damaged, or the features of the real images are missing.

    """
    path = features_path(folder, run_id)
    if not path.is_file():
        return None
    image_ids, generated = read_arrays(path, ["image_ids", "features"])
    real = _real(path, reference_path(folder, _reference_of(path)))
    shapes = generated.shape[:1] == image_ids.shape and generated.shape[1:] == real.shape[1:]
    if not shapes or generated.ndim != 2:
        raise UserError(f"{path}: damaged: the shapes of its arrays do not agree; {_RESTORE}")
    return Features(image_ids, generated, real)


def _real(path: Path, reference: Path) -> Array:
    """The features of the real images that the file `path` names."""
    if not reference.is_file():
        raise UserError(f"{path}: is compared with {reference}, which is missing; {_RESTORE}")
    (real,) = read_arrays(reference, ["features"])
    if _name_of(real) != reference.stem:
        raise UserError(f"{reference}: damaged: has other features than its name says; {_RESTORE}")
    return real


def _reference_of(path: Path) -> str:
    (name,) = read_arrays(path, ["reference"])
    return str(name)


def _name_of(real: Array) -> str:
    return hashlib.sha256(real.astype("<f4").tobytes()).hexdigest()[:16]
