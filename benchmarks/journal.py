"""Cost of a journal of many records: opening, appending, counting; `python benchmarks/journal.py`.

For each number of classes and records it writes a journal of made-up records as a classification
writes them, opens the run (`opened_s`: which images are done), appends (`append_ms`, on disk), asks
how far the run is as `bigain status` does (`status_s`), and reads every record whole for comparison
(`parsed_s`).  `bytes_per_image` is the memory of an open session, `peak_mb` that of the process,
which measures one journal only.  With --runs it also times `bigain status` over so many runs.
Times are wall times; the process's own times are beside them.  Journals of more than 100 million
scores, 5 GB, are left out.
"""

import argparse
import json
import random
import resource
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timing

from bigain.cli.status import status_rows
from bigain.errors import in_one_line
from bigain.runs.errors import packed
from bigain.runs.files import FIRST_STAGE, make_results
from bigain.runs.identity import run_id
from bigain.runs.journal import count_records, iterate_journals, journal_name
from bigain.runs.session import RunSession
from bigain.runs.store import RunStore

__all__ = ["main"]

_SETTINGS = Path(__file__).parents[1] / "tests" / "run_settings.json"
_APPENDED = 200
_RECORDS_OF_A_RUN = 300
_MOST_SCORES = 100_000_000


def main() -> None:
    """Measure, print, and write a CSV if told so."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--records", type=timing.positive, nargs="+", default=[10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--classes", type=timing.positive, nargs="+", default=[10, 1000])
    parser.add_argument(
        "--runs", type=timing.at_least(0), default=0, help="also time status over so many runs"
    )
    parser.add_argument("--folder", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--csv", type=Path, help="a file for the rows of journals")
    options = parser.parse_args()
    if options.folder is not None:
        make_results(options.folder, "--folder")
    file = timing.RowFile(options.csv, timing.conditions())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for classes, records in product(options.classes, options.records):
            if classes * records <= _MOST_SCORES:
                place = Path(folder) / f"{classes}-{records}"
                file.add(**timing.in_fresh_process(_apart, place, classes, records))
                print(json.dumps(file.rows[-1]), flush=True)
        if options.runs:
            _many_runs(Path(folder) / "first", 1)
            print(json.dumps(_many_runs(Path(folder) / "many", options.runs)), flush=True)


def _apart(place: Path, classes: int, records: int) -> dict[str, Any]:
    """The row of a journal, from a process that has imported what a run imports."""
    _many_runs(place / "first", 1)
    return _journal(place / "own", classes, records)


def _journal(results: Path, classes: int, records: int) -> dict[str, Any]:
    config = json.loads(_SETTINGS.read_text("utf-8"))
    store = RunStore(results, run_id(config))
    store.folder.mkdir(parents=True)
    path = store.folder / journal_name(0, 1)
    with path.open("w", encoding="utf-8") as handle:
        handle.writelines(_lines(classes, records))
    size = path.stat().st_size
    image_ids = range(records + _APPENDED)
    row: dict[str, Any] = {
        "classes": classes,
        "records": records,
        "megabytes": round(size / 1e6, 1),
    }
    tracemalloc.start()
    with store.open(config, image_ids, {}) as session:
        row["bytes_per_image"] = round(tracemalloc.get_traced_memory()[0] / records, 1)
    tracemalloc.stop()
    started = _now()
    with store.open(config, image_ids, {}) as session:
        row |= _since("opened", started)
        row["append_ms"] = _append(session, classes)
    row |= _timed("status", lambda: count_records(store.folder))
    row |= _timed("parsed", lambda: sum(1 for _ in iterate_journals(store.folder)))
    path.unlink()
    return {**row, "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)}


def _append(session: RunSession, classes: int) -> float:
    records = [_record(image_id, classes) for image_id in session.todo()]
    started = time.perf_counter()
    for record in records:
        session.append(record)
    return round(1e3 * (time.perf_counter() - started) / len(records), 3)


def _many_runs(results: Path, runs: int) -> dict[str, Any]:
    config = json.loads(_SETTINGS.read_text("utf-8"))
    lines = "".join(_lines(10, _RECORDS_OF_A_RUN))
    for seed in range(runs):
        own = {**config, "seed": seed}
        store = RunStore(results, run_id(own))
        with store.open(own, range(2 * _RECORDS_OF_A_RUN), {}):
            (store.folder / journal_name(0, 1)).write_text(lines, encoding="utf-8")
    return {"runs": runs, **_timed("status", lambda: len(status_rows(results)))}


def _lines(classes: int, records: int) -> Iterator[str]:
    """The lines of so many records; only their image ids differ, to write them quickly."""
    rest = json.dumps(_record(0, classes)).removeprefix('{"image_id": 0')
    return (f'{{"image_id": {image_id}{rest}\n' for image_id in range(records))


def _record(image_id: int, classes: int) -> dict[str, Any]:
    draw = random.Random(image_id)
    label = image_id % classes
    return {
        "image_id": image_id,
        "label": label,
        "prediction": label,
        "correct": True,
        "scores": [draw.random() for _ in range(classes)],
        "trials": [20] * min(5, classes) + [5] * max(0, classes - 5),
        "true_errors": [draw.random() for _ in range(20)],
        "margin_mean": draw.random(),
        "margin_variance": draw.random(),
        FIRST_STAGE: packed(range(5), np.full((5, classes), draw.random(), np.float32)),
        "seconds": 1.234,
    }


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(name: str, started: tuple[float, float]) -> dict[str, float]:
    wall, own = (now - then for now, then in zip(_now(), started, strict=True))
    return {f"{name}_s": round(wall, 3), f"{name}_cpu_s": round(own, 3)}


def _timed(name: str, work: Callable[[], object]) -> dict[str, float]:
    started = _now()
    work()
    return _since(name, started)


if __name__ == "__main__":
    sys.exit(in_one_line(main))
