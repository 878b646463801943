"""The files of a run folder: config.yaml, manifest.json, samples.csv, metrics.csv (contract C2).

Each file is replaced atomically.  manifest.json is written last and says `done`, so a reader who
finds `done` also finds the other files complete.  samples.csv holds only what every execution
agrees on; so it is the same file, byte for byte, after any number of kills and with any number of
shards.  Times are in journal and manifest.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigain.errors import UserError
from bigain.files import replace_text
from bigain.runs.identity import DESCRIBING_COLUMNS

if TYPE_CHECKING:
    from bigain.metrics import Metric  # loads pandas, which a finished run does not need

__all__ = [
    "CONFIG",
    "MANIFEST",
    "METRICS",
    "METRIC_COLUMNS",
    "NOT_IN_SAMPLES",
    "SAMPLES",
    "Evaluate",
    "Evaluation",
    "Record",
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

METRIC_COLUMNS = (*DESCRIBING_COLUMNS, "metric", "value", "n", "ci_low", "ci_high", "unit")
NOT_IN_SAMPLES = ("seconds", "adopted_from", "images_per_forward")
"""Parts of a journal record that depend on when and where it was made."""

_ONLY_SOMETIMES = ("failure",)
"""Parts that a record has only if there is something to say; then all of the run have a cell."""

_READ_FROM_MANIFEST = (
    *("run_id", "family_id", "baseline_id", "status", "columns", "config"),
    *("n_images", "wall_seconds"),
)


Record = dict[str, Any]
"""What a run stores about one image: plain JSON data with at least `image_id`."""


@dataclass(frozen=True)
class Evaluation:
    """The result of a run: its records, in dataset order, and the metrics of all of them."""

    records: Sequence[Record]
    metrics: Sequence["Metric"]


Evaluate = Callable[[list[Record]], Evaluation]
"""Records of all images in dataset order -> the result of the run."""


def check_results(results: Path) -> None:
    """Raise UserError unless `results` is, or could become, a folder to write to; make nothing."""
    nearest = next(path for path in [results, *results.absolute().parents] if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        place = "" if nearest == results else f" ({nearest} is not)"
        raise UserError(f"paths.results={results}: allowed: a folder one can write to{place}")


def make_results(results: Path) -> None:
    """Make the folder `results` if there is none.  Raises UserError if that cannot be done."""
    check_results(results)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = "allowed: a folder one can write to"
        raise UserError(f"paths.results={results}: {allowed} ({error.strerror})") from error


def need_results(results: Path) -> None:
    """Raise UserError unless `results` is a folder that exists."""
    if not results.is_dir():
        wrong = "is not a folder" if results.exists() else "does not exist"
        allowed = "the folder that holds runs/, such as --results DIR"
        raise UserError(f"paths.results={results}: {wrong}; allowed: {allowed}")


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV: strings as they are, other values as JSON, None and not-a-number empty.

    Raises:
        ValueError: A row has other keys than `columns`.

    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(f"row has columns {sorted(row)}, expected {sorted(columns)}")
        writer.writerow([_cell(row[column]) for column in columns])
    return buffer.getvalue()


def read_csv(path: Path, text: Collection[str] = ()) -> list[dict[str, Any]]:
    """The rows that `csv_text` wrote, with the very same numbers; empty cells are None.

    A cell that is no JSON is a string, and so is every cell of the columns `text`.

    Raises:
        UserError: There is no such file, or it is no such table.

    """
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(path, error) from error
    if any(None in row or None in row.values() for row in lines):
        raise unreadable(path, ValueError("a line has not as many cells as there are columns"))
    return [{key: _value(cell, is_text=key in text) for key, cell in row.items()} for row in lines]


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file of a finished run that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) else error
    return UserError(f"{path}: cannot be read ({reason}); do the run again with force=true")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the run in `folder`, None if there is none.

    Raises:
        UserError: The file is damaged: cut short, no JSON object, or without what all of ours have.

    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        manifest = None
    if not isinstance(manifest, dict) or not manifest.keys() >= set(_READ_FROM_MANIFEST):
        raise UserError(f"{path}: is damaged; delete it, or do the run again with force=true")
    return manifest


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest."""
    replace_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def write_config(folder: Path, plain: Mapping[str, Any]) -> None:
    """Write the resolved configuration for people to read."""
    from omegaconf import OmegaConf  # noqa: PLC0415 -- finished runs are skipped without it

    replace_text(folder / CONFIG, OmegaConf.to_yaml(OmegaConf.create(dict(plain))))


def kept_of(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of samples.csv for the records of a run, given in dataset order.

    Without what depends on when they were made, with their `position` as first cell; if a record
    says why its image failed, the others have an empty cell for it at their end.
    """
    said = [key for key in _ONLY_SOMETIMES if any(key in record for record in records)]
    rows = []
    for position, record in enumerate(records):
        left_out = (*NOT_IN_SAMPLES, *said)
        kept = {key: value for key, value in record.items() if key not in left_out}
        rows.append({"position": position, **kept, **{key: record.get(key) for key in said}})
    return rows


def write_samples(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the records, given in dataset order."""
    rows = kept_of(records)
    replace_text(folder / SAMPLES, csv_text(list(rows[0]), rows))


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
        return json.loads(cell)
    except ValueError:
        return cell
