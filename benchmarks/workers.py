"""Images per second of one and of two workers on this machine; `python benchmarks/workers.py`.

A worker is a process with one thread that classifies its shard of a run, with the defaults of the
protocol.  Rounds of one worker and of two come in turn, each in a new folder.  The time at which a
record appears in a journal is noted.  Only the time counts in which all workers of a round are at
work, from the last first record to the first last one, and in it each worker's own records.  Images
share batches, so several records come at once: a worker's rate is the slope of a straight line
through all its records, which does not depend on how many come at the ends.

The machine must have nothing else to do, and a core for each worker.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timing

from bigain.errors import in_one_line

__all__ = ["main", "rate"]

_LOOK = 0.01
_MINI = ["mini_dit", "mini_unet"]


def main() -> None:
    """Print the rates and their ratios, and write them as CSV if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=_MINI, default=_MINI)
    parser.add_argument("--workers", type=timing.positive, default=2)
    parser.add_argument(
        "--images", type=timing.at_least(3), default=16, help="of each worker; at least 3"
    )
    parser.add_argument("--rounds", type=timing.positive, default=2)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    file = timing.RowFile(arguments.csv, {**timing.conditions(), "threads": 1})
    for backbone in arguments.backbones:
        ratios = []
        for number in range(arguments.rounds):
            one = _measured(backbone, 1, arguments.images)
            several = _measured(backbone, arguments.workers, arguments.images)
            ratios.append(several / one)
            for workers, found in ((1, one), (arguments.workers, several)):
                file.add(
                    backbone=backbone,
                    workers=workers,
                    round=number,
                    images_per_s=round(found, 4),
                    times_one_worker=round(found / one, 4),
                )
        print(
            f"{backbone}: {arguments.workers} workers reach {timing.spread(ratios)} times "
            f"the images per second of one, {arguments.rounds} rounds",
            flush=True,
        )


def rate(arrivals: list[list[float]]) -> float:
    """Images per second of all workers together.

    Args:
        arrivals: For each worker the times of its records, in s, increasing.

    Raises:
        ValueError: A worker has less than two records while all are at work.

    """
    begin, end = max(times[0] for times in arrivals), min(times[-1] for times in arrivals)
    total = 0.0
    for times in arrivals:
        common = [moment for moment in times if begin <= moment <= end]
        if len(common) < 2:
            raise ValueError("the workers were not at work at the same time: take more images")
        total += statistics.linear_regression(common, range(len(common))).slope
    return total


def _measured(backbone: str, workers: int, images: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        command = [sys.executable, "-m", "bigain", f"backbone={backbone}", "threads=1"]
        command += [f"dataset.limit={workers * images}", f"paths.results={results}"]
        command += [f"paths.cache={results / 'cache'}", f"shard.count={workers}"]
        processes = [
            subprocess.Popen(
                [*command, f"shard.index={index}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for index in range(workers)
        ]
        arrivals = _arrivals(results, processes)
        if any(process.wait() for process in processes):
            raise SystemExit(f"a worker failed: {' '.join(command)} shard.index=0")
    return rate(arrivals)


def _arrivals(results: Path, processes: list[subprocess.Popen[bytes]]) -> list[list[float]]:
    """For each worker the times at which its records were first seen."""
    count = len(processes)
    arrivals: list[list[float]] = [[] for _ in processes]
    are_at_work = True
    while are_at_work:
        are_at_work = any(process.poll() is None for process in processes)
        for index in range(count):
            for path in results.glob(f"runs/*/journal-{index}of{count}.jsonl"):
                new = path.read_bytes().count(b"\n") - len(arrivals[index])
                arrivals[index] += [time.perf_counter()] * new
        time.sleep(_LOOK)
    return arrivals


if __name__ == "__main__":
    sys.exit(in_one_line(main))
