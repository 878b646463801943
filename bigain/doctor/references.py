"""Whether what generated images are compared with is there: real images, or a file of statistics.

A run compares with the whole split, whatever its limit; so a run of few images needs many more.
"""

from bigain.config import GenerationConfig, RunConfig
from bigain.data.layouts import LAYOUTS, search
from bigain.doctor.findings import Finding, from_error
from bigain.errors import UserError

__all__ = ["check_reference"]

_SUBJECT = "reference"
_DIMENSIONS = {"inception": 2048, "mini": 64}
"""Extractor -> number of its features; it is not loaded here."""


def check_reference(config: RunConfig, *, needed: bool = True) -> list[Finding]:
    """The state of the reference of the run, if it generates; no image is opened.

    Where the dataset is not there at all, its own finding says so.
    """
    task, dataset = config.task, config.dataset
    if not isinstance(task, GenerationConfig):
        return []
    is_absent = dataset.name in LAYOUTS and search(dataset.name, dataset.root).missing
    if is_absent and task.statistics is None:
        return []
    try:
        what = _real_images(config, task) if task.statistics is None else _statistics(task)
    except UserError as error:
        return [from_error("datasets", _SUBJECT, error, needed=needed)]
    except (ImportError, OSError) as error:  # torchvision without its torch, an unreadable folder
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return [Finding("datasets", _SUBJECT, "problem", what, needed=needed)]
    return [Finding("datasets", _SUBJECT, "ready", what, needed=needed)]


def _real_images(config: RunConfig, task: GenerationConfig) -> str:
    from bigain.data.references import SELECTIONS, load_reference  # noqa: PLC0415

    count = len(load_reference(config.dataset, task.reference))
    return f"{count:,} images of {config.dataset.name}: {SELECTIONS[task.reference]}"


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
