"""Appendix A of finished runs: the parts of their margins' variance, and Theorem 1's criterion.

Each run is paired with a reference over the images and trials of both (`bigain.metrics.margins`).
Margins are weighted in two ways: `equal`, in units of sigma_t of the baseline, so that all
timesteps count alike; and `raw`, in units of the loss, where low noise counts most.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigain.config.operator import operator_title
from bigain.errors import UserError
from bigain.metrics.margins import Estimate, criterion, margin_parts
from bigain.metrics.trials import Trials
from bigain.runs.archive import Archive
from bigain.runs.identity import dataset_name
from bigain.runs.pairing import FinishedRun, check_pair, read_finished
from bigain.runs.store import damaged_runs, run_folders
from bigain.runs.trials import missing_scale, read_trials, scale_of

__all__ = ["COLUMNS", "MarginRow", "analyse", "groups_of", "markdown", "table", "tidy"]

COLUMNS = (
    *("run", "reference", "backbone", "dataset", "seed", "operator", "weighting", "trials", "n"),
    *("quantity", "value", "ci_low", "ci_high"),
)
"""The columns of a tidy record."""

_WEIGHTINGS = {
    "equal": "in units of sigma_t, timesteps count alike",
    "raw": "raw, low noise counts most",
}
_SHOWN = ("mean", "variance", "between", "within", "ratio", "ratio_within", "gain", "gain_within")


@dataclass(frozen=True)
class MarginRow:
    """Appendix A of one run under one weighting.

    Attributes:
        run: Its id.
        reference: The run that it is compared with; its own id for the reference itself.
        config: Its configuration.
        weighting: `equal` or `raw`.
        trials: Of the first stage.
        n: Images of both that have margins.
        found: Quantity -> estimate, those of `margin_parts` and, unless this is the reference, of
            `criterion`.

    """

    run: str
    reference: str
    config: Mapping[str, Any]
    weighting: str
    trials: int
    n: int
    found: Mapping[str, Estimate]

    @property
    def group(self) -> tuple[str, str, int]:
        """Backbone, dataset and seed."""
        names = str(self.config["backbone"]["name"]), dataset_name(self.config)
        return (*names, int(self.config["seed"]))

    @property
    def operator(self) -> str:
        """Its operator in a few words."""
        return operator_title(self.config["operator"])

    def verdict(self, gain: str = "gain") -> str:
        """Whether Theorem 1's criterion holds: by its interval; empty for the reference.

        `not covered` if a mean is not positive in all bootstrap draws: the theorem assumes it.
        """
        if gain not in self.found:
            return ""
        if math.isnan(self.found[gain].ci_low):
            return "not covered"
        return {1: "holds", -1: "fails", 0: "open"}[self.found[gain].sign]


def analyse(runs: Sequence[FinishedRun]) -> tuple[list[MarginRow], list[str]]:
    """The rows of each run and of the last one, the reference; and lines that say what is absent.

    Raises:
        UserError: A run cannot be paired with the reference, or a file is damaged.

    """
    reference = runs[-1]
    for run in runs[:-1]:
        check_pair(run, reference)
    base, why = _usable(reference)
    if base is None:
        return [], [f"left out: {why}"]
    by, rows, reasons = scale_of(reference), [], []
    if by is None:
        reasons = [f"no margins in units of sigma_t: {missing_scale(reference)}"]
    weights = {"raw": None} if by is None else {"equal": by.scale.spread, "raw": None}
    for run in runs:
        own, why = _usable(run)
        if own is None:
            reasons.append(f"left out: {why}")
            continue
        for weighting, spread in weights.items():
            a, b = own.margins(spread), base.margins(spread)
            common = a.index.intersection(b.index)
            if common.empty:
                raise UserError(f"{run.run_id}: has no image in common with {reference.run_id}")
            left, right = a.loc[common].to_numpy(), b.loc[common].to_numpy()
            found = margin_parts(left)
            found |= criterion(left, right) if run is not reference else {}
            names = run.run_id, reference.run_id, run.config
            rows.append(MarginRow(*names, weighting, left.shape[1], len(left), found))
    return rows, reasons


def groups_of(results: Path, profile: str) -> tuple[list[list[FinishedRun]], list[str]]:
    """All classifications of a profile that have errors, each with its baseline as the last.

    Runs without a baseline here form no group; the lines name them and say why.

    Raises:
        UserError: A file of a run is damaged.

    """
    archive, damaged = Archive(results, profile), damaged_runs(results)
    here = [folder.name for folder in run_folders(results) if folder.name not in damaged]
    names = dict.fromkeys([*archive.run_ids(), *here])
    groups: dict[str, list[FinishedRun]] = {}
    for name in names:
        manifest = archive.manifest(name)
        if manifest is None or not _is_wanted(manifest, profile) or not archive.is_available(name):
            continue
        if archive.errors_path(name).is_file():
            groups.setdefault(manifest["baseline_id"], []).append(read_finished(results, name))
    apart = (run for name, group in groups.items() if not _has(group, name) for run in group)
    whole = [_last(group, name) for name, group in groups.items() if _has(group, name)]
    return whole, [f"left out: {run.run_id}: {missing_scale(run)}" for run in apart]


def tidy(rows: Iterable[MarginRow]) -> list[dict[str, Any]]:
    """One record for each row and quantity, with the keys `COLUMNS`; None where there is none."""
    return [
        {"run": row.run, "reference": row.reference}
        | dict(zip(("backbone", "dataset", "seed"), row.group, strict=True))
        | {"operator": row.operator, "weighting": row.weighting, "trials": row.trials, "n": row.n}
        | {"quantity": quantity}
        | {
            name: value if math.isfinite(value := getattr(estimate, name)) else None
            for name in ("value", "ci_low", "ci_high")
        }
        for row in rows
        for quantity, estimate in row.found.items()
    ]


def markdown(rows: Sequence[MarginRow]) -> str:
    """A table for each backbone, dataset, seed, reference and weighting."""
    blocks: dict[str, list[MarginRow]] = {}
    for row in rows:
        backbone, dataset, seed = row.group
        head = f"{backbone}, {dataset}, seed {seed}, against {row.reference}"
        blocks.setdefault(f"{head}; margins {_WEIGHTINGS[row.weighting]}", []).append(row)
    return "\n".join(f"{head}\n\n{table(own)}" for head, own in blocks.items())


def table(rows: Sequence[MarginRow]) -> str:
    """One line for each row."""
    names = ["operator", "n", *_SHOWN, "Theorem 1", "Theorem 1 within"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        numbers = [_number(row.found.get(name)) for name in _SHOWN]
        verdicts = [row.verdict(), row.verdict("gain_within")]
        lines.append(f"| {' | '.join([row.operator, str(row.n), *numbers, *verdicts])} |")
    return "\n".join(lines) + "\n"


def _number(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "—"
    ends = estimate.ci_low, estimate.ci_high
    interval = "" if math.isnan(sum(ends)) else f" [{ends[0]:.3g}, {ends[1]:.3g}]"
    return f"{estimate.value:.3g}{interval}"


def _usable(run: FinishedRun) -> tuple[Trials | None, str]:
    """The trials of a run that has at least two, or why it is left out."""
    found = read_trials(run)
    if found is None:
        return None, f"{run.run_id}: has no errors of all classes"
    if len(found.timesteps) < 2:
        return None, f"{run.run_id}: has a single trial, which has no variance"
    return found, ""


def _is_wanted(manifest: Mapping[str, Any], profile: str) -> bool:
    config = manifest["config"]
    return bool(config["task"]["name"] == "classification" and config["profile"] == profile)


def _has(group: Sequence[FinishedRun], baseline: str) -> bool:
    return any(run.run_id == baseline for run in group)


def _last(group: Sequence[FinishedRun], baseline: str) -> list[FinishedRun]:
    return sorted(group, key=lambda run: run.run_id == baseline)
