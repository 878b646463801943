"""References for generated images: moments of real images, and their features if known.

A reference is computed once and cached.  Its file name is a hash of the images, the extractor's
weights and the resize, so a cached reference cannot be used for other images.  A JSON file beside
it describes it.  pytorch-fid can read the .npz, and its own files (mu, sigma) can be read here.
Those have no features, so KID, precision and recall against them do not exist.
"""

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigain.errors import UserError
from bigain.features.base import Extractor, Images, extract
from bigain.files import parse_json, replace_file, replace_text
from bigain.metrics.moments import Moments, moments_of

__all__ = [
    "Reference",
    "ReferenceSource",
    "cached_reference",
    "check_fits",
    "compute_reference",
    "read_reference",
]

_FORMAT = 2
"""Part of the file names; increased when the same images give other features."""


@dataclass(frozen=True)
class ReferenceSource:
    """Which images a reference is computed from.

    Attributes:
        dataset: Name of the dataset or folder.
        split: The dataset's own name of the split, such as `test`.
        content: sha256 over the images, such as a dataset's `content_hash`.
        selection: Which images of the split, in words.

    """

    dataset: str
    split: str
    content: str
    selection: str = "all images"


@dataclass(frozen=True)
class Reference:
    """Statistics of real images.

    Attributes:
        moments: Mean and covariance of the features.
        features: Shape (n, d); None for statistics that were published without features.
        about: The description, as in the JSON file.

    """

    moments: Moments
    features: npt.NDArray[np.float32] | None
    about: dict[str, Any]


def cached_reference(
    folder: Path,
    source: ReferenceSource,
    extractor: Extractor,
    images: Images,
    workers: int = 0,
    mixed_sizes: bool = True,
    progress: bool = False,
) -> Reference:
    """The reference of `images`, read from `folder` if it was computed before.

    Args:
        folder: Folder of all cached references; created if missing.
        source: Which images these are; `source.content` must change with them.
        extractor: The network.
        images: Only read if nothing is cached.
        workers: Threads that decode ahead.
        mixed_sizes: As in `extract`; images of most datasets have different sizes.
        progress: Show a progress bar on stderr.

    Raises:
        UserError: As `extract`.

    """
    about = _about(source, extractor)
    path = folder / f"{_key(about)}.npz"
    if path.is_file():
        try:
            return read_reference(path)
        except UserError:
            path.unlink()  # damaged: compute it again
    features = extract(extractor, images, workers, mixed_sizes, progress)
    return _write(path, compute_reference(features, about))


def compute_reference(features: npt.NDArray[np.float32], about: dict[str, Any]) -> Reference:
    """The reference with these features, shape (n, d).

    Raises:
        UserError: Fewer than two images, or a feature that is not finite.

    """
    return Reference(moments_of(features), features, {**about, "n": len(features)})


def read_reference(path: Path) -> Reference:
    """A reference of this package, or a .npz with `mu` and `sigma` as pytorch-fid writes it.

    Raises:
        UserError: The file is something else, damaged or missing.

    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("mu", "sigma", "features") if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        why = _reason(error)
        raise UserError(f"{path}: cannot be read as statistics ({why}); {_ALLOWED}") from None
    features, about = found.get("features"), _read_about(path)
    mean, covariance = (np.asarray(found.get(n, np.nan)) for n in ("mu", "sigma"))
    _check(path, mean, covariance, features)
    n = _stated(about.get("n")) if features is None else len(features)
    numbers = Moments(mean.astype(np.float64), covariance.astype(np.float64), n)
    return Reference(numbers, features, about)


_ALLOWED = (
    "allowed: a .npz with mu of shape (d,) and sigma of shape (d, d), finite floats, sigma "
    "symmetric and without negative eigenvalues, as `python -m pytorch_fid --save-stats` writes"
)


def check_fits(reference: Reference, extractor: Extractor, name: str) -> None:
    """Raise UserError unless `reference` (`name` in messages) has features of this extractor.

    Files of pytorch-fid do not name their extractor; only their number of features is checked.
    """
    about, dimension = reference.about, reference.moments.dimension
    own = {**about, "dimension": dimension}
    needed = {
        "metric": extractor.metric,
        "extractor_revision": extractor.revision,
        "dimension": extractor.dimension,
    }
    for key, value in needed.items():
        if own.get(key, value) != value:
            raise UserError(
                f"{name}: has {key}={own[key]}; allowed: {key}={value}, that of the extractor "
                f"{extractor.name}"
            )


def _check(
    path: Path,
    mean: npt.NDArray[Any],
    covariance: npt.NDArray[Any],
    features: npt.NDArray[Any] | None,
) -> None:
    d = mean.size
    numeric = all(a.dtype.kind == "f" for a in (mean, covariance))
    shaped = mean.shape == (d,) and covariance.shape == (d, d)
    if features is not None:
        shaped = shaped and features.ndim == 2 and features.shape[1] == d
    finite = numeric and shaped and np.isfinite(mean).all() and np.isfinite(covariance).all()
    if not (finite and _is_covariance(covariance)):
        raise UserError(f"{path}: is not a file of statistics; {_ALLOWED}")


def _reason(error: Exception) -> str:
    """Why a file has no arrays, without numpy's own advice (to allow pickles)."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not a .npz of plain arrays, or incomplete"


def _is_covariance(matrix: npt.NDArray[Any]) -> bool:
    """Whether it is symmetric and, up to rounding, has no negative eigenvalue."""
    wide = matrix.astype(np.float64)
    size = max(float(np.abs(wide).max(initial=0.0)), 1e-12)
    if np.abs(wide - wide.T).max(initial=0.0) > 1e-4 * size:
        return False
    return bool(np.linalg.eigvalsh(wide).min(initial=0.0) > -1e-3 * size)


def _about(source: ReferenceSource, extractor: Extractor) -> dict[str, Any]:
    return {
        **asdict(source),
        "extractor": extractor.name,
        "extractor_revision": extractor.revision,
        "resize": extractor.resize,
        "dimension": extractor.dimension,
        "metric": extractor.metric,
    }


def _key(about: dict[str, Any]) -> str:
    text = json.dumps({**about, "format": _FORMAT}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write(path: Path, reference: Reference) -> Reference:
    normal, features = reference.moments, reference.features
    assert features is not None, "a computed reference has features"

    def save(temporary: Path) -> None:
        with temporary.open("wb") as handle:
            np.savez(handle, mu=normal.mean, sigma=normal.covariance, features=features)

    # The description comes first: statistics without one cannot be identified.
    replace_text(path.with_suffix(".json"), json.dumps(reference.about, indent=2) + "\n")
    replace_file(path, save)
    return reference


def _stated(n: Any) -> int | None:
    """The number of images in the description; None if it is not a number above 1."""
    return n if isinstance(n, int) and n > 1 else None


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = parse_json(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    return about if isinstance(about, dict) else {"dataset": str(path)}
