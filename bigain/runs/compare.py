"""Compare finished runs image by image: each of several with one reference.

What can be paired is in `bigain.runs.pairing`.  The bias of a Frechet distance depends on the
number of images, so distances are compared at equal numbers only.

With several comparisons a small p value becomes likely by chance alone.  Those of one quantity are
a family, and their p values are also given with Holm's correction (`bigain.metrics.holm`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import (
    PairedResult,
    holm,
    image_errors,
    image_precisions,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
)
from bigain.runs.pairing import PAIRING_KEYS, FinishedRun, check_pair, read_finished
from bigain.runs.races import is_race
from bigain.runs.trials import DECISIONS, SCALED, TrialPairs

__all__ = ["PAIRING_KEYS", "Comparison", "Difference", "as_plain", "compare_all", "compare_runs"]
__all__ += ["describe", "read_runs"]


@dataclass(frozen=True)
class Difference:
    """What one run has more of than the reference, over the images of both.

    Attributes:
        result: The estimate with its interval, z, p and n; shares and relative rises are fractions.
        test: What p is of: `McNemar` (exact), `bootstrap` or `t`.
        unit: `points` (of percent), `%` (of the reference), `sigma_t` (spread of the baseline's
            errors over the classes) or empty.
        adjusted: p with Holm's correction for the family; p itself if it is alone.
        family: How many runs are compared in this quantity.

    """

    result: PairedResult
    test: str
    unit: str
    adjusted: float
    family: int = 1

    @property
    def scale(self) -> int:
        """What the estimate is multiplied with to be in `unit`."""
        return 100 if self.unit in ("points", "%") else 1

    @property
    def numbers(self) -> str:
        """Estimate and interval in `unit`, such as `-2.50 [-4.81, -0.16]`."""
        result, digits = self.result, "+.2f" if self.scale == 100 else "+.4g"
        ends = (self.scale * each for each in (result.mean, result.ci_low, result.ci_high))
        value, low, high = (f"{number:{digits}}" for number in ends)
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Comparison:
    """One run against the reference.

    Attributes:
        run: Run id.
        reference: Run id of the reference.
        n: Number of images in both.
        differences: By metric.  Of classified images the statistics of single trials
            (`bigain.runs.trials`): `best_margin`, the primary endpoint, `pairwise_auc` and
            `acc1_first`; then `acc1` (exact McNemar p), `map_image` where images have several
            labels (bootstrap), and `eps_error_rise`, the rise of the true class's error over the
            reference's, raw, so that low noise weighs most; `eps_rise_equal` and `eps_rise_low`,
            `_mid`, `_high` with equal weights per timestep, over all trials and thirds of noise.
            Of generated ones `fid` or `frechet_mini`.
        absent: Metric -> why it is not there, such as in a race.
        scaled_by: Run id of the baseline that gives sigma_t and the weights of timesteps; None if
            nothing needs it.

    """

    run: str
    reference: str
    n: int
    differences: Mapping[str, Difference]
    absent: Mapping[str, str] = field(default_factory=dict)
    scaled_by: str | None = None

    @property
    def absences(self) -> dict[str, str]:
        """Why metrics are not there -> their names, in one text."""
        reasons = dict.fromkeys(self.absent.values())
        return {
            why: ", ".join(name for name, own in self.absent.items() if own == why)
            for why in reasons
        }


def read_runs(results: Path, run_ids: Sequence[str]) -> list[FinishedRun]:
    """The finished runs, in their folders or published; each can be paired with the last.

    Raises:
        UserError: A run is named twice, is not finished or has no images, its files are damaged, or
            it cannot be paired with the last.

    """
    twice = next((name for name in run_ids if run_ids.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"run_id={twice}: named twice; allowed: different runs")
    runs = [read_finished(results, name) for name in run_ids]
    for run in runs[:-1]:
        check_pair(run, runs[-1])
    return runs


def compare_runs(results: Path, run: str, reference: str) -> Comparison:
    """The run with id `run` against `reference`; raises UserError as `read_runs` does."""
    return compare_all(read_runs(results, [run, reference]))[0]


def compare_all(runs: Sequence[FinishedRun]) -> list[Comparison]:
    """Each of the runs against the last, with the p values of each metric corrected.

    Raises:
        UserError: Two runs have no image in common.

    """
    *others, reference = runs
    pairs = TrialPairs(reference)
    compared = [_compare(run, reference, pairs) for run in others]
    for metric in dict.fromkeys(name for each in compared for name in each.differences):
        having = [at for at, each in enumerate(compared) if metric in each.differences]
        family = holm([compared[at].differences[metric].result.p for at in having])
        for at, p in zip(having, family, strict=True):
            compared[at] = _corrected(compared[at], metric, p, len(family))
    return compared


def describe(comparisons: Sequence[Comparison]) -> str:
    """The comparisons in a few lines each for a terminal."""
    return "\n\n".join("\n".join(_lines(each)) for each in comparisons)


def as_plain(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Tidy records, one for each comparison and metric; None where a number is not finite.

    Metrics that are absent come last, and have None in all cells.

    Value and interval are in `unit`; a p value is the two-sided one of no difference.
    """
    return [
        {"run": each.run, "reference": each.reference, "metric": metric}
        | {"value": _finite(difference.scale * difference.result.mean)}
        | {
            name: _finite(difference.scale * getattr(difference.result, name))
            for name in ("ci_low", "ci_high")
        }
        | {"unit": difference.unit, "n": difference.result.n, "z": _finite(difference.result.z)}
        | {"test": difference.test, "p": _finite(difference.result.p)}
        | {"p_holm": _finite(difference.adjusted), "family": difference.family}
        | {"scaled_by": each.scaled_by if metric in SCALED else None}
        for each in comparisons
        for metric, difference in each.differences.items()
    ] + [
        dict.fromkeys(_PLAIN) | {"run": each.run, "reference": each.reference, "metric": metric}
        for each in comparisons
        for metric in each.absent
    ]


_PLAIN = (
    *("run", "reference", "metric", "value", "ci_low", "ci_high", "unit", "n", "z"),
    *("test", "p", "p_holm", "family", "scaled_by"),
)


def _compare(run: FinishedRun, reference: FinishedRun, pairs: TrialPairs) -> Comparison:
    left, right = run.samples, reference.samples
    if run.is_generation:
        name = "fid" if run.config["task"]["extractor"] == "inception" else "frechet_mini"
        values = (frame.set_index("image_id")["frechet_value"] for frame in (left, right))
        found = {name: _difference(paired_difference(*values), "t", "")}
        return Comparison(run.run_id, reference.run_id, len(left), found)
    accuracy = paired_accuracy(_correct(left), _correct(right))
    trials, absent = pairs.against(run)
    found = {
        name: _difference(trials[name], *how) for name, how in DECISIONS.items() if name in trials
    }
    found["acc1"] = _difference(accuracy, "McNemar", "points")
    if all("average_precision" in frame for frame in (left, right)):
        # Images that failed or have no label count with 0.
        precision = paired_bootstrap(image_precisions(left), image_precisions(right))
        found["map_image"] = _difference(precision, "bootstrap", "points")
    errors = image_errors(left), image_errors(right)
    if any(each.empty for each in errors):
        empty = next(each for each, own in zip((run, reference), errors, strict=True) if own.empty)
        why = f"run {empty.run_id} has no image that was read and has a label"
        why = "a race has no errors to pair" if is_race(empty.config) else why
        absent = {"eps_error_rise": why, **absent}
    else:
        found["eps_error_rise"] = _difference(relative_rise(*errors), "t", "%")
    rises = {name: each for name, each in trials.items() if name not in DECISIONS}
    found |= {name: _difference(each, "t", "%") for name, each in rises.items()}
    by = pairs.scaled_by.run_id if pairs.scaled_by and "best_margin" in found else None
    return Comparison(run.run_id, reference.run_id, accuracy.n, found, absent, by)


def _difference(result: PairedResult, test: str, unit: str) -> Difference:
    return Difference(result, test, unit, result.p)


def _corrected(comparison: Comparison, metric: str, adjusted: float, family: int) -> Comparison:
    difference = replace(comparison.differences[metric], adjusted=adjusted, family=family)
    return replace(comparison, differences={**comparison.differences, metric: difference})


def _lines(comparison: Comparison) -> list[str]:
    head = f"{comparison.run} against {comparison.reference}, paired over {comparison.n} images"
    lines = [_line(metric, each) for metric, each in comparison.differences.items()]
    lines += [f"{names:<15} — ({why})" for why, names in comparison.absences.items()]
    by = comparison.scaled_by
    return [head, *lines, *([f"sigma_t and equal weights are of run {by}"] if by else [])]


def _line(metric: str, difference: Difference) -> str:
    unit = f" {difference.unit}" if difference.unit else ""
    p = f"{difference.test} p = {difference.result.p:.2g}"
    by = f"z = {difference.result.z:.1f}" if difference.test == "t" else p
    of = f", Holm p = {difference.adjusted:.2g} of {difference.family} runs"
    return f"{metric:<15} {difference.numbers}{unit}, {by}{of if difference.family > 1 else ''}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _correct(samples: pd.DataFrame) -> "pd.Series[bool]":
    return samples.set_index("image_id")["correct"]
