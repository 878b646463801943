"""The runs of `<results>/<profile>/runs.csv`, with their metrics and manifests."""

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bigain.errors import UserError
from bigain.metrics import Metric
from bigain.runs.files import METRIC_COLUMNS
from bigain.runs.identity import DESCRIBING_COLUMNS
from bigain.runs.manifests import Origin, find_manifest

__all__ = ["ListedRun", "read_runs"]


@dataclass(frozen=True)
class ListedRun:
    """A finished run.

    Attributes:
        columns: What it is, by `DESCRIBING_COLUMNS`, as written; empty where it has no such thing.
        metrics: Name -> value with interval and n, in the order of the file.
        manifest: The file of its manifest; None where there is none.
        origin: The manifest, {} where there is none.

    """

    columns: Mapping[str, str]
    metrics: dict[str, Metric] = field(default_factory=dict)
    manifest: Path | None = None
    origin: Origin = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.columns["run_id"]


def read_runs(results: Path, profile: str) -> list[ListedRun]:
    """The runs in the order of the file; none if there is no file.

    Raises:
        UserError: The file, or a manifest that it leads to, is damaged.

    """
    path = results / profile / "runs.csv"
    runs: dict[str, ListedRun] = {}
    for place, row in _rows(path) if path.exists() else ():
        columns = {name: row[name] for name in DESCRIBING_COLUMNS}
        run = runs.setdefault(row["run_id"], _listed(results, profile, columns))
        metric = _metric(place, row)
        _check(place, profile, run, columns, metric)
        run.metrics[metric.metric] = metric
    return list(runs.values())


def _listed(results: Path, profile: str, columns: Mapping[str, str]) -> ListedRun:
    found = find_manifest(results, profile, columns["run_id"])
    manifest, origin = found or (None, {})
    return ListedRun(columns, {}, manifest, origin)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """`FILE, line N` and the cells of each row."""
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle, strict=True)
            lacking = [name for name in METRIC_COLUMNS if name not in (reader.fieldnames or ())]
            if lacking:
                raise UserError(f"{path}: lacks the columns {', '.join(lacking)}; {_ANEW}")
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise UserError(f"{place}: has not as many cells as there are columns; {_ANEW}")
                yield place, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error}); {_ANEW}") from error


_ANEW = "bigain collect writes it anew"


def _check(
    place: str, profile: str, run: ListedRun, columns: Mapping[str, str], metric: Metric
) -> None:
    """One run is one thing, of this profile, and has each metric once."""
    if not columns["run_id"]:
        raise UserError(f"{place}: run_id is empty; {_ANEW}")
    if columns["profile"] != profile:
        raise UserError(f"{place}: profile={columns['profile']}: allowed here: {profile}; {_ANEW}")
    differ = [name for name in columns if columns[name] != run.columns[name]]
    if differ:
        raise UserError(f"{place}: run {run.run_id} has another {differ[0]} than above; {_ANEW}")
    if metric.metric in run.metrics:
        raise UserError(f"{place}: run {run.run_id} has {metric.metric} twice; {_ANEW}")


def _metric(place: str, row: Mapping[str, str]) -> Metric:
    value, low, high = (_number(place, name, row[name]) for name in ("value", "ci_low", "ci_high"))
    n = _number(place, "n", row["n"])
    if not n.is_integer():
        raise UserError(f"{place}: n={row['n']}: allowed: a whole number; {_ANEW}")
    return Metric(row["metric"], value, int(n), low, high, row["unit"])


def _number(place: str, name: str, text: str) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise UserError(f"{place}: {name}={text}: allowed: a number; {_ANEW}") from None
