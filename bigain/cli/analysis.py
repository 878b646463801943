"""`bigain analysis [RUN ... REFERENCE]`: Appendix A of the paper, measured on finished runs.

`bigain analysis bands` is in `bigain.cli.bands`, `timesteps` in `bigain.cli.timesteps`.
"""

import json
import sys
from collections.abc import Callable, Sequence

from bigain.cli import bands, timesteps
from bigain.cli.arguments import VerbParser, find_runs, results_folder
from bigain.errors import UserError
from bigain.files import csv_text
from bigain.runs.analysis import COLUMNS, MarginRow, analyse, groups_of, markdown, tidy
from bigain.runs.compare import read_runs
from bigain.runs.files import need_results

__all__ = ["main"]

_DESCRIPTION = (
    "Mean and variance of the best-wrong margins, between and within timesteps, their ratio, and "
    "Theorem 1's criterion against the reference, with 95 % intervals. Without run ids: all "
    "classifications of a profile, each against its baseline. `bigain analysis bands` splits "
    "errors by frequency, `bigain analysis timesteps` accuracy by timestep; each has a --help."
)


def _csv(rows: Sequence[MarginRow]) -> str:
    return csv_text(COLUMNS, tidy(rows))


def _json(rows: Sequence[MarginRow]) -> str:
    return json.dumps(tidy(rows), indent=2) + "\n"


_FORMATS: dict[str, Callable[[Sequence[MarginRow]], str]] = {
    "markdown": markdown,
    "csv": _csv,
    "json": _json,
}


def main(arguments: Sequence[str]) -> int:
    """Print a table per backbone, dataset and weighting; name the runs that are left out."""
    if arguments[:1] == ["bands"]:
        return bands.main(arguments[1:])
    if arguments[:1] == ["timesteps"]:
        return timesteps.main(arguments[1:])
    parser = VerbParser("analysis", _DESCRIPTION)
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="run ids, or their beginnings; the last: REFERENCE"
    )
    parser.add_argument("--profile", choices=["mini", "paper"], help="of all runs (default: mini)")
    parser.add_argument("--format", choices=[*_FORMATS], default="markdown")
    options = parser.parse_intermixed_args(list(arguments))
    if options.runs and options.profile:
        raise UserError(f"--profile={options.profile}: allowed: without run ids, for all runs")
    if len(options.runs) == 1:
        raise UserError(f"analysis {options.runs[0]}: allowed: RUN [RUN ...] REFERENCE, or no run")
    results = results_folder(options.results)
    need_results(results)
    if options.runs:
        groups, lonely = [read_runs(results, find_runs(results, options.runs))], list[str]()
    else:
        groups, lonely = groups_of(results, options.profile or "mini")
    found = [analyse(group) for group in groups]
    rows = [row for own, _ in found for row in own]
    reasons = [why for _, own in found for why in own] + lonely
    is_alone = options.runs and all(row.run == row.reference for row in rows)
    if not rows or is_alone:
        why = "; ".join(reasons) or f"no classification in {results} has errors and a baseline"
        raise UserError(f"analysis: {why}; allowed: runs with errors.npz, see docs/runs.md")
    sys.stdout.write(_FORMATS[options.format](rows))
    sys.stderr.write("".join(f"{why}\n" for why in reasons))
    return 0
