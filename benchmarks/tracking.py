"""What tracking adds to a run, in seconds of the processor; `python benchmarks/tracking.py`.

The records of a committed run are told to a tracker (offline) as a run tells it, without the model,
so that the numbers are those of tracking alone.  Every image is a point of the history, although a
run shows one every 2 seconds at most.  Processes with one run and with several show what a process
costs once (imports, the tracker's service) and what each run costs.  Children count, too.
"""

import argparse
import csv
import gzip
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import timing
import torch  # a run imports it anyway

from bigain.config import TrackingConfig
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.runs.archive import Archive
from bigain.runs.files import SAMPLES
from bigain.tracking import dashboard
from bigain.tracking.finished import finished_run
from bigain.tracking.sink import TrackedRun, build_sinks

__all__ = ["main"]

_RESULTS = Path(__file__).parents[1] / "results"
_RUNS = 5
_TRACKERS = ["wandb", "trackio"]
_COLUMNS = ("tracker", "once_s", "run_s", "images", "first_run_s", "reference_s", "share_percent")


def main() -> None:
    """Write one row per tracker to standard output, and to `--csv`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trackers", nargs="+", choices=_TRACKERS, default=_TRACKERS)
    parser.add_argument("--rounds", type=timing.positive, default=3)
    parser.add_argument("--csv", type=Path, help="a file for the rows")
    parser.add_argument("--one", nargs=2, metavar=("TRACKER", "RUNS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _track(options.one[0], int(options.one[1]))
        return
    file = timing.RowFile(options.csv, timing.conditions())
    for tracker in options.trackers:
        file.add(**_row(tracker, options.rounds))
        print(*file.rows[-1].items())


def _row(tracker: str, rounds: int) -> dict[str, str | int | float]:
    none = [_process("none", 1) for _ in range(rounds)]
    single = [_process(tracker, 1) for _ in range(rounds)]
    several = [_process(tracker, _RUNS) for _ in range(rounds)]
    run = (statistics.median(several) - statistics.median(single)) / (_RUNS - 1)
    first = statistics.median(single) - statistics.median(none)
    _, reference, images = _reference()
    share = 100 * first / reference
    values = (tracker, round(first - run, 2), round(run, 2), images, round(first, 2))
    return dict(zip(_COLUMNS, (*values, round(reference), round(share, 2)), strict=True))


def _process(tracker: str, runs: int) -> float:
    """Seconds of the processor of a process that shows this many runs."""
    before = os.times()
    command = [sys.executable, __file__, "--one", tracker, str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    own = after.children_user + after.children_system
    return own - before.children_user - before.children_system


def _track(tracker: str, runs: int) -> None:
    run_id, _, images = _reference()
    given = finished_run(Archive(_RESULTS, "mini"), run_id)
    config = {**given.view.config, "device": "cpu", "shard": {"index": 0, "count": 1}}
    told = ["tracking.mode=offline"] if tracker != "none" else []
    tracking: TrackingConfig = compose_config([f"tracking={tracker}", *told]).tracking
    dashboard._SECONDS_BETWEEN_POINTS = 0.0
    logging.getLogger("bigain.tracking").addHandler(_Stop())
    torch.zeros(1)
    with tempfile.TemporaryDirectory() as results:
        for at in range(runs):
            folder = Path(results) / "runs" / f"{at:08x}00000000"  # Trackio sees the first eight
            folder.mkdir(parents=True)
            packed = _RESULTS / "mini" / "samples" / f"{run_id}.csv.gz"
            (folder / SAMPLES).write_bytes(gzip.decompress(packed.read_bytes()))
            sinks = build_sinks(tracking)
            sinks.start(TrackedRun(folder.name, folder, config, tracking, images, []))
            for record in given.records:
                sinks.record(record)
            sinks.finish(given.metrics)
        if tracker == "wandb":
            import wandb  # noqa: PLC0415 -- its service counts when it has ended

            wandb.teardown()


class _Stop(logging.Handler):
    """A tracker that stopped with a warning would cost nothing more."""

    def emit(self, record: logging.LogRecord) -> None:
        """End the process."""
        raise SystemExit(record.getMessage())


def _reference() -> tuple[str, float, int]:
    """The committed mini classification run of median length: id, seconds, images."""
    found: list[tuple[float, str, int]] = []
    for path in sorted((_RESULTS / "mini" / "manifests").glob("*.json")):
        manifest = json.loads(path.read_text())
        is_measured = "image_seconds" in manifest
        if is_measured and manifest["config"]["task"]["name"] == "classification":
            with gzip.open(_RESULTS / "mini" / "samples" / f"{path.stem}.csv.gz", "rt") as handle:
                images = sum(1 for _ in csv.reader(handle)) - 1
            if images == 400:
                found.append((float(manifest["image_seconds"]), path.stem, images))
    seconds, run_id, images = sorted(found)[len(found) // 2]
    return run_id, seconds, images


if __name__ == "__main__":
    sys.exit(in_one_line(main))
