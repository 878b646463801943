"""The CSV format of metrics: one row per metric of a run.

`runs.csv` of a profile and `metrics.csv` of a run have one format.  A metrics file that this
project would not write is an error that names the line, so that replacing it loses nothing.
Columns that were added later may be missing and are then read as empty.
"""

import csv
import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.metrics import Metric
from bigain.runs.files import METRIC_COLUMNS, METRICS
from bigain.runs.identity import DESCRIBING_COLUMNS, describing_columns

__all__ = [
    "ADDED_COLUMNS",
    "MetricRow",
    "Rows",
    "metrics_of",
    "place_in_file",
    "read_own_rows",
    "read_runs_csv",
    "with_added_columns",
]

ADDED_COLUMNS = ("strategy", "sparsity", "settings")
"""Columns that older files do not have, in the order of time; they are read as empty."""

_RESTORE = "restore the committed file, or correct this one"
_REPEAT = "restore the file, or start the run again with force=true"
_ROUNDING = 1e-9
"""How far a value may lie outside its own interval, relative to the value."""


@dataclass(frozen=True)
class MetricRow:
    """One metric of one run.

    Attributes:
        cells: Column -> text as written, in the order of `METRIC_COLUMNS`.
        metric: The same as numbers.

    """

    cells: Mapping[str, str]
    metric: Metric

    @property
    def columns(self) -> dict[str, str]:
        """The `DESCRIBING_COLUMNS` of the run; cells that do not apply are empty."""
        return {name: self.cells[name] for name in DESCRIBING_COLUMNS}

    @property
    def plain(self) -> dict[str, str | None]:
        """The cells in the form that `csv_text` takes."""
        return {name: cell or None for name, cell in self.cells.items()}


Rows = Mapping[str, tuple[MetricRow, ...]]
"""Run id -> its rows, both in the order of the file."""


def read_runs_csv(path: Path) -> Rows:
    """The rows of `<results>/<profile>/runs.csv`, or nothing if there is no such file.

    An unchanged file is parsed only once.

    Raises:
        UserError: The file is damaged, or two runs claim one cell.

    """
    try:
        state = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _rows_of_profile(path, (state.st_ino, state.st_mtime_ns, state.st_size))


def read_own_rows(folder: Path) -> tuple[MetricRow, ...]:
    """The rows of metrics.csv in the folder of a run.

    Raises:
        UserError: The file is missing or damaged, or belongs to another run.

    """
    path = folder / METRICS
    rows = _parse_rows(path, _REPEAT)
    other = next((name for name in rows if name != folder.name), None)
    if other is not None:
        raise UserError(f"{path}: is of run {other}: two runs claim one cell; {_REPEAT}")
    if not rows:
        raise UserError(f"{path}: has no metrics; {_REPEAT}")
    return rows[folder.name]


def metrics_of(rows: tuple[MetricRow, ...]) -> dict[str, Metric]:
    """Metric id -> value, in the order of the rows."""
    return {row.metric.metric: row.metric for row in rows}


def with_added_columns(
    rows: tuple[MetricRow, ...], config: Mapping[str, Any]
) -> tuple[MetricRow, ...]:
    """The rows of a run with `ADDED_COLUMNS` from its configuration."""
    columns = describing_columns(config)
    added = {key: "" if columns[key] is None else str(columns[key]) for key in ADDED_COLUMNS}
    return tuple(replace(row, cells={**row.cells, **added}) for row in rows)


def place_in_file(rows: tuple[MetricRow, ...]) -> list[tuple[int, float, str]]:
    """Runs are sorted by their describing columns, then run id."""
    return [_sortable(rows[0].cells[name]) for name in (*DESCRIBING_COLUMNS[1:], "run_id")]


@functools.lru_cache(maxsize=8)
def _rows_of_profile(path: Path, _state: tuple[int, int, int]) -> Rows:
    rows, allowed = _parse_rows(path, _RESTORE), path.parent.name
    for name, (first, *_) in rows.items():
        profile = first.cells["profile"]
        if profile != allowed:
            message = f"run {name}: profile={profile}: allowed here: {allowed}"
            raise UserError(f"{path}: {message}; {_RESTORE}")
    return rows


def _parse_rows(path: Path, remedy: str) -> Rows:
    found: dict[str, dict[str, MetricRow]] = {}
    try:
        for place, cells in _lines(path):
            row = MetricRow(cells, _metric(place, cells))
            of_run = found.setdefault(cells["run_id"], {})
            _check_row(place, row, of_run)
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
        missing = [name for name in METRIC_COLUMNS if name not in {*there, *ADDED_COLUMNS}]
        if missing:
            raise UserError(f"{path}: lacks the columns {', '.join(missing)}")
        if not set(there) <= set(METRIC_COLUMNS) or len(there) > len(METRIC_COLUMNS):
            raise UserError(f"{path}: has other columns than {', '.join(METRIC_COLUMNS)}")
        for row in reader:
            place = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise UserError(f"{place}: has more or fewer cells than there are columns")
            yield place, {name: row.get(name, "") for name in METRIC_COLUMNS}


def _check_row(place: str, row: MetricRow, of_run: Mapping[str, MetricRow]) -> None:
    """All rows of a run describe the same run, and each metric has one row."""
    name, metric = row.cells["run_id"], row.metric.metric
    for column in ("run_id", "metric"):
        if not row.cells[column]:
            raise UserError(f"{place}: {column} is empty")
    first = next(iter(of_run.values()), row)
    differ = [key for key, cell in row.columns.items() if cell != first.cells[key]]
    if differ:
        raise UserError(f"{place}: run {name} has a different {differ[0]} than above")
    if metric in of_run:
        raise UserError(f"{place}: run {name} has {metric} twice: two runs claim one cell")


def _metric(place: str, row: Mapping[str, str]) -> Metric:
    value, low, high = (_number_at(place, name, row) for name in ("value", "ci_low", "ci_high"))
    n = _number_at(place, "n", row)
    if not n.is_integer():
        raise UserError(f"{place}: n={row['n']}: allowed: a whole number")
    slack = _ROUNDING * abs(value)
    if value < low - slack or value > high + slack:
        ends = f"[{row['ci_low']}, {row['ci_high']}]"
        raise UserError(f"{place}: value={row['value']}: allowed: within its own interval {ends}")
    return Metric(row["metric"], value, int(n), low, high, row["unit"])


def _number_at(place: str, name: str, row: Mapping[str, str]) -> float:
    try:
        return float(row[name]) if row[name] else math.nan
    except ValueError:
        raise UserError(f"{place}: {name}={row[name]}: allowed: a number") from None


def _sortable(cell: str) -> tuple[int, float, str]:
    """Empty first, numbers by value, then text."""
    if not cell:
        return 0, 0.0, ""
    try:
        return 1, float(cell), ""
    except ValueError:
        return 2, 0.0, cell
