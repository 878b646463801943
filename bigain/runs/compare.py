"""Compare two finished runs image by image.

Two runs can be paired only if they saw the same noise on the same images: same seed, dataset,
backbone weights, trial list and loss, and for generated images the same sampler, guidance and
reference.  Operators may differ, and so may numbers of classified images.  The bias of a Frechet
distance depends on the number of images, so distances are compared at equal numbers only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import (
    PairedResult,
    image_errors,
    image_precisions,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
)
from bigain.runs.archive import Archive
from bigain.runs.manifests import Manifest
from bigain.runs.provenance import differing
from bigain.runs.store import RunStore

__all__ = ["PAIRING_KEYS", "Comparison", "GenerationComparison", "compare_runs", "describe"]

PAIRING_KEYS = (
    *("seed", "dataset.name", "backbone.name", "backbone.revision"),
    *("task.name", "task.trial_list", "task.loss"),
    *("task.sampler", "task.steps", "task.guidance_scale", "task.images_per_forward"),
    *("task.image_format", "task.extractor", "task.reference"),
)
"""What must agree for two runs to be paired."""

_TASKS = ("classification", "generation")


@dataclass(frozen=True)
class Comparison:
    """Run a against run b over the `n` images of both.

    Attributes:
        a: Run id.
        b: Run id of the reference.
        n: Number of images in both.
        accuracy: Accuracy of a minus that of b, fractions, with the exact McNemar p.
        eps_rise: Rise of the true class's error of a over b, a fraction of b's.
        precision: Mean average precision of a minus that of b, a fraction, with its bootstrap
            interval and p; None unless images have several labels.

    """

    a: str
    b: str
    n: int
    accuracy: PairedResult
    eps_rise: PairedResult
    precision: PairedResult | None = None


@dataclass(frozen=True)
class GenerationComparison:
    """Generation a against generation b, over the `n` pairs of images of the same first noise.

    Attributes:
        a: Run id.
        b: Run id of the reference.
        n: Number of images of either.
        extractor: `inception` or `mini`.
        distance: Frechet distance of a minus that of b, at this n.

    """

    a: str
    b: str
    n: int
    extractor: str
    distance: PairedResult


def compare_runs(results: Path, a: str, b: str) -> Comparison | GenerationComparison:
    """Compare the finished runs with ids `a` and `b`, in their folders or published.

    Raises:
        UserError: A run is not finished or its manifest is damaged, the two are not paired or not
            of the same weights, or they have no images.

    """
    first, second = _finished(results, a), _finished(results, b)
    for run in (first, second):
        _check_images(run)
    _check_paired(first, second)
    _check_weights(first, second)
    left, right = first.samples, second.samples
    task = first.config["task"]
    if task["name"] == "generation":
        _check_precision(first, second)
        if len(left) != len(right):
            raise UserError(
                f"dataset.limit: {len(left)} images in {a} but {len(right)} in {b}: Frechet "
                "distances can only be compared at equal numbers of images"
            )
        values = (frame.set_index("image_id")["frechet_value"] for frame in (left, right))
        return GenerationComparison(a, b, len(left), task["extractor"], paired_difference(*values))
    accuracy = paired_accuracy(_correct(left), _correct(right))
    eps_rise = relative_rise(image_errors(left), image_errors(right))
    return Comparison(a, b, accuracy.n, accuracy, eps_rise, _precision(left, right))


def describe(comparison: Comparison | GenerationComparison) -> str:
    """The comparison in a few lines for a terminal."""
    if isinstance(comparison, GenerationComparison):
        name = "fid" if comparison.extractor == "inception" else "frechet_mini"
        found = comparison.distance
        return (
            f"{comparison.a} against {comparison.b}, paired over {comparison.n} images\n"
            f"{name:<15} {found.mean:+.4g} [{found.ci_low:+.4g}, {found.ci_high:+.4g}], "
            f"z = {found.z:.1f}"
        )
    accuracy, rise, precision = comparison.accuracy, comparison.eps_rise, comparison.precision
    lines = [
        f"{comparison.a} against {comparison.b}, paired over {comparison.n} images",
        f"acc1            {_percent(accuracy)} points, McNemar p = {accuracy.p:.2g}",
    ]
    if precision is not None:
        lines.append(
            f"map_image       {_percent(precision)} points, bootstrap p = {precision.p:.2g}"
        )
    return "\n".join((*lines, f"eps_error_rise  {_percent(rise)} %, z = {rise.z:.1f}"))


@dataclass(frozen=True)
class _Run:
    run_id: str
    manifest: Manifest
    samples: pd.DataFrame

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.manifest["config"]
        return config


def _finished(results: Path, run_id: str) -> _Run:
    """The run in its own folder, or else the published one."""
    store = RunStore(results, run_id)
    if store.status() == "damaged":
        store.manifest()  # raises, and says which file and what to do
    profiles = [path.parent.name for path in sorted(results.glob("*/runs.csv"))]
    if store.is_finished():
        profiles = [store.manifest()["config"]["profile"]]
    for archive in (Archive(results, profile) for profile in profiles):
        manifest, samples = archive.manifest(run_id), archive.samples(run_id)
        if manifest is not None and samples is not None:
            return _Run(run_id, manifest, samples)
    raise UserError(f"run_id={run_id}: is {store.status()}; allowed are finished runs (done)")


def _check_images(run: _Run) -> None:
    task = run.config["task"]["name"]
    if task not in _TASKS:
        raise UserError(
            f"task={task} of {run.run_id}: has no images to compare; allowed: "
            f"{', '.join(_TASKS)} (an efficiency run measures its own baseline, see its metrics)"
        )


def _check_paired(first: _Run, second: _Run) -> None:
    for key in PAIRING_KEYS:
        left, right = _at(first.config, key), _at(second.config, key)
        if left != right:
            raise UserError(
                f"{key}={left} in {first.run_id} but {right} in {second.run_id}: "
                f"only runs that agree in {', '.join(PAIRING_KEYS)} can be paired"
            )


def _check_precision(first: _Run, second: _Run) -> None:
    """Half precision changes pixels whatever the operator."""
    left, right = first.config["dtype"], second.config["dtype"]
    if left != right:
        raise UserError(
            f"dtype={left} in {first.run_id} but {right} in {second.run_id}: only generations of "
            "one precision can be paired"
        )


def _check_weights(first: _Run, second: _Run) -> None:
    """Two folders or revisions of one backbone may hold different weights."""
    left, right = _weights(first), _weights(second)
    differ = differing(left, right) if left and right else []
    if differ:
        raise UserError(
            f"run_id={first.run_id}: was made with another {differ[0]} than {second.run_id}: "
            "only runs of the same weights can be paired"
        )


def _weights(run: _Run) -> dict[str, str]:
    hashes: dict[str, str] = run.manifest.get("hashes") or {}
    return {name: value for name, value in hashes.items() if not name.startswith("dataset/")}


def _at(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _correct(samples: pd.DataFrame) -> "pd.Series[bool]":
    return samples.set_index("image_id")["correct"]


def _precision(left: pd.DataFrame, right: pd.DataFrame) -> PairedResult | None:
    """For images with several labels; those that failed or have none count with 0."""
    if not all("average_precision" in frame for frame in (left, right)):
        return None
    return paired_bootstrap(image_precisions(left), image_precisions(right))


def _percent(result: PairedResult) -> str:
    mean, low, high = (100 * value for value in (result.mean, result.ci_low, result.ci_high))
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
