"""Numbers with intervals for the cells of a table, from per-image records.

All operators see the same images, timesteps and noise, so a run is compared with no acceleration,
and one row with another, image by image.  With e the error of the true class, the difference of the
rises of two rows is mean(e_row - e_versus) / mean(e_none), which `relative_rise` gives for the
errors e_none + (e_row - e_versus) against e_none, with the right interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from bigain.errors import UserError
from bigain.metrics import (
    Metric,
    PairedResult,
    cantelli_bound,
    classification_metrics,
    image_errors,
    margin_ratio,
    paired_accuracy,
    paired_difference,
    relative_rise,
)
from bigain.tables.planner import NONE, CellKey, Plan
from bigain.tables.samples import load_samples
from bigain.tables.spec import Delta

__all__ = ["TO_NONE", "Measured", "delta_metrics", "measure", "run_metrics"]

TO_NONE = "acc1_to_none"
"""Metric id of the paired difference of the accuracy to no acceleration, in points."""


@dataclass(frozen=True)
class Measured:
    """What is known of a table.

    Attributes:
        runs: Cell -> metric id -> value; cells without a finished run are absent.
        deltas: (dataset, row id, rival's row id, setting) -> metric id -> value.

    """

    runs: Mapping[CellKey, Mapping[str, Metric]] = field(default_factory=dict)
    deltas: Mapping[tuple[str, str, str, str], Mapping[str, Metric]] = field(default_factory=dict)


def measure(plan: Plan, results: Path) -> Measured:
    """Everything that the finished runs of the plan say.

    Raises:
        UserError: Records are damaged, or two runs do not cover the same images.

    """
    frames = _frames(plan, results)
    runs = {
        cell: run_metrics(frame, None if cell[1] == NONE else frames.get((cell[0], NONE, "")))
        for cell, frame in frames.items()
    }
    deltas = {}
    for dataset in dict.fromkeys(cell[0] for cell in frames):
        none = frames.get((dataset, NONE, ""))
        for delta, setting in _comparisons(plan):
            row = frames.get((dataset, delta.row, setting))
            versus = frames.get((dataset, delta.versus, setting))
            if row is not None and versus is not None:
                key = (dataset, delta.row, delta.versus, setting)
                deltas[key] = delta_metrics(row, versus, none)
    return Measured(runs, deltas)


def run_metrics(frame: pd.DataFrame, none: pd.DataFrame | None) -> dict[str, Metric]:
    """The metrics of one run by id; with `none` also the paired comparisons with it.

    Beside those of metrics.csv: margin_rho and margin_bound, where the margin has a variance.
    """
    metrics = {each.metric: each for each in classification_metrics(frame, none)}
    metrics |= {each.metric: each for each in _margin_metrics(frame)}
    if none is not None:
        metrics[TO_NONE] = _accuracy_difference(TO_NONE, frame, none)
    return metrics


def delta_metrics(
    row: pd.DataFrame, versus: pd.DataFrame, none: pd.DataFrame | None
) -> dict[str, Metric]:
    """`row` minus `versus`: accuracy in points, and rise of the error if there is a baseline.

    With several labels per image also the difference of map_image in points.
    """
    metrics = {"acc1": _accuracy_difference("acc1", row, versus)}
    if "average_precision" in row and "average_precision" in versus:
        own, rival = (_precisions(frame) for frame in (row, versus))
        metrics["map_image"] = _percent("map_image", paired_difference(own, rival))
    if none is not None:
        base = image_errors(none)
        shifted = base + image_errors(row) - image_errors(versus)
        result = relative_rise(shifted, base)
        metrics["eps_error_rise"] = _percent("eps_error_rise", result)
    return metrics


def _frames(plan: Plan, results: Path) -> dict[CellKey, pd.DataFrame]:
    loaded: dict[str, pd.DataFrame | None] = {
        run.run_id: load_samples(results, plan.profile, run.run_id) for run in plan.distinct()
    }
    frames: dict[CellKey, pd.DataFrame] = {}
    for cell, run in plan.runs.items():
        frame = loaded[run.run_id]
        if frame is not None:
            frames[cell] = frame
    _check_same_images(plan, frames)
    return frames


def _check_same_images(plan: Plan, frames: Mapping[CellKey, pd.DataFrame]) -> None:
    first: dict[str, CellKey] = {}
    for cell, frame in frames.items():
        reference = first.setdefault(cell[0], cell)
        if not frame["image_id"].equals(frames[reference]["image_id"]):
            one, other = plan.runs[cell].run_id, plan.runs[reference].run_id
            raise UserError(f"runs {one} and {other} do not cover the same images of {cell[0]}")


def _comparisons(plan: Plan) -> list[tuple[Delta, str]]:
    deltas = plan.spec.deltas_of(plan.grid)
    return [(delta, setting) for delta in deltas for setting in plan.settings]


def _accuracy_difference(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Metric:
    correct = (frame.set_index("image_id")["correct"] for frame in (a, b))
    return _percent(name, paired_accuracy(*correct))


def _precisions(frame: pd.DataFrame) -> "pd.Series[float]":
    """Average precision by image id, of the images that have one."""
    return frame.set_index("image_id")["average_precision"].dropna()


def _margin_metrics(frame: pd.DataFrame) -> list[Metric]:
    """The ratio rho of the margin, and Cantelli's bound for the trials of the first stage."""
    kept = frame.dropna(subset=["margin_mean", "margin_variance"])
    if kept.empty:
        return []
    rho = np.array(margin_ratio(kept["margin_mean"], kept["margin_variance"]))
    # The bound depends on rho and on the sign of the mean: it is that of mean 1 and variance rho.
    sign, trials = np.sign(kept["margin_mean"].mean()), len(kept["true_errors"].iloc[0])
    bound = 100 * cantelli_bound(sign, np.maximum(rho, 0), trials)
    return [
        Metric("margin_rho", rho[0], len(kept), rho[1], rho[2], "ratio"),
        Metric("margin_bound", bound[0], len(kept), bound[1], bound[2], "percent"),
    ]


def _percent(name: str, result: PairedResult) -> Metric:
    value, low, high = (100 * each for each in (result.mean, result.ci_low, result.ci_high))
    return Metric(name, value, result.n, low, high, "percent")
