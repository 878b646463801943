"""`bigain status`: the runs on disk, what they are and how far.

What the manifest calls running is shown as interrupted if no process is at work on it, and a run
whose files cannot be read is shown as damaged.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import SETTING_COLUMNS
from bigain.errors import UserError
from bigain.runs.files import need_results
from bigain.runs.journal import count_records
from bigain.runs.store import RunStore, run_folders

__all__ = ["COLUMNS", "main", "status_rows"]

COLUMNS = (
    *("run_id", "status", "images_done", "images_needed", "profile", "backbone", "dataset"),
    *("task", "operator", *SETTING_COLUMNS, "seed", "error"),
)
_LONGEST_ERROR = 60


def main(arguments: Sequence[str]) -> int:
    """Print one row per run."""
    parser = VerbParser("status", "List the runs on disk.")
    parser.add_argument(
        "--format", choices=[*_FORMATS], default="text", help="text for people (default), csv, json"
    )
    options = parser.parse_args(arguments)
    results = results_folder(options.results)
    need_results(results)
    rows = status_rows(results)
    if not rows and options.format == "text":
        sys.stdout.write(f"no run in {results / 'runs'}\n")
    else:
        sys.stdout.write(_FORMATS[options.format](rows))
    return 0


def status_rows(results: Path) -> list[dict[str, Any]]:
    """One row of `COLUMNS` per run in `results`, sorted as their settings read."""
    rows = [_row(results, folder) for folder in run_folders(results)]
    return sorted(rows, key=lambda row: [str(row[key]) for key in COLUMNS[4:-1]])


def _row(results: Path, folder: Path) -> dict[str, Any]:
    try:
        known = _known(RunStore(results, folder.name))
    except UserError as damage:
        known = {"run_id": folder.name, "status": "damaged", "error": str(damage)}
    return {key: known.get(key) for key in COLUMNS}


def _known(store: RunStore) -> dict[str, Any]:
    """What the run's folder says; UserError if its manifest or a journal is damaged."""
    manifest = store.manifest()
    status, needed = manifest["status"], manifest["n_images"]
    done = needed if status == "done" else min(count_records(store.folder), needed)
    if status == "running" and not store.is_open():
        status = "interrupted"
    return {
        **manifest["columns"],
        "status": status,
        "images_done": done,
        "images_needed": needed,
        "error": manifest.get("error"),
    }


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = ["run_id", "status", "images", "backbone", "operator", "settings", "seed", "error"]
    return tabulate([_cells(row) for row in rows], heads, disable_numparse=True) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    known = row["images_needed"] is not None
    images = f"{row['images_done']}/{row['images_needed']}" if known else "?"
    settings = [f"{key}={row[key]}" for key in SETTING_COLUMNS if row[key] is not None]
    error = " ".join((row["error"] or "").split())[:_LONGEST_ERROR]
    named = [row["run_id"], row["status"], images, row["backbone"] or "?", row["operator"] or "?"]
    return [*named, " ".join(settings), str(row["seed"]) if known else "?", error]


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2) + "\n"


_FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
}
