"""The files of a run folder: config.yaml, manifest.json, samples.csv, metrics.csv (contract C2).

A classification also has `errors.npz` (`bigain.runs.errors`), a generation `features.npz` and
`reference.npz` (`bigain.runs.features`).

Each file is replaced atomically.  manifest.json is written last, so if it says `done` the other
files are complete.  samples.csv contains only what is the same in every execution, so its bytes do
not depend on kills, restarts or the number of shards.  Times are in the journal and the manifest.

Commands also check here, before they compute anything, whether the results folder can be used.
"""

import csv
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from bigain.errors import UserError
from bigain.files import parse_json, replace_file, replace_text
from bigain.runs.identity import DESCRIBING_COLUMNS

if TYPE_CHECKING:
    from bigain.metrics import Metric  # loads pandas, which a finished run does not need
    from bigain.runs.features import Features

__all__ = [
    "CONFIG",
    "FIRST_STAGE",
    "MANIFEST",
    "METRICS",
    "METRIC_COLUMNS",
    "NOT_IN_SAMPLES",
    "SAMPLES",
    "WRITABLE",
    "Evaluate",
    "Evaluation",
    "Record",
    "Records",
    "check_results",
    "csv_text",
    "kept_of",
    "make_results",
    "need_results",
    "read_csv",
    "read_manifest",
    "unreadable",
    "write_config",
    "write_manifest",
    "write_metrics",
    "write_samples",
]

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
SAMPLES = "samples.csv"
METRICS = "metrics.csv"

WRITABLE = "a folder that you can write to"
"""What is allowed where a setting names a folder for files."""

METRIC_COLUMNS = (
    *(name for name in DESCRIBING_COLUMNS if name != "settings"),
    *("metric", "value", "n", "ci_low", "ci_high", "unit", "settings"),
)
NOT_IN_SAMPLES = ("seconds", "adopted_from", "images_per_forward")
"""Parts of a journal record that depend on when and where it was computed."""

FIRST_STAGE = "first_stage"
"""The part of a journal record with the errors of all classes (`bigain.runs.errors`)."""

_ONLY_SOMETIMES = ("evaluations", "spent", "rounds", "full_prediction", "failure")
"""Parts that only some records have; if one record has them, all rows have a cell for them."""

_READ_FROM_MANIFEST = (
    *("run_id", "family_id", "baseline_id", "status", "columns", "config"),
    *("n_images", "wall_seconds"),
)


Record = dict[str, Any]
"""What a run stores about one image: plain JSON data with at least `image_id`."""


class Records(Protocol):
    """Records in dataset order, which can be gone through several times, such as a list."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Record]: ...


@dataclass(frozen=True)
class Evaluation:
    """The result of a run: its records, in dataset order, and the metrics of all of them.

    Attributes:
        records: With what the evaluation adds to them.
        metrics: In the order of metrics.csv.
        features: Of generated images, if they are kept.

    """

    records: Records
    metrics: Sequence["Metric"]
    features: "Features | None" = None


Evaluate = Callable[[Records], Evaluation]
"""Records of all images in dataset order -> the result of the run."""


def check_results(results: Path, key: str = "paths.results") -> None:
    """Raise UserError unless `results` is a writable folder or could be created as one.

    Args:
        results: The folder.
        key: The setting that names it.

    """
    nearest = next(path for path in [results, *results.absolute().parents] if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        place = "" if nearest == results else f" ({nearest} is not)"
        raise UserError(f"{key}={results}: allowed: {WRITABLE}{place}")


def make_results(results: Path, key: str = "paths.results") -> None:
    """Create the folder `results` if it does not exist; raises UserError if that is impossible."""
    check_results(results, key)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{key}={results}: allowed: {WRITABLE} ({error.strerror})") from error


def need_results(results: Path) -> None:
    """Raise UserError unless `results` is an existing folder."""
    if not results.is_dir():
        wrong = "is not a folder" if results.exists() else "does not exist"
        allowed = "the folder that holds runs/, such as --results DIR"
        raise UserError(f"paths.results={results}: {wrong}; allowed: {allowed}")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV: strings unchanged, other values as JSON, None and NaN as empty cells.

    Raises:
        ValueError: A row has other keys than `columns`.

    """
    buffer = io.StringIO()
    _write_csv(buffer, columns, rows)
    return buffer.getvalue()


def _write_csv(handle: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(f"row has columns {sorted(row)}, expected {sorted(columns)}")
        writer.writerow([_cell(row[column]) for column in columns])


def read_csv(path: Path, text: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows that `csv_text` wrote, with exactly the same numbers; empty cells are None.

    The file may be packed (`.csv.gz`).  Cells in the columns `text`, and cells that are not JSON,
    are strings.

    Raises:
        UserError: The file is missing, or is not such a table.

    """
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle, strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, error) from error
    if any(None in row or None in row.values() for row in lines):
        raise unreadable(path, ValueError("a line has more or fewer cells than there are columns"))
    return [{key: _value(cell, is_text=key in text) for key, cell in row.items()} for row in lines]


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file of a finished run that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"{path}: cannot be read ({reason}); start the run again with force=true")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run in `folder`; None if there is none.

    Raises:
        UserError: The file is not a JSON object, or lacks a key that every manifest has.

    """
    path = folder / MANIFEST
    try:
        manifest = parse_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not manifest.keys() >= set(_READ_FROM_MANIFEST):
        raise UserError(f"{path}: is damaged; delete it, or start the run again with force=true")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest."""
    replace_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def write_config(folder: Path, plain: Mapping[str, Any]) -> None:
    """Write the resolved configuration for people to read."""
    from omegaconf import OmegaConf  # noqa: PLC0415 -- finished runs are skipped without it

    replace_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(plain))))


def kept_of(records: Records, left_out: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """The rows of samples.csv for the records of a run, one after the other.

    Left out are `FIRST_STAGE` and the parts in `NOT_IN_SAMPLES` and in `left_out`; `position` is
    added as first cell.
    Parts that only some records have are the last cells of all rows.
    """
    found = {key for record in records for key in _ONLY_SOMETIMES if key in record}
    sometimes = [key for key in _ONLY_SOMETIMES if key in found]
    without = {FIRST_STAGE, *NOT_IN_SAMPLES, *sometimes, *left_out}
    for position, record in enumerate(records):
        kept = {key: value for key, value in record.items() if key not in without}
        yield {"position": position, **kept, **{key: record.get(key) for key in sometimes}}


def write_samples(folder: Path, records: Records) -> None:
    """Write the records of a run, at least one, in dataset order."""
    rows = kept_of(records)
    first = next(rows)

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as handle:
            _write_csv(handle, list(first), chain([first], rows))

    replace_file(folder / SAMPLES, write)


def write_metrics(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write tidy metrics, one row per metric."""
    replace_text(folder / METRICS, csv_text(METRIC_COLUMNS, rows))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _value(cell: str, *, is_text: bool) -> Any:
    if cell == "" or is_text:
        return cell or None
    try:
        return parse_json(cell)
    except ValueError:
        return cell
