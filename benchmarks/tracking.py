"""What tracking adds to a run; `python benchmarks/tracking.py`.

Runs without a tracker and with each of `--trackers` (offline), interleaved for `--rounds` rounds,
each in a process and a results folder of its own.  A run has a cost that does not depend on its
images (imports, W&B's service, pictures), and one for each image: runs of `--images` sizes show
both.  It prints seconds of the processor, those of W&B's service included, which other work on the
machine disturbs less than time, and the time.  Settings after `--` go to every run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

__all__ = ["main"]

Cost = tuple[float, float]
"""Seconds of the processor, seconds of time."""


def main() -> None:
    """Print one line per size and tracker, and the difference to the run without one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trackers", nargs="+", default=["wandb"], metavar="NAME")
    parser.add_argument("--images", nargs="+", type=int, default=[25, 200], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("settings", nargs="*", default=["backbone=mini_unet", "operator=todo"])
    arguments = parser.parse_args()
    _say("images  tracker    processor s (range)       time s    more than none: processor s, %")
    for images in arguments.images:
        settings = [*arguments.settings, f"dataset.limit={images}"]
        costs = _interleaved(["none", *arguments.trackers], settings, arguments.rounds)
        for tracker, measured in costs.items():
            _say(_line(images, tracker, measured, costs["none"]))


def _interleaved(
    trackers: Sequence[str], settings: Sequence[str], rounds: int
) -> dict[str, list[Cost]]:
    """Costs of every run; one round makes one run with each tracker."""
    costs: dict[str, list[Cost]] = {tracker: [] for tracker in trackers}
    for _ in range(rounds):
        for tracker in trackers:
            chosen = [] if tracker == "none" else ["tracking.mode=offline"]
            costs[tracker].append(_cost([*settings, f"tracking={tracker}", *chosen]))
    return costs


def _cost(settings: Sequence[str]) -> Cost:
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "bigain", *settings, f"paths.results={results}"]
        started, used = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        now = os.times()
        processor = now.children_user + now.children_system
        processor -= used.children_user + used.children_system
        return processor, time.perf_counter() - started


def _line(images: int, tracker: str, costs: Sequence[Cost], none: Sequence[Cost]) -> str:
    processor = [each[0] for each in costs]
    more = [own[0] - other[0] for own, other in zip(costs, none, strict=True)]
    share = 100 * statistics.median(more) / statistics.median(each[0] for each in none)
    return (
        f"{images:6d}  {tracker:8s}  {statistics.median(processor):8.2f} "
        f"({min(processor):.2f}-{max(processor):.2f})  "
        f"{statistics.median(each[1] for each in costs):8.2f}   "
        f"{statistics.median(more):+.2f} ({min(more):+.2f} to {max(more):+.2f}), {share:.1f} %"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
