"""Whether the dataset of a run and the reference of its generated images are on this machine.

Every file that a run would use must exist, and COCO's annotations are read.  Of images only headers
are read: of the first ones, or of all of the user's own.
"""

from collections.abc import Callable

from bigain.config import DatasetConfig, GenerationConfig, RunConfig
from bigain.data.base import SELECTIONS, PublishedDataset, load_dataset, load_reference
from bigain.data.contents import require_readable
from bigain.data.layouts import Search
from bigain.data.places import unused_variable
from bigain.doctor.findings import Finding, from_error
from bigain.errors import UserError

__all__ = ["check_dataset", "check_reference"]

_LOOKED_AT = 200
"""Number of images of a published dataset whose headers are read."""
_DIMENSIONS = {"inception": 2048, "mini": 64}
"""Extractor -> number of its features, known without loading it."""


def check_dataset(config: DatasetConfig, *, needed: bool = True) -> Finding:
    """The state of the dataset of `config`."""
    found = _search(config)
    if found is not None and found.missing:
        return _not_there(config, found, needed)

    def look() -> str:
        dataset = load_dataset(config)
        require_readable(dataset, None if config.kind.is_own else _LOOKED_AT)
        note = unused_variable(config)
        found = f"{len(dataset):,} images {dataset.place}"
        return found if note is None else f"{found}; {note}"

    return _finding(config.name, look, needed)


def check_reference(config: RunConfig, *, needed: bool = True) -> list[Finding]:
    """The state of the reference, if the run generates.

    Even a run of few images is compared with the whole split.  If the dataset is missing, this is
    reported by `check_dataset` alone.
    """
    task = config.task
    if not isinstance(task, GenerationConfig):
        return []
    if task.statistics is not None:
        return [_finding("reference", lambda: _statistics(task), needed)]
    found = _search(config.dataset)
    if found is not None and found.missing:
        return []

    def look() -> str:
        images = load_reference(config.dataset, task.reference)
        require_readable(images, None if config.dataset.kind.is_own else _LOOKED_AT)
        return f"{len(images):,} images of {config.dataset.name}: {SELECTIONS[task.reference]}"

    return [_finding("reference", look, needed)]


def _search(config: DatasetConfig) -> Search | None:
    """Which files of a dataset exist; None for a dataset that needs no files of the user."""
    assert issubclass(config.kind, PublishedDataset)
    layout = config.kind.layout
    return None if layout is None else layout.search(config.root)


def _finding(subject: str, look: Callable[[], str], needed: bool) -> Finding:
    """What `look` returns, or the error that it raises, as a finding."""
    try:
        return Finding("datasets", subject, "ready", look(), needed=needed)
    except UserError as error:
        return from_error("datasets", subject, error, needed=needed)
    except (ImportError, OSError) as error:  # torchvision without its torch, an unreadable folder
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding("datasets", subject, "problem", what, needed=needed)


def _not_there(config: DatasetConfig, found: Search, needed: bool) -> Finding:
    unset = " (dataset.root and BIGAIN_DATA are not set)" if config.root is None else ""
    layout = found.layout
    advice = (f"get it from {layout.source}", f"lay out {layout.shape} in {found.places}")
    return Finding("datasets", config.name, "missing", f"{found.clue}{unset}", advice, needed)


def _statistics(task: GenerationConfig) -> str:
    from bigain.features.reference import read_reference  # noqa: PLC0415 -- loads torch

    assert task.statistics is not None
    try:
        found = read_reference(task.statistics)
    except UserError as error:
        raise UserError(f"task.reference={error}") from None
    dimension, allowed = found.moments.dimension, _DIMENSIONS[task.extractor]
    if dimension != allowed:
        raise UserError(
            f"task.reference={task.statistics}: is of {dimension} features; allowed: {allowed}, as "
            f"task.extractor={task.extractor} has"
        )
    n = "an unknown number of" if found.moments.n is None else f"{found.moments.n:,}"
    return f"{task.statistics}, statistics of {n} images, {dimension} features"
