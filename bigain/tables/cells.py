"""Numbers with intervals for the cells of a table, and the differences of two cells.

The metrics of a run are those that it stated at its end.  Computed here are only those that need
two runs, image by image, or that no run states: paired differences, the rise of the error, rho.

All operators see the same images, timesteps and noise, or start from the same first noise.  With e
the error of the true class, two rises differ by mean(e_row - e_versus) / mean(e_none):
`relative_rise` of the errors e_none + (e_row - e_versus) against e_none, with the right interval.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from bigain.errors import UserError
from bigain.metrics import (
    Metric,
    PairedResult,
    cantelli_bound,
    image_errors,
    image_precisions,
    margin_ratio,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
)
from bigain.runs.archive import Archive
from bigain.tables.planner import CellKey, Plan
from bigain.tables.quantities import TO_NONE

__all__ = [
    "CellPair",
    "Difference",
    "Measured",
    "accuracy_difference",
    "cell_pairs",
    "measure",
    "paired_differences",
    "plain_difference",
    "run_metrics",
]

CellPair = tuple[CellKey, CellKey]
"""A cell and the one that it is compared with."""

_DISTANCES = ("fid", "frechet_mini")
_LEFT_OUT = ("map_class", "eps_error_rise")
"""Stated by runs, not taken by tables: their mAP is per image, and the rise is paired here."""

Records = tuple[pd.DataFrame, Mapping[str, Metric]]
"""The records of a run, one row per image, and the metrics that it stated itself."""


@dataclass(frozen=True)
class Difference:
    """First minus second.

    Attributes:
        metric: The difference as a number with its interval.
        p: Two-sided p value of no difference; NaN where nothing pairs the two.

    """

    metric: Metric
    p: float = math.nan


@dataclass(frozen=True)
class Measured:
    """What is known of a table.

    Attributes:
        runs: Cell -> metric id -> value; cells without a finished run are absent.
        deltas: Two cells -> metric id -> the first minus the second.

    """

    runs: Mapping[CellKey, Mapping[str, Metric]] = field(default_factory=dict)
    deltas: Mapping[CellPair, Mapping[str, Difference]] = field(default_factory=dict)


def measure(plan: Plan, results: Path) -> Measured:
    """Everything that the finished runs of the plan say.

    Every two cells of a column are compared, or of a row where the table compares columns, since
    the marks of the best need that.

    Raises:
        UserError: Records or metrics are damaged, or two runs of a column do not cover the same
            images or are of other weights.

    """
    archive = Archive(results, plan.profile)
    records = _records(plan, archive)
    _check_same_images(plan, records, archive)
    runs = {}
    for cell in records:
        baseline = plan.baseline(cell.place, cell.column)
        none = records.get(baseline) if cell != baseline else None
        if none is not None:
            archive.check_comparable(plan.runs[cell].run_id, plan.runs[baseline].run_id)
        runs[cell] = run_metrics(cell.place.work, records[cell], none)
    deltas = {}
    for pair in cell_pairs(plan, records):
        none = records.get(plan.baseline(pair[0].place, pair[0].column))
        deltas[pair] = _differences(records, runs, pair, none[0] if none else None)
    return Measured(runs, deltas)


def run_metrics(work: str, records: Records, none: Records | None) -> dict[str, Metric]:
    """The metrics of one run by id; with `none` also the paired comparisons with it.

    Beside those that the run states: the ratio of the margin where it has a variance, the
    differences to the baseline, and the share of time that is saved.
    """
    frame, stated = records
    metrics = {name: metric for name, metric in stated.items() if name not in _LEFT_OUT}
    if work != "classification":
        if "speedup" in metrics:
            metrics["acceleration_percent"] = _time_saved(metrics["speedup"])
        return metrics
    if none is not None:
        metrics = _with_rise(metrics, image_errors(frame), image_errors(none[0]))
    metrics |= {each.metric: each for each in _margin_metrics(frame)}
    if none is not None:
        metrics[TO_NONE] = accuracy_difference(TO_NONE, frame, none[0]).metric
        metrics["acc1_drop"] = accuracy_difference("acc1_drop", none[0], frame).metric
    return metrics


def _with_rise(
    metrics: Mapping[str, Metric], errors: "pd.Series[float]", base: "pd.Series[float]"
) -> dict[str, Metric]:
    """The metrics with the rise of the error behind the error itself."""
    if not errors.index.isin(base.index).any():
        return dict(metrics)
    rise = _metric("eps_error_rise", relative_rise(errors, base), 100.0, "percent")
    pairs = ((own, rise) if name == "eps_error" else (own,) for name, own in metrics.items())
    return {each.metric: each for pair in pairs for each in pair}


def cell_pairs(plan: Plan, known: Mapping[CellKey, object]) -> Iterator[CellPair]:
    """The pairs of known cells that are compared, each once, in the order of the table."""
    rows, columns = [row.id for row in plan.rows], [column.id for column in plan.columns]
    for place in dict.fromkeys(cell.place for cell in plan.runs):
        if plan.spec.compares_columns:
            groups = [[CellKey(place, row, column) for column in columns] for row in rows]
        else:
            groups = [[CellKey(place, row, column) for row in rows] for column in columns]
        for group in groups:
            yield from permutations([cell for cell in group if cell in known], 2)


def _records(plan: Plan, archive: Archive) -> dict[CellKey, Records]:
    loaded: dict[str, Records] = {}
    for name in (run.run_id for run in plan.distinct() if archive.is_available(run.run_id)):
        if (frame := archive.samples(name)) is not None:
            loaded[name] = (frame, archive.metrics(name))
    return {cell: loaded[run.run_id] for cell, run in plan.runs.items() if run.run_id in loaded}


def _check_same_images(plan: Plan, records: Mapping[CellKey, Records], archive: Archive) -> None:
    first: dict[tuple[object, str], CellKey] = {}
    for cell, (frame, _) in records.items():
        if cell.place.work not in ("classification", "generation"):
            continue
        baseline = plan.baseline(cell.place, cell.column)
        reference = first.setdefault((cell.place, baseline.column), cell)
        if not frame["image_id"].equals(records[reference][0]["image_id"]):
            files = " and ".join(
                f"{archive.samples_path(plan.runs[each].run_id)} ({len(records[each][0])})"
                for each in (reference, cell)
            )
            raise UserError(
                f"{files}: do not cover the same images of {cell.place.dataset}; put back the one "
                "that is not complete, or do its run again with force=true"
            )


def _differences(
    records: Mapping[CellKey, Records],
    runs: Mapping[CellKey, Mapping[str, Metric]],
    pair: CellPair,
    none: pd.DataFrame | None,
) -> dict[str, Difference]:
    row, versus = (runs[cell] for cell in pair)
    plain = {
        name: plain_difference(name, row[name], versus[name]) for name in row if name in versus
    }
    first, second = (records[cell][0] for cell in pair)
    paired = paired_differences(pair[0].place.work, first, second, none)
    # A distance is called as the runs call it: that of another extractor is no FID.
    return plain | {
        name: paired[name] for name in paired if name in plain or name not in _DISTANCES
    }


def _time_saved(speedup: Metric) -> Metric:
    """1 - 1/speedup in percent; it grows with the speed-up, so the ends of the interval map."""
    saved = [100 * (1 - 1 / each) for each in (speedup.value, speedup.ci_low, speedup.ci_high)]
    return replace(
        speedup,
        metric="acceleration_percent",
        value=saved[0],
        ci_low=saved[1],
        ci_high=saved[2],
        unit="percent",
    )


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


def paired_differences(
    work: str, row: pd.DataFrame, versus: pd.DataFrame, none: pd.DataFrame | None
) -> dict[str, Difference]:
    """`row` minus `versus` by metric id, as far as their records pair them.

    Classification: acc1 (McNemar) and with several labels map_image (bootstrap), in points, and
    with the baseline `none` the rise of the error.  Generation: the Frechet distance under both its
    names, and class_agreement in points.
    """
    if work == "classification":
        return _of_classification(row, versus, none)
    if work == "generation":
        return _of_generation(row, versus)
    return {}


def accuracy_difference(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Difference:
    """Share of correct images of `a` minus that of `b`, in points."""
    return _points(name, paired_accuracy(*(f.set_index("image_id")["correct"] for f in (a, b))))


def plain_difference(name: str, row: Metric, versus: Metric) -> Difference:
    """Of two numbers that nothing pairs: no interval."""
    value = row.value - versus.value
    return Difference(
        Metric(name, value, min(row.n, versus.n), math.nan, math.nan, _difference_unit(row.unit))
    )


def _of_classification(
    row: pd.DataFrame, versus: pd.DataFrame, none: pd.DataFrame | None
) -> dict[str, Difference]:
    found = {"acc1": accuracy_difference("acc1", row, versus)}
    if "average_precision" in row and "average_precision" in versus:
        precisions = paired_bootstrap(image_precisions(row), image_precisions(versus))
        found["map_image"] = _points("map_image", precisions)
    if none is not None:
        base = image_errors(none)
        shifted = base + image_errors(row) - image_errors(versus)
        found["eps_error_rise"] = _points("eps_error_rise", relative_rise(shifted, base))
    return found


def _of_generation(row: pd.DataFrame, versus: pd.DataFrame) -> dict[str, Difference]:
    if len(row) != len(versus):
        return {}
    values = (frame.set_index("image_id")["frechet_value"] for frame in (row, versus))
    distance = paired_difference(*values)
    found = {
        name: Difference(_metric(name, distance, 1.0, "feature^2"), distance.p)
        for name in ("fid", "frechet_mini")
    }
    if "correct" in row and "correct" in versus:
        found["class_agreement"] = accuracy_difference("class_agreement", row, versus)
    return found


def _points(name: str, result: PairedResult) -> Difference:
    return Difference(_metric(name, result, 100.0, "points"), result.p)


def _metric(name: str, result: PairedResult, scale: float, unit: str) -> Metric:
    value, low, high = (scale * each for each in (result.mean, result.ci_low, result.ci_high))
    return Metric(name, value, result.n, low, high, unit)


def _difference_unit(unit: str) -> str:
    return "points" if unit == "percent" else unit
