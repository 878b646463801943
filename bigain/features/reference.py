"""What generated images are compared with: moments, and features where there are any.

A reference that is computed here is kept by its content: the images, the extractor's weights and
the resize together name its file, so it is computed once and can never be taken for another one's.
A JSON file beside it says what it is.  The .npz also serves pytorch-fid, whose own files (mu,
sigma) can be read; they hold no features, so there is no KID, precision or recall against them.
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
from bigain.files import replace_file, replace_text
from bigain.metrics.moments import Moments, moments_of

__all__ = [
    "Reference",
    "ReferenceSource",
    "cached_reference",
    "check_fits",
    "compute_reference",
    "read_reference",
]

_FORMAT = 1


@dataclass(frozen=True)
class ReferenceSource:
    """Which images a reference is made of.

    Attributes:
        dataset: Its name, or a folder's.
        split: The dataset's own name of it, such as `test`.
        content: sha256 over the images, such as a dataset's `content_hash`.
        selection: Which images of the split, in words.

    """

    dataset: str
    split: str
    content: str
    selection: str = "all images"


@dataclass(frozen=True)
class Reference:
    """A reference.

    Attributes:
        moments: Mean and covariance of the features.
        features: Shape (n, d); None in statistics that were published without them.
        about: What it is, as in the JSON file.

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
    """The reference of `images`, from `folder` if it was computed before.

    Args:
        folder: Of all cached references; it is made where missing.
        source: What the images are; `source.content` must change with them.
        extractor: The network.
        images: They are only looked at if nothing is cached.
        workers: Threads that decode ahead.
        mixed_sizes: As in `extract`; the originals of most datasets have different sizes.
        progress: Show a bar on stderr.

    Raises:
        UserError: As `extract`.

    """
    about = _about(source, extractor)
    path = folder / f"{_key(about)}.npz"
    if path.is_file():
        try:
            return read_reference(path)
        except UserError:
            path.unlink()  # a damaged cache is none
    features = extract(extractor, images, workers, mixed_sizes, progress)
    return _write(path, compute_reference(features, about))


def compute_reference(features: npt.NDArray[np.float32], about: dict[str, Any]) -> Reference:
    """The reference that these features, shape (n, d), make.

    Raises:
        UserError: Fewer than two images, or a feature that is not finite.

    """
    return Reference(moments_of(features), features, {**about, "n": len(features)})


def read_reference(path: Path) -> Reference:
    """A reference of this package, or a .npz with `mu` and `sigma` as pytorch-fid writes it.

    Raises:
        UserError: The file is something else.

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
    """Raise UserError unless `reference`, which messages call `name`, is of this extractor.

    Statistics of pytorch-fid do not say what they are of, but how many features there are.
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
                f"{name}: is of {key}={own[key]}; allowed: {key}={value}, of the extractor "
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
        raise UserError(f"{path}: holds no statistics; {_ALLOWED}")


def _reason(error: Exception) -> str:
    """Why there are no arrays, without what numpy advises its own users."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "it is no .npz of plain arrays, or not a whole one"


def _is_covariance(matrix: npt.NDArray[Any]) -> bool:
    """Symmetric and, up to rounding, without a negative eigenvalue."""
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

    # The description first: statistics that nobody can name are worth nothing.
    replace_text(path.with_suffix(".json"), json.dumps(reference.about, indent=2) + "\n")
    replace_file(path, save)
    return reference


def _stated(n: Any) -> int | None:
    """A number of images that the file's description tells, if it is one."""
    return n if isinstance(n, int) and n > 1 else None


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    return about if isinstance(about, dict) else {"dataset": str(path)}
