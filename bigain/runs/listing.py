"""Metrics as rows: the one reader of `runs.csv` of a profile and of `metrics.csv` of a run.

Tables, figures, the report and whatever writes `runs.csv` anew read it here.  A file that is not
as this project writes it is an error that names the line: nothing of it is passed over, so nothing
of it is lost when the file is replaced.
"""

import csv
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bigain.errors import UserError
from bigain.metrics import Metric
from bigain.runs.files import METRIC_COLUMNS, METRICS
from bigain.runs.identity import DESCRIBING_COLUMNS

__all__ = ["Listing", "MetricRow", "metrics_of", "read_listing", "read_own_rows"]

_BACK = "put back the committed file, or correct this one"
_ROUNDING = 1e-9
"""By how much of itself a value may lie outside an interval without width."""

_AGAIN = "put the file back, or do the run again with force=true"


@dataclass(frozen=True)
class MetricRow:
    """One metric of one run.

    Attributes:
        cells: Column -> text as written, in the order of `METRIC_COLUMNS`.
        metric: The value that it states.

    """

    cells: Mapping[str, str]
    metric: Metric

    @property
    def columns(self) -> dict[str, str]:
        """What the run is; empty where it has no such thing."""
        return {name: self.cells[name] for name in DESCRIBING_COLUMNS}

    @property
    def plain(self) -> dict[str, str | None]:
        """The cells as `csv_text` takes them, to write the very same text."""
        return {name: cell or None for name, cell in self.cells.items()}


Listing = Mapping[str, tuple[MetricRow, ...]]
"""Run id -> its rows, both in the order of the file."""


def read_listing(path: Path) -> Listing:
    """The rows of `<results>/<profile>/runs.csv`; none if there is no such file.

    A file that has not changed is parsed once.

    Raises:
        UserError: The file is damaged, or two runs claim one cell.

    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _listing(path, (state.st_ino, state.st_mtime_ns, state.st_size))


def read_own_rows(folder: Path) -> tuple[MetricRow, ...]:
    """The rows of metrics.csv in the folder of a run.

    Raises:
        UserError: The file is not there, damaged, or of a run that is not named as the folder.

    """
    path = folder / METRICS
    listing = _parsed(path, _AGAIN)
    other = next((name for name in listing if name != folder.name), None)
    if other is not None:
        raise UserError(f"{path}: is of run {other}: two runs claim one cell; {_AGAIN}")
    if not listing:
        raise UserError(f"{path}: has no metrics; {_AGAIN}")
    return listing[folder.name]


def metrics_of(rows: tuple[MetricRow, ...]) -> dict[str, Metric]:
    """Metric id -> value, in the order of the rows."""
    return {row.metric.metric: row.metric for row in rows}


@functools.lru_cache(maxsize=8)
def _listing(path: Path, _state: tuple[int, int, int]) -> Listing:
    listing, allowed = _parsed(path, _BACK), path.parent.name
    for name, (first, *_) in listing.items():
        profile = first.cells["profile"]
        if profile != allowed:
            told = f"run {name}: profile={profile}: allowed here: {allowed}"
            raise UserError(f"{path}: {told}; {_BACK}")
    return listing


def _parsed(path: Path, remedy: str) -> Listing:
    found: dict[str, dict[str, MetricRow]] = {}
    try:
        for place, cells in _lines(path):
            row = MetricRow(cells, _metric(place, cells))
            of_run = found.setdefault(cells["run_id"], {})
            _check(place, row, of_run)
            of_run[row.metric.metric] = row
    except UserError as error:
        raise UserError(f"{error}; {remedy}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {remedy}") from error
    return {name: tuple(rows.values()) for name, rows in found.items()}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """`FILE, line N` and the cells of each row."""
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle, strict=True)
        there = list(reader.fieldnames or ())
        lacking = [name for name in METRIC_COLUMNS if name not in there]
        if lacking:
            raise UserError(f"{path}: lacks the columns {', '.join(lacking)}")
        if len(there) > len(METRIC_COLUMNS):  # which would be lost when the file is replaced
            raise UserError(f"{path}: has other columns than {', '.join(METRIC_COLUMNS)}")
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{place}: has not as many cells as there are columns")
            yield place, {name: row[name] for name in METRIC_COLUMNS}


def _check(place: str, row: MetricRow, of_run: Mapping[str, MetricRow]) -> None:
    """One run is one thing, and has each metric once."""
    name, metric = row.cells["run_id"], row.metric.metric
    for column in ("run_id", "metric"):
        if not row.cells[column]:
            raise UserError(f"{place}: {column} is empty")
    first = next(iter(of_run.values()), row)
    differ = [key for key, cell in row.columns.items() if cell != first.cells[key]]
    if differ:
        raise UserError(f"{place}: run {name} has another {differ[0]} than above")
    if metric in of_run:
        raise UserError(f"{place}: run {name} has {metric} twice: two runs claim one cell")


def _metric(place: str, row: Mapping[str, str]) -> Metric:
    value, low, high = (_number(place, name, row[name]) for name in ("value", "ci_low", "ci_high"))
    n = _number(place, "n", row["n"])
    if not n.is_integer():
        raise UserError(f"{place}: n={row['n']}: allowed: a whole number")
    slack = _ROUNDING * abs(value)
    if value < low - slack or value > high + slack:
        ends = f"[{row['ci_low']}, {row['ci_high']}]"
        raise UserError(f"{place}: value={row['value']}: allowed: within its own interval {ends}")
    return Metric(row["metric"], value, int(n), low, high, row["unit"])


def _number(place: str, name: str, text: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UserError(f"{place}: {name}={text}: allowed: a number") from None
