"""Appendix A of finished runs: the parts of their margins' variance, and Theorem 1's criterion.

Each run is paired with a reference over the images and trials of both (`bigain.metrics.margins`).
Margins are weighted in two ways: `equal`, in units of sigma_t of the baseline, so that all
timesteps count alike; and `raw`, in units of the loss, where low noise counts most.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bigain.config.operator import operator_title, other_settings
from bigain.errors import UserError
from bigain.metrics.intervals import CONFIDENCE, holm
from bigain.metrics.margins import Estimate, criterion, margin_parts
from bigain.metrics.trials import Trials
from bigain.runs.archive import Archive
from bigain.runs.identity import dataset_name
from bigain.runs.pairing import FinishedRun, check_pair, read_finished
from bigain.runs.store import damaged_runs, run_folders
from bigain.runs.trials import missing_scale, read_trials, scale_of

__all__ = ["COLUMNS", "MarginRow", "analyse", "groups_of", "markdown", "table", "tidy", "with_holm"]

COLUMNS = (
    *("run", "reference", "backbone", "dataset", "seed", "operator", "weighting", "trials"),
    *("timesteps", "n", "quantity", "value", "ci_low", "ci_high", "p", "p_holm"),
)
"""The columns of a tidy record."""

_WEIGHTINGS = {
    "equal": "in units of sigma_t, timesteps count alike",
    "raw": "raw, low noise counts most",
}
_SHOWN = ("mean", "variance", "between", "within", "ratio", "gain", "snr_change")
_TESTED = ("baseline_mean", "snr_change", "snr_change_within")


@dataclass(frozen=True)
class MarginRow:
    """Appendix A of one run under one weighting.

    Attributes:
        run: Its id.
        reference: The run that it is compared with; its own id for the reference itself.
        config: Its configuration.
        operator: Its operator in a few words, no two in a group alike.
        weighting: `equal` or `raw`.
        timesteps: Of the first stage's trials.
        n: Images of both that have margins.
        found: Quantity -> estimate, those of `margin_parts` and, unless this is the reference, of
            `criterion`.
        p_holm: p of `snr_change` with Holm's correction over a family of operators, NaN without.

    """

    run: str
    reference: str
    config: Mapping[str, Any]
    operator: str
    weighting: str
    timesteps: tuple[int, ...]
    n: int
    found: Mapping[str, Estimate]
    p_holm: float = math.nan

    @property
    def group(self) -> tuple[str, str, int]:
        """Backbone, dataset and seed."""
        names = str(self.config["backbone"]["name"]), dataset_name(self.config)
        return (*names, int(self.config["seed"]))

    def verdict(self, part: str = "") -> str:
        """Whether Theorem 1's criterion holds, by 95 % intervals; empty for the reference.

        It `holds` if the baseline's mean and `snr_change` are above 0, it `fails` if the latter is
        below 0, so that the bound is not tighter; else it is `not decided`.  With `_within`, for
        the part within timesteps.
        """
        change = self.found.get(f"snr_change{part}")
        return "" if change is None else self._decided(change.sign)

    def corrected(self) -> str:
        """The same after Holm's correction of `snr_change`; empty without one."""
        if math.isnan(self.p_holm):
            return ""
        side = int(math.copysign(1, self.found["snr_change"].value))
        return self._decided(side if self.p_holm < 1 - CONFIDENCE else 0)

    def _decided(self, side: int) -> str:
        if side > 0 and self.found["baseline_mean"].sign > 0:
            return "holds"
        return "fails" if side < 0 else "not decided"


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
    titles = _titles(runs)
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
            names = run.run_id, reference.run_id, run.config, titles[run.run_id], weighting
            steps = tuple(int(each) for each in own.timesteps)
            rows.append(MarginRow(*names, steps, len(left), found))
    return with_holm(rows), reasons


def with_holm(rows: Sequence[MarginRow]) -> list[MarginRow]:
    """The rows with corrected p values: all operators of a weighting are a family."""
    found = dict[int, float]()
    for weighting in _WEIGHTINGS:
        own = [i for i, row in enumerate(rows) if row.weighting == weighting]
        none = Estimate(math.nan, math.nan, math.nan)
        p_values = [rows[i].found.get("snr_change", none).p for i in own]
        found |= dict(zip(own, holm(p_values), strict=True))
    return [replace(row, p_holm=found[i]) for i, row in enumerate(rows)]


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
    """One record for each row and quantity, with the keys `COLUMNS`; None where there is none.

    An interval without an end has `-inf` or `inf` there, as text: JSON has no such number.
    """
    return [
        {"run": row.run, "reference": row.reference}
        | dict(zip(("backbone", "dataset", "seed"), row.group, strict=True))
        | {"operator": row.operator, "weighting": row.weighting, "trials": len(row.timesteps)}
        | {"timesteps": " ".join(map(str, row.timesteps)), "n": row.n, "quantity": quantity}
        | {name: _cell(getattr(estimate, name)) for name in ("value", "ci_low", "ci_high")}
        | {"p": _cell(estimate.p) if quantity in _TESTED else None}
        | {"p_holm": _cell(row.p_holm) if quantity == "snr_change" else None}
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
    names = ["operator", "n", "timesteps", *_SHOWN, "p", "p (Holm)"]
    names += ["Theorem 1", "after Holm", "within timesteps"]
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    for row in rows:
        numbers = [_number(row.found.get(name)) for name in _SHOWN]
        change = row.found.get("snr_change")
        p_values = ["" if change is None else f"{change.p:.2g}"]
        p_values.append("" if math.isnan(row.p_holm) else f"{row.p_holm:.2g}")
        verdicts = [row.verdict(), row.corrected(), row.verdict("_within")]
        steps = f"{row.timesteps[0]} to {row.timesteps[-1]}"
        cells = [row.operator, str(row.n), steps, *numbers, *p_values, *verdicts]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _number(estimate: Estimate | None) -> str:
    if estimate is None:
        return "—"
    value = "—" if math.isnan(estimate.value) else f"{estimate.value:.3g}"
    low, high = estimate.ci_low, estimate.ci_high
    if math.isnan(low + high) and not math.isinf(low):
        return value
    left = "(−∞" if low == -math.inf else f"[{low:.3g}"
    return f"{value} {left}, " + ("∞)" if high == math.inf else f"{high:.3g}]")


def _cell(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    return str(value) if math.isinf(value) else value


def _titles(runs: Sequence[FinishedRun]) -> dict[str, str]:
    """Run id -> its operator, with the settings that tell it from others of the same title."""
    titles = {run.run_id: operator_title(run.config["operator"]) for run in runs}
    settings = {run.run_id: _more_settings(run.config["operator"]) for run in runs}
    found = {}
    for name, title in titles.items():
        same = [settings[each] for each, other in titles.items() if other == title]
        own = settings[name]
        apart = {key for key in own if any(each.get(key) != own[key] for each in same)}
        words = [f"{key}={value}" for key, value in own.items() if key in apart | {"target"}]
        found[name] = " ".join([title, *words])
    return found


def _more_settings(operator: Mapping[str, Any]) -> dict[str, str]:
    """Those that a title lacks; not the names of calibrations, which follow from the others."""
    found = other_settings(operator)
    found |= {"scope": str(operator["scope"])} if "scope" in operator else {}
    return {key: value for key, value in found.items() if key != "calibration"}


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
