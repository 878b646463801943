"""Numbers with intervals for the cells of a table, from the records of its runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from bigain.errors import UserError
from bigain.metrics import Metric, cantelli_bound, classification_metrics, margin_ratio
from bigain.runs.archive import Archive
from bigain.tables.differences import (
    Difference,
    accuracy_difference,
    paired_differences,
    plain_difference,
)
from bigain.tables.planner import CellKey, Plan
from bigain.tables.quantities import TO_NONE

__all__ = ["CellPair", "Measured", "cell_pairs", "measure", "run_metrics"]

CellPair = tuple[CellKey, CellKey]
"""A cell and the one that it is compared with."""

_DISTANCES = ("fid", "frechet_mini")

Records = tuple[pd.DataFrame, Mapping[str, Metric]]
"""The records of a run, one row per image, and the metrics that it stated itself."""


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
        UserError: Records are damaged or not those of the metrics that the run stated, or two runs
            of a column do not cover the same images.

    """
    records = _records(plan, results)
    _check_same_images(plan, records, results)
    runs = {}
    for cell in records:
        baseline = plan.baseline(cell.place, cell.column)
        none = records.get(baseline) if cell != baseline else None
        runs[cell] = run_metrics(cell.place.work, records[cell], none)
    deltas = {}
    for pair in cell_pairs(plan, records):
        none = records.get(plan.baseline(pair[0].place, pair[0].column))
        deltas[pair] = _differences(records, runs, pair, none[0] if none else None)
    return Measured(runs, deltas)


def run_metrics(work: str, records: Records, none: Records | None) -> dict[str, Metric]:
    """The metrics of one run by id; with `none` also the paired comparisons with it.

    Beside those of metrics.csv: margin_rho and margin_bound where the margin has a variance, the
    loss against no acceleration under its own name, and the share of time that is saved.
    """
    frame, stated = records
    if work != "classification":
        metrics = dict(stated)
        if "speedup" in metrics:
            metrics["acceleration_percent"] = _time_saved(metrics["speedup"])
        return metrics
    metrics = {each.metric: each for each in classification_metrics(frame, none and none[0])}
    metrics |= {each.metric: each for each in _margin_metrics(frame)}
    if none is not None:
        metrics[TO_NONE] = accuracy_difference(TO_NONE, frame, none[0]).metric
        metrics["acc1_drop"] = accuracy_difference("acc1_drop", none[0], frame).metric
    return metrics


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


def _records(plan: Plan, results: Path) -> dict[CellKey, Records]:
    loaded: dict[str, Records] = {}
    archive = Archive(results, plan.profile)
    for name in (run.run_id for run in plan.distinct() if archive.is_available(run.run_id)):
        frame, stated = archive.samples(name), archive.metrics(name)
        if frame is not None:
            loaded[name] = (frame, stated)
    return {cell: loaded[run.run_id] for cell, run in plan.runs.items() if run.run_id in loaded}


def _check_same_images(plan: Plan, records: Mapping[CellKey, Records], results: Path) -> None:
    first: dict[tuple[object, str], CellKey] = {}
    for cell, (frame, _) in records.items():
        if cell.place.work not in ("classification", "generation"):
            continue
        baseline = plan.baseline(cell.place, cell.column)
        reference = first.setdefault((cell.place, baseline.column), cell)
        if not frame["image_id"].equals(records[reference][0]["image_id"]):
            archive = Archive(results, plan.profile)
            files = " and ".join(
                f"{archive.samples_path(plan.runs[each].run_id)} ({len(records[each][0])})"
                for each in (reference, cell)
            )
            raise UserError(
                f"{files}: do not cover the same images of {cell.place.dataset}; put back the one "
                "that is not whole, or do its run again with force=true"
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
