"""`bigain analysis bands [key=value ...]`: errors by frequency, Appendix A.2 of the paper."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bigain.errors import UserError
from bigain.files import csv_text, replace_text

if TYPE_CHECKING:
    from bigain.config import RunConfig
    from bigain.engine.bands import BandRow
    from bigain.metrics.margins import Estimate

__all__ = ["COLUMNS", "main"]

COLUMNS = (
    *("backbone", "dataset", "seed", "operator", "timestep", "band", "quantity"),
    *("n", "value", "ci_low", "ci_high"),
)

_HELP = """usage: bigain analysis bands [key=value ...]

Split noise errors and margins into low, mid and high frequencies (docs/metrics.md), without and
with operators, over the first stage of the runs that the same arguments make; keys may have
several values, as with -m.  Without operator=... the operators are tome, lgtm, abm at 0.7, and
todo, ie_kvd at 2; without backbone=... both minis; without dataset.limit=... 100 images.

Prints a table, and replaces <paths.results>/<profile>/bands.csv and figures/bands.{svg,pdf,png}.
"""

_OPERATORS = (
    ("operator=tome,lgtm,abm", "operator.ratio=0.7"),
    ("operator=todo,ie_kvd", "operator.factor=2"),
)
_DEFAULTS = {
    "task": ("task=classification",),
    "backbone": ("backbone=mini_dit,mini_unet",),
    "dataset.limit": ("dataset.limit=100",),
}
_SHOWN = [
    (quantity, band)
    for quantity in ("change", "rise", "margin_change")
    for band in ("low", "mid", "high", "all")
]
"""The columns of the table."""


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, write the files.

    Raises:
        UserError: A setting is not allowed, or weights or data are missing.

    """
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_HELP)
        return 0
    wrong = next((each for each in arguments if "=" not in each or each.startswith("-")), None)
    if wrong is not None:
        raise UserError(f"analysis bands {wrong}: allowed: key=value, --help")
    configs = _configs(arguments)
    folder = configs[0].paths.results / configs[0].profile
    if any(each.paths.results / each.profile != folder for each in configs):
        raise UserError("analysis bands: several profiles or folders of results; allowed: one")

    from bigain.engine.bands import measure_bands  # noqa: PLC0415 -- loads torch

    rows = measure_bands(configs)
    sys.stdout.write(_markdown(rows))
    from bigain.figures.bands import draw_bands  # noqa: PLC0415 -- loads matplotlib
    from bigain.figures.style import save  # noqa: PLC0415

    figure = draw_bands({_title(own): _measured(own) for own in _groups(rows)})
    replace_text(folder / "bands.csv", _csv(rows))
    for path in (folder / "bands.csv", *save(figure, folder / "figures" / "bands")):
        sys.stdout.write(f"{path}\n")
    return 0


def _configs(arguments: Sequence[str]) -> list["RunConfig"]:
    """The runs of all operators, in their order."""
    from bigain.launch.plan import plan_runs  # noqa: PLC0415 -- loads Hydra

    keys = [each.lstrip("+~").partition("=")[0] for each in arguments]
    common = [word for key, words in _DEFAULTS.items() if key not in keys for word in words]
    is_own = any(key == "operator" or key.startswith("operator.") for key in keys)
    commands = [()] if is_own else _OPERATORS
    plans = [plan_runs([*common, *own, *arguments], multirun=True) for own in commands]
    return [run.config for plan in plans for run in plan.runs]


def _groups(rows: Sequence["BandRow"]) -> list[list["BandRow"]]:
    """The rows of each backbone, dataset and seed."""
    groups: dict[tuple[str, str, int], list[BandRow]] = {}
    for row in rows:
        groups.setdefault((row.backbone, row.dataset, row.seed), []).append(row)
    return [*groups.values()]


def _title(rows: Sequence["BandRow"]) -> str:
    first = rows[0]
    return f"{first.backbone}, {first.dataset}, seed {first.seed}, n = {first.n:,}"


def _measured(rows: Iterable["BandRow"]) -> dict[tuple[str, str, str], "Estimate"]:
    """Of all trials together."""
    return {
        (row.operator, row.quantity, row.band): row.estimate
        for row in rows
        if row.timestep == "all"
    }


def _csv(rows: Iterable["BandRow"]) -> str:
    return csv_text(COLUMNS, map(_record, rows))


def _record(row: "BandRow") -> dict[str, object]:
    names = {name: getattr(row, name) for name in COLUMNS[:-3]}
    return names | {name: f"{getattr(row.estimate, name):.9g}" for name in COLUMNS[-3:]}


def _markdown(rows: Sequence["BandRow"]) -> str:
    return "\n".join(f"{_title(own)}\n\n{_table(own)}" for own in _groups(rows)) + "\n"


def _table(rows: Sequence["BandRow"]) -> str:
    """Of each operator the estimates, in percent of the baseline's noise error."""
    measured = _measured(rows)
    names = [f"{quantity}, {band}" for quantity, band in _SHOWN]
    lines = [f"| {' | '.join(['%', *names])} |", "|" + "---|" * (len(names) + 1)]
    for operator in dict.fromkeys(row.operator for row in rows if row.operator != "none"):
        cells = [_cell(measured[operator, quantity, band]) for quantity, band in _SHOWN]
        lines.append(f"| {' | '.join([operator, *cells])} |")
    return "\n".join(lines) + "\n"


def _cell(estimate: "Estimate") -> str:
    value, low, high = (100 * each for each in (estimate.value, estimate.ci_low, estimate.ci_high))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
