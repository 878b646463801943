"""Which finished runs can be paired image by image, and the error for those that cannot.

Two runs can be paired only if they saw the same noise on the same images: same seed, dataset,
backbone weights, trial list and loss, and for generated images the same sampler, guidance and
reference.  Operators may differ, and so may numbers of classified images.  Of the trial list of a
race, and of a run beside it, only the last number counts: the grid.

Weights and images are compared by the hashes in the manifests.  A run whose manifest has no hash of
a kind is not refused for it: older manifests have none.  The hash of the images covers all images
of a run, so it is compared where both runs have the same ones; of other runs the labels of the
common images are compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.config.base import import_target
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.manifests import Manifest
from bigain.runs.provenance import changed
from bigain.runs.races import is_race
from bigain.runs.store import RunStore

__all__ = ["PAIRING_KEYS", "FinishedRun", "check_pair", "read_finished"]

PAIRING_KEYS = (
    *("seed", "dataset.name", "backbone.name", "backbone.revision"),
    *("task.name", "task.trial_list", "task.loss"),
    *("task.sampler", "task.steps", "task.guidance_scale", "task.images_per_forward"),
    *("task.image_format", "task.extractor", "task.reference"),
)
"""What must agree for two runs to be paired."""

_TASKS = ("classification", "generation")
_IMAGES = "dataset/"
"""How the names of hashes begin that are of the images of a run."""
_LABELS = ("label", "labels", "condition")
"""The columns of a record that belong to its image and not to the run."""


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, from its own folder or published.

    Attributes:
        run_id: Its name.
        manifest: Its configuration and origin.
        samples: One row per image, in the order of the dataset.
        archive: Where it was read.

    """

    run_id: str
    manifest: Manifest
    samples: pd.DataFrame
    archive: Archive

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; a published one has no paths."""
        config: dict[str, Any] = self.manifest["config"]
        return config

    @property
    def hashes(self) -> Mapping[str, str]:
        """What it was made from; {} if nobody knows."""
        return self.archive.hashes(self.run_id)

    @property
    def is_generation(self) -> bool:
        """Whether its images were generated."""
        return bool(self.config["task"]["name"] == "generation")


def read_finished(results: Path, run_id: str) -> FinishedRun:
    """The run in its own folder, or else the published one.

    Raises:
        UserError: It is not finished, its files are damaged, or it has no images.

    """
    store = RunStore(results, run_id)
    if store.status() == "damaged":
        store.manifest()  # raises, and says which file and what to do
    profiles = [path.parent.name for path in sorted(results.glob("*/runs.csv"))]
    if store.is_finished():
        profiles = [store.manifest()["config"]["profile"]]
    for archive in (Archive(results, profile) for profile in profiles):
        manifest, samples = archive.manifest(run_id), archive.samples(run_id)
        if manifest is not None and samples is not None:
            return _with_images(FinishedRun(run_id, manifest, samples, archive))
    raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")


def check_pair(first: FinishedRun, second: FinishedRun) -> None:
    """Raise UserError unless the two can be paired image by image."""
    configs = [_by_grid(run.config) for run in (first, second)]
    if not any(is_race(run.config) for run in (first, second)):
        configs = [first.config, second.config]
    for key in PAIRING_KEYS:
        left, right = (_at(config, key) for config in configs)
        if left != right:
            raise UserError(
                f"{key}={left} in {first.run_id} but {right} in {second.run_id}: "
                f"only runs that agree in {', '.join(PAIRING_KEYS)} can be paired"
            )
    _check_weights(first, second)
    _check_images(first, second)
    if first.is_generation:
        _check_generations(first, second)


def _with_images(run: FinishedRun) -> FinishedRun:
    task = run.config["task"]["name"]
    if task not in _TASKS:
        raise UserError(
            f"task={task} of {run.run_id}: has no images to compare; allowed: "
            f"{', '.join(_TASKS)} (an efficiency run measures its own baseline, see its metrics)"
        )
    return run


def _check_weights(first: FinishedRun, second: FinishedRun) -> None:
    """Two folders or revisions of one backbone may hold different weights."""
    differ = changed(_hashes(second, of_images=False), _hashes(first, of_images=False))
    if differ:
        raise UserError(
            f"run_id={first.run_id}: was made with another {differ[0]} than {second.run_id}: "
            "only runs of the same weights can be paired"
        )


def _check_images(first: FinishedRun, second: FinishedRun) -> None:
    """Two folders, or two versions of one dataset, may hold other images under one name."""
    name = first.config["dataset"]["name"]
    left, right = (_at(run.config, "dataset.fingerprint") for run in (first, second))
    if left != right and _is_own(first.config):
        raise _other_images(first, second, name, f"fingerprint {left} and {right}")
    same = left == right and list(first.samples["image_id"]) == list(second.samples["image_id"])
    known, others = _hashes(first, of_images=True), _hashes(second, of_images=True)
    differ = changed(others, known) if same else []
    if differ:
        raise _other_images(first, second, name, f"another {differ[0]}")
    _check_labels(first, second)


def _check_labels(first: FinishedRun, second: FinishedRun) -> None:
    a, b = (run.samples.set_index("image_id") for run in (first, second))
    common = a.index[a.index.isin(b.index)]
    for column in (name for name in _LABELS if name in a and name in b):
        left, right = a[column].loc[common], b[column].loc[common]
        differ = [i for i, x, y in zip(common, left, right, strict=True) if not _is_same(x, y)]
        if differ:
            what = f"{left[differ[0]]} and {right[differ[0]]} as {column} of image {differ[0]}"
            raise _other_images(first, second, first.config["dataset"]["name"], what)


def _check_generations(first: FinishedRun, second: FinishedRun) -> None:
    """Half precision changes pixels, and the bias of a distance depends on the number of images."""
    left, right = first.config["dtype"], second.config["dtype"]
    if left != right:
        raise UserError(
            f"dtype={left} in {first.run_id} but {right} in {second.run_id}: only generations of "
            "one precision can be paired"
        )
    if len(first.samples) != len(second.samples):
        raise UserError(
            f"dataset.limit: {len(first.samples)} images in {first.run_id} but "
            f"{len(second.samples)} in {second.run_id}: Frechet distances can only be compared at "
            "equal numbers of images"
        )


def _other_images(first: FinishedRun, second: FinishedRun, name: str, what: str) -> UserError:
    return UserError(
        f"dataset.name={name}: {first.run_id} and {second.run_id} were made with other images of "
        f"this name ({what}): only runs of the same images can be paired"
    )


def _hashes(run: FinishedRun, *, of_images: bool) -> dict[str, str]:
    return {name: v for name, v in run.hashes.items() if name.startswith(_IMAGES) == of_images}


def _is_own(config: Mapping[str, Any]) -> bool:
    """Whether the images are the user's own, which the fingerprint tells from others.

    The fingerprint of a published dataset only says which of its images were chosen.
    """
    target = config["dataset"].get("_target_")
    if target is None:  # a manifest of a time without images of the user's own
        return False
    try:
        return bool(getattr(import_target(target), "is_own", True))
    except (ImportError, AttributeError, ValueError):  # a class of the user that is not here
        return True


def _is_same(a: Any, b: Any) -> bool:
    """Whether two cells are equal; two empty ones are."""
    return bool(a == b) or {str(a), str(b)} <= {"nan", "None"}


def _by_grid(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the grid alone as trial list: all that a race has of it."""
    task = config["task"]
    if "trial_list" not in task:
        return config
    return {**config, "task": {**task, "trial_list": task["trial_list"][-1:]}}


def _at(config: Mapping[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node
