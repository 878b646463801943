"""`bigain status`: the runs on disk, what they are, how far and how fast.

What the manifest calls running is shown as interrupted if no process, on any node, is at work on
it, and a run whose files cannot be read is shown as damaged.  Runs that wait in a sweep are pending
as long as the process that launched the sweep is there.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import SETTING_COLUMNS
from bigain.errors import UserError
from bigain.files import csv_text
from bigain.runs.beats import Beat, file_clock, is_alive, whereabouts
from bigain.runs.files import need_results
from bigain.runs.journal import count_records
from bigain.runs.progress import duration
from bigain.runs.store import RunStore, run_folders
from bigain.runs.sweeps import sweep_folders

__all__ = ["COLUMNS", "main", "status_rows"]

COLUMNS = (
    *("run_id", "status", "images_done", "images_needed", "profile", "backbone", "dataset"),
    *("task", "operator", *SETTING_COLUMNS, "seed", "error"),
    *("images_per_s", "eta_s", "at_work", "shards_left", "overrides"),
)
_SORTED = COLUMNS[4 : COLUMNS.index("error")]
_LONGEST_ERROR = 60
_SECONDS = 2.0


def main(arguments: Sequence[str]) -> int:
    """Print one row per run."""
    parser = VerbParser("status", "List the runs on disk.")
    parser.add_argument(
        "--format", choices=[*_FORMATS], default="text", help="text for people (default), csv, json"
    )
    parser.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=_SECONDS,
        metavar="SECONDS",
        help=f"show it again and again, every {_SECONDS:g} seconds if not told otherwise",
    )
    options = parser.parse_args(arguments)
    results = results_folder(options.results)
    need_results(results)
    if options.watch is None:
        sys.stdout.write(_shown(results, options.format))
        return 0
    if options.watch <= 0 or options.format != "text":
        allowed = "a number of seconds above 0, with --format text"
        raise UserError(f"--watch={options.watch:g} --format={options.format}: allowed: {allowed}")
    return _watch(results, options.watch)


def status_rows(results: Path) -> list[dict[str, Any]]:
    """One row of `COLUMNS` per run in `results`, sorted as their settings read; pending runs last.

    Rates are images per second, and `eta_s` is in seconds, of all shards at work together.
    """
    clock = file_clock(results)
    waiting = _waiting(results, clock)
    rows = [_row(results, folder, clock) for folder in run_folders(results)]
    for row in rows:
        overrides = waiting.pop(row["run_id"], None)
        if overrides is not None and row["status"] in ("interrupted", "failed"):
            row |= {"status": "pending", "overrides": overrides}
    rows.sort(key=lambda row: [str(row[key]) for key in _SORTED])
    new = {"status": "pending"}
    return rows + [
        dict.fromkeys(COLUMNS) | new | {"run_id": run_id, "overrides": overrides}
        for run_id, overrides in waiting.items()
    ]


def _watch(results: Path, seconds: float) -> int:
    from rich.console import Console  # noqa: PLC0415 -- dear to import

    console = Console()
    try:
        while True:
            shown = _shown(results, "text")
            console.clear()
            sys.stdout.write(f"{shown}\n")
            sys.stdout.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0


def _shown(results: Path, form: str) -> str:
    rows = status_rows(results)
    if not rows and form == "text":
        return f"no run in {results / 'runs'}\n"
    return _FORMATS[form](rows)


def _row(results: Path, folder: Path, clock: float) -> dict[str, Any]:
    try:
        known = _known(RunStore(results, folder.name), clock)
    except UserError as damage:
        known = {"run_id": folder.name, "status": "damaged", "error": str(damage)}
    return {key: known.get(key) for key in COLUMNS}


def _known(store: RunStore, clock: float) -> dict[str, Any]:
    """What the run's folder says; UserError if its manifest or a journal is damaged."""
    manifest = store.manifest()
    status, needed = manifest["status"], manifest["n_images"]
    beats = {} if status == "done" else store.beats(clock)
    done = needed if status == "done" else _done(store, [*beats.values()], needed)
    if beats:  # another shard may have failed
        status = "running"
    elif status == "running":
        status = "interrupted"
    return {
        **manifest["columns"],
        "status": status,
        "images_done": done,
        "images_needed": needed,
        "error": manifest.get("error"),
        "shards_left": " ".join(manifest.get("shards_left") or ()) or None,
        **_pace(beats, needed - done),
    }


def _done(store: RunStore, beats: Sequence[Beat], needed: int) -> int:
    """Images with a record: what the shards at work say, if they have all images between them."""
    if beats and sum(beat.get("total", 0) for beat in beats) == needed:
        return sum(int(beat["done"]) for beat in beats)
    return min(count_records(store.folder), needed)


def _pace(beats: Mapping[tuple[int, int], Beat], left: int) -> dict[str, Any]:
    """How fast all shards at work are together, and where they are; {} if there is none."""
    if not beats:
        return {}
    rate = sum(beat.get("images_per_s", 0.0) for beat in beats.values())
    places = [f"{index}of{count}: {whereabouts(beat)}" for (index, count), beat in beats.items()]
    return {
        "images_per_s": round(rate, 4),
        "eta_s": round(left / rate, 1) if rate else None,
        "at_work": "; ".join(places),
    }


def _waiting(results: Path, clock: float) -> dict[str, str]:
    """Run id -> overrides, of the runs that wait in a sweep whose launching process is there."""
    sweeps = [each for each in sweep_folders(results) if is_alive(each.beat, clock)]
    jobs = [job for sweep in sweeps for job in sweep.jobs().values() if job.state == "pending"]
    return {job.run_id: " ".join(job.overrides) for job in jobs}


def _text(rows: Sequence[dict[str, Any]]) -> str:
    heads = ["run_id", "status", "images", "images/s", "left", "backbone", "operator", "settings"]
    table = tabulate(
        [_cells(row) for row in rows], [*heads, "seed", "error"], disable_numparse=True
    )
    return table + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    known = row["images_needed"] is not None
    images = f"{row['images_done']}/{row['images_needed']}" if known else "?"
    rate = "" if row["images_per_s"] is None else f"{row['images_per_s']:.3g}"
    left = "" if row["eta_s"] is None else duration(row["eta_s"])
    settings = [f"{key}={row[key]}" for key in SETTING_COLUMNS if row[key] is not None]
    named = [row["backbone"] or "?", row["operator"] or "?"]
    shown = " ".join(settings) if known else row["overrides"] or ""
    seed = str(row["seed"]) if known else "?"
    return [row["run_id"], row["status"], images, rate, left, *named, shown, seed, _remark(row)]


def _remark(row: dict[str, Any]) -> str:
    """The first line of the error, or which shards are left to do."""
    lines = (row["error"] or "").splitlines()
    if lines:
        return str(lines[0][:_LONGEST_ERROR])
    return f"left to do: {row['shards_left']}" if row["shards_left"] else ""


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(rows, indent=2) + "\n"


_FORMATS: dict[str, Callable[[Sequence[dict[str, Any]]], str]] = {
    "text": _text,
    "csv": partial(csv_text, COLUMNS),
    "json": _json,
}
