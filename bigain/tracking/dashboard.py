"""The sink of every dashboard; a tracker adds a thin client for its own interface.

A dashboard has one page for each run.  A step of a page is the number of records on disk, so a run
that was killed goes on where its records end, and no step is there twice.  Of a run in shards, the
process that evaluates it shows the whole of it at once.

A tracker that did not answer is not asked again in this process: the runs of a sweep wait for it
once.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from bigain.config import TrackingConfig
from bigain.devices import peak_memory, resolve_device
from bigain.errors import UserError
from bigain.runs.archive import Archive
from bigain.runs.files import SAMPLES, read_csv
from bigain.tracking.finished import Finished, Shown, finished_run
from bigain.tracking.pictures import Media
from bigain.tracking.sink import TrackedRun, TurnedOff, build_sink
from bigain.tracking.view import Progress, View, history, with_flops

__all__ = ["Client", "Dashboard", "Page", "build_client", "remember", "show_whole"]

_LOG = logging.getLogger(__name__)

_SECONDS_BETWEEN_POINTS = 2.0
"""Points of the history are at least this far apart."""


_GIVEN_UP: set[type] = set()
"""Clients whose tracker did not answer in this process."""


class Page(Protocol):
    """An open run in a dashboard.  Steps do not fall from call to call."""

    def log(self, point: Mapping[str, float], step: int) -> None:
        """Add a point to the history, unless the page has one at this step from before."""
        ...

    def show(self, metrics: Sequence[Mapping[str, Any]], media: Media, step: int) -> None:
        """Set the final metrics, the rows of metrics.csv, and add pictures and tables."""
        ...

    def finish(self, *, failed: bool = False) -> None:
        """Close the page; a failed run may open it again."""
        ...


class Client(Protocol):
    """The interface of one tracker.

    Attributes:
        name: The tracker; what it was shown is remembered in `<results>/<name>/shown`.
        refusals: What `open` or its page raises if the tracker cannot be reached or refuses.
        remedy: What the user can do about it.
        keeps_steps: Whether a page that is shown anew keeps the steps that it had.

    """

    name: str
    refusals: tuple[type[Exception], ...]
    remedy: str
    keeps_steps: bool

    def place(self, tracking: TrackingConfig) -> str:
        """Where pages go, as the settings and the tracker's own environment say.

        Raises:
            UserError: They say that nothing is shown.

        """
        ...

    def open(self, view: View, tracking: TrackingConfig, results: Path, done: int) -> Page:
        """The page of a run, new or continued; its own files, if any, are below `results`.

        Args:
            view: The fixed part of the page; its run id names the page.
            tracking: What the user told all trackers.
            results: The folder of the run store.
            done: Steps that the page may have from before; 0 if the whole run is shown again.

        Raises:
            Exception: One of `refusals`.

        """
        ...


class Dashboard:
    """The sink that shows a run in the dashboard of `client`."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._page: Page | None = None

    def start(self, run: TrackedRun) -> None:
        """Open the page, or continue it; of a run that lacks no record it opens at the end."""
        self._run = run
        self._progress = Progress(run.config["task"]["name"], run.done)
        self._next_point = time.monotonic()
        done = self._progress.done
        if self._is_given_up:
            return
        with self._asked():
            try:
                self.client.place(run.tracking)
            except UserError as error:
                raise TurnedOff from error
            if not run.is_sharded and done < run.num_records:
                self._page = self._opened(done)

    def record(self, record: Mapping[str, Any]) -> None:
        """A point of the history, if the last one is long enough ago or this is the last record."""
        point = self._progress.add(record)
        is_last = self._progress.done == self._run.num_records
        is_due = is_last or time.monotonic() >= self._next_point
        if self._page is None or not point or not is_due:
            return
        self._next_point = time.monotonic() + _SECONDS_BETWEEN_POINTS
        memory = peak_memory(resolve_device(self._run.config["device"]))
        more = {**self._progress.rate(), "peak_memory_gib": memory / 2**30}
        with self._asked():
            self._page.log({**point, **more}, self._progress.done)

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """The final metrics and pictures; of a run in shards the history as well."""
        if self._is_given_up:
            return
        with self._asked():
            if metrics:
                self._show_result(metrics)
            if self._page is not None:
                self._page.finish()
        if metrics:
            self._remember()

    def fail(self, error: BaseException) -> None:
        """The page is marked as failed; it continues when the run does."""
        del error
        if self._page is not None:
            with self._asked():
                self._page.finish(failed=True)

    def _show_result(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        records = read_csv(self._run.folder / SAMPLES)
        rows = with_flops(metrics, self._run.config)
        finished = Finished(self._view, rows, records, self._run.folder)
        if self._page is None:
            self._page = self._opened(0)
            show_whole(self._page, finished)
        else:
            self._page.show(rows, finished.media, len(records))

    def _remember(self) -> None:
        """`bigain sync-wandb` and `bigain dashboard` leave this page alone."""
        run = self._run
        archive = Archive(run.folder.parent.parent, run.config["profile"])
        with suppress(UserError):  # the tracker's own environment turns it off
            place = self.client.place(run.tracking)
            if archive.is_available(run.run_id):
                shown = Shown(archive.results / self.client.name, place)
                group, tags = run.tracking.group, run.tracking.tags
                remember(self.client, shown, finished_run(archive, run.run_id, group, tags))

    @property
    def _is_given_up(self) -> bool:
        return type(self.client) in _GIVEN_UP

    @contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except self.client.refusals:
            _GIVEN_UP.add(type(self.client))
            self._page = None
            raise

    @property
    def _view(self) -> View:
        run = self._run
        return View.of(run.run_id, run.config, run.tracking.group, run.tracking.tags)

    def _opened(self, done: int) -> Page:
        run = self._run
        return self.client.open(self._view, run.tracking, run.folder.parent.parent, done)


def show_whole(page: Page, run: Finished) -> None:
    """Show all of a finished run on an open page: its history, final metrics and media."""
    for step, point in history(run.records, run.view.job_type):
        page.log(point, step)
    page.show(run.metrics, run.media, len(run.records))


def remember(client: Client, shown: Shown, run: Finished) -> None:
    """Remember that `client` was shown the run; one warning if an older history stays there."""
    if client.keeps_steps and shown.has_other(run):
        _LOG.warning(
            "%s: run %s was shown before with other results: its old history stays there, under "
            "the new summary; another project shows all of it anew",
            *(client.name, run.view.run_id),
        )
    shown.add(run)


def build_client(tracker: str, tracking: TrackingConfig) -> Client:
    """The client of one of the trackers of `tracking`.

    Raises:
        UserError: It is not installed, or no dashboard.

    """
    sink = build_sink(tracker, tracking.trackers[tracker].target)
    if not isinstance(sink, Dashboard):
        raise UserError(f"tracking={tracker}: has no pages; allowed: a dashboard, such as wandb")
    return sink.client
