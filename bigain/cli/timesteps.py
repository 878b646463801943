"""`bigain analysis timesteps [RUN ...]`: how well each timestep alone classifies.

Of every image the class with the smallest error at a timestep is compared with its label.  An
accuracy over all timesteps hides which of them know anything; here each has a row of its own,
beside the accuracy that guessing has.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bigain.cli.arguments import VerbParser, find_runs, results_folder
from bigain.errors import UserError
from bigain.files import csv_text
from bigain.metrics import wilson
from bigain.runs.analysis import groups_of
from bigain.runs.files import need_results
from bigain.runs.identity import describing_columns
from bigain.runs.pairing import FinishedRun, read_finished
from bigain.runs.trials import read_trials

__all__ = ["COLUMNS", "main"]

COLUMNS = (
    *("run", "backbone", "dataset", "seed", "operator", "settings", "timestep", "n"),
    *("accuracy", "ci_low", "ci_high", "chance", "error"),
)
"""Accuracies are shares; `error` is the mean error of the true class."""

_DESCRIPTION = (
    "Accuracy of each timestep of the first stage alone, with its 95 % interval, the accuracy of "
    "guessing and the mean error of the true class. Without run ids: all classifications of a "
    "profile that have a baseline."
)


def main(arguments: Sequence[str]) -> int:
    """Print one row for each run and timestep.

    Raises:
        UserError: There is no such run, or none with errors of all classes.

    """
    parser = VerbParser("analysis timesteps", _DESCRIPTION)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run ids, or their beginnings")
    parser.add_argument("--profile", choices=["mini", "paper"], help="of all runs (default: mini)")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown")
    options = parser.parse_intermixed_args(list(arguments))
    if options.runs and options.profile:
        raise UserError(f"--profile={options.profile}: allowed: without run ids, for all runs")
    results = results_folder(options.results)
    need_results(results)
    rows = [row for run in _runs(results, options) for row in _rows(run)]
    if not rows:
        raise UserError("analysis timesteps: no run has errors of all classes; see docs/runs.md")
    sys.stdout.write(csv_text(COLUMNS, rows) if options.format == "csv" else _markdown(rows))
    return 0


def _runs(results: Path, options: Any) -> list[FinishedRun]:
    if options.runs:
        return [read_finished(results, name) for name in find_runs(results, options.runs)]
    groups, _ = groups_of(results, options.profile or "mini")
    return [run for group in groups for run in group]


def _rows(run: FinishedRun) -> Iterator[dict[str, Any]]:
    """The rows of a run; none of a race, which has no trials of all classes."""
    trials = read_trials(run)
    if trials is None:
        return
    described = {"run": run.run_id, **describing_columns(run.config)}
    chance = float(trials.truth.mean())
    right = trials.is_right_alone()
    errors = trials.noise_errors_alone()
    n = len(right)
    for column, timestep in sorted(enumerate(trials.timesteps.tolist()), key=lambda at: at[1]):
        low, high = wilson(int(right[:, column].sum()), n)
        found = {"accuracy": float(right[:, column].mean()), "ci_low": low, "ci_high": high}
        found |= {"chance": chance, "error": float(errors[column])}
        own = {**described, "timestep": timestep, "n": n, **found}
        yield {key: own[key] for key in COLUMNS}


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    head = ("run", "backbone", "operator", "settings", "t", "n", "accuracy, %", "chance", "error")
    lines = [
        [
            *(row["run"][:8], row["backbone"], row["operator"], row["settings"] or ""),
            *(row["timestep"], row["n"], _percent(row)),
            *(f"{100 * row['chance']:.2f}", f"{row['error']:.4g}"),
        ]
        for row in rows
    ]
    return tabulate(lines, head, tablefmt="github", disable_numparse=True) + "\n"


def _percent(row: dict[str, Any]) -> str:
    value, low, high = (100 * row[key] for key in ("accuracy", "ci_low", "ci_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"
