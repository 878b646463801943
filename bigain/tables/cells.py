"""Numbers with intervals for the cells of a table, and the differences of two cells.

The metrics of a run are those that it stated at its end.  Computed here are only those that need
two runs, image by image, or that no run states: paired differences, the rise of the error, and the
statistics of single trials (`bigain.tables.trial_cells`).

All operators see the same images, timesteps and noise, or start from the same first noise.  With e
the error of the true class, two rises differ by mean(e_row - e_versus) / mean(e_none):
`relative_rise` of the errors e_none + (e_row - e_versus) against e_none, with the right interval.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import Metric, image_errors, relative_rise
from bigain.runs.archive import Archive
from bigain.runs.pairing import FinishedRun
from bigain.runs.trials import read_trials
from bigain.tables.differences import (
    Difference,
    accuracy_difference,
    paired_differences,
    plain_difference,
    scaled,
)
from bigain.tables.planner import NONE, CellKey, Plan
from bigain.tables.quantities import TO_NONE
from bigain.tables.trial_cells import (
    TrialValues,
    trial_differences,
    trial_metrics,
    trial_values,
)

__all__ = ["CellPair", "Measured", "Pairs", "cell_pairs", "measure", "named_pairs", "run_metrics"]

CellPair = tuple[CellKey, CellKey]
"""A cell and the one that it is compared with."""

_DISTANCES = ("fid", "frechet_mini")
_LEFT_OUT = ("map_class", "eps_error_rise", "margin_mean", "margin_variance")
"""Stated by runs, not taken by tables: their mAP is per image, the rise is paired here, and margins
over all wrong classes mislead (protocol 5)."""

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


def measure(plan: Plan, results: Path, pairs: "Pairs | None" = None) -> Measured:
    """Everything that the finished runs of the plan say.

    Args:
        plan: The runs.
        results: Where they are.
        pairs: Which cells are compared; by default `cell_pairs`, since the marks of the best need
            all of them.

    Raises:
        UserError: Records or metrics are damaged, or two runs of a column do not cover the same
            images or are of other weights.

    """
    archive = Archive(results, plan.profile)
    records = _records(plan, archive)
    _check_same_images(plan, records, archive)
    trials = _trials(plan, records, archive)
    runs = {}
    for cell in records:
        baseline = plan.baseline(cell.place, cell.column)
        none = records.get(baseline) if cell != baseline else None
        if none is not None:
            archive.check_comparable(plan.runs[cell].run_id, plan.runs[baseline].run_id)
        runs[cell] = run_metrics(cell.place.work, records[cell], none)
        if cell in trials:
            base = trials.get(baseline) if cell != baseline else None
            runs[cell] |= trial_metrics(trials[cell], base)
    deltas = {}
    for pair in (pairs or cell_pairs)(plan, records):
        baseline = plan.baseline(pair[0].place, pair[0].column)
        none = records.get(baseline)
        deltas[pair] = _differences(records, runs, pair, none[0] if none else None)
        if all(cell in trials for cell in pair):
            own, other = (trials[cell] for cell in pair)
            deltas[pair] |= trial_differences(own, other, trials.get(baseline))
    return Measured(runs, deltas)


def run_metrics(work: str, records: Records, none: Records | None) -> dict[str, Metric]:
    """The metrics of one run by id; with `none` also the paired comparisons with it.

    Beside those that the run states: the differences to the baseline, and the share of time that is
    saved.
    """
    frame, stated = records
    metrics = {name: metric for name, metric in stated.items() if name not in _LEFT_OUT}
    if work != "classification":
        if "speedup" in metrics:
            metrics["acceleration_percent"] = _time_saved(metrics["speedup"])
        return metrics
    if none is not None:
        metrics = _with_rise(metrics, image_errors(frame), image_errors(none[0]))
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
    rise = scaled("eps_error_rise", relative_rise(errors, base), 100.0, "percent")
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


def named_pairs(plan: Plan, known: Mapping[CellKey, object]) -> Iterator[CellPair]:
    """Those of `cell_pairs` that the table names as its comparisons."""
    deltas = plan.deltas
    named = {(each.row or each.column, each.versus or each.versus_column) for each in deltas}
    for one, other in cell_pairs(plan, known):
        across = one.column != other.column
        if ((one.column, other.column) if across else (one.row, other.row)) in named:
            yield one, other


Pairs = Callable[[Plan, Mapping[CellKey, object]], Iterator[CellPair]]
"""(plan, known cells) -> the pairs of them that are compared."""


def _records(plan: Plan, archive: Archive) -> dict[CellKey, Records]:
    loaded: dict[str, Records] = {}
    for name in (run.run_id for run in plan.distinct() if archive.is_available(run.run_id)):
        if (frame := archive.samples(name)) is not None:
            loaded[name] = (frame, archive.metrics(name))
    return {cell: loaded[run.run_id] for cell, run in plan.runs.items() if run.run_id in loaded}


def _trials(
    plan: Plan, records: Mapping[CellKey, Records], archive: Archive
) -> dict[CellKey, TrialValues]:
    """The statistics of single trials, of the cells whose runs have the errors for them."""
    found = {}
    for cell, (frame, _) in records.items():
        name = plan.runs[cell].run_id
        if trials := read_trials(FinishedRun(name, {}, frame, archive)):
            found[cell] = trials
    scales = {cell: trials.scale for cell, trials in found.items() if cell.row == NONE}
    return {
        cell: trial_values(trials, scales.get(plan.baseline(cell.place, cell.column)))
        for cell, trials in found.items()
    }


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
