"""W&B: one W&B run for each run, under the same id (https://docs.wandb.ai).

The W&B run is a view.  Its step is the number of records on disk, so a run that was killed goes on
where its records end, and no step is there twice.  Of a run in shards, the process that evaluates
it shows the whole of it at once.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from bigain.config import TrackingConfig
from bigain.devices import peak_memory, resolve_device
from bigain.runs.files import SAMPLES, read_csv
from bigain.runs.images import GRID
from bigain.tracking.pictures import (
    HARDEST_COLUMNS,
    confusion_counts,
    confusion_picture,
    hardest_images,
)
from bigain.tracking.sink import TrackedRun
from bigain.tracking.view import HIGHER_IS_BETTER, Progress, View, history, summary

__all__ = ["WandbSink", "open_run", "show_result"]

_SECONDS_TO_ANSWER = 12
"""W&B may take this long to answer at the start of a run, and again at its end."""

_SECONDS_BETWEEN_POINTS = 2.0
"""Points of the history are at least this far apart."""


class WandbSink:
    """The tracker `wandb`."""

    def __init__(self) -> None:
        self._run: Any = None

    def start(self, run: TrackedRun) -> None:
        """Open the W&B run, or continue it."""
        self._tracked = run
        judged = [each["correct"] for each in run.done if each.get("correct") is not None]
        self._progress = Progress(len(run.done), sum(map(bool, judged)))
        self._next_point = time.monotonic()
        if not run.is_sharded:
            self._run = self._opened()

    def record(self, record: Mapping[str, Any]) -> None:
        """A point of the history, if the last one is long enough ago or this is the last record."""
        point = self._progress.add(record)
        is_last = self._progress.done == self._tracked.num_records
        if self._run is None:
            return
        if time.monotonic() < self._next_point and not is_last:
            return
        self._next_point = time.monotonic() + _SECONDS_BETWEEN_POINTS
        memory = peak_memory(resolve_device(self._tracked.config["device"]))
        more = {"images_per_s": self._progress.rate(), "peak_memory_gib": memory / 2**30}
        self._run.log({**point, **more}, step=self._progress.done)

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """The final metrics and pictures; of a run in shards the history as well."""
        if metrics:
            folder = self._tracked.folder
            records = read_csv(folder / SAMPLES)
            if self._run is None:
                self._run = self._opened()
                for step, point in history(records):
                    self._run.log(point, step=step)
            show_result(self._run, metrics, records, folder / GRID)
        if self._run is not None:
            self._run.finish()

    def fail(self, error: BaseException) -> None:
        """The W&B run is marked as failed; it continues when the run does."""
        del error
        if self._run is not None:
            self._run.finish(exit_code=1)

    def _opened(self) -> Any:
        run = self._tracked
        view = View.of(run.run_id, run.config, run.tracking.group, run.tracking.tags)
        return open_run(view, run.tracking, run.folder.parent.parent)


def open_run(view: View, tracking: TrackingConfig, results: Path) -> Any:
    """The W&B run of `view`, new or continued; its files are in `results`/wandb.

    Raises:
        Exception: W&B cannot be reached, or refuses the key; see `wandb.init`.

    """
    run = wandb.init(
        id=view.run_id,
        name=view.name,
        job_type=view.job_type,
        group=view.group,
        tags=view.tags,
        config=dict(view.config),
        project=tracking.project or os.environ.get("WANDB_PROJECT") or "bigain",
        entity=tracking.entity,
        mode=tracking.mode,
        dir=results,
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(**_QUICK, **_PRIVATE),
    )
    for name, is_higher_better in HIGHER_IS_BETTER.items():
        run.define_metric(name, summary="max" if is_higher_better else "min")
    return run


def show_result(
    run: Any,
    metrics: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
    grid: Path,
) -> None:
    """Give an open W&B run the final metrics, and what pictures and tables its records allow."""
    run.summary.update(summary(metrics))
    media: dict[str, Any] = {}
    counts, hardest = confusion_counts(records), hardest_images(records)
    if counts is not None:
        media["confusion_matrix"] = wandb.Image(confusion_picture(counts))
    if hardest:
        media["hardest_images"] = wandb.Table(
            columns=[*HARDEST_COLUMNS], data=[list(row) for row in hardest]
        )
    if grid.is_file():
        media["samples"] = wandb.Image(str(grid))
    if media:
        run.log(media, step=len(records))


_QUICK: Mapping[str, Any] = {
    "console": "off",
    "silent": True,
    **dict.fromkeys(("init_timeout", "login_timeout", "finish_timeout"), _SECONDS_TO_ANSWER),
}

_PRIVATE: Mapping[str, Any] = {
    **dict.fromkeys(("disable_git", "x_disable_stats", "x_disable_meta"), True),
    **dict.fromkeys(("x_disable_machine_info", "disable_job_creation"), True),
    **dict.fromkeys(("save_code", "x_save_requirements"), False),
    **dict.fromkeys(("host", "username", "email"), "-"),
}
"""W&B would record user, host, home folder, command line and environment."""
