"""Sinks: they receive the records and metrics of a run, beside the run store.

A sink only shows a run.  If one fails (its server is down, its quota used up), the run continues:
there is one warning, and this sink is not called again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bigain.config import TrackingConfig

__all__ = ["SINKS", "Sink", "Sinks", "TrackedRun", "build_sinks"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """A run as its sinks see it when it starts.

    Attributes:
        run_id: Name of the run; the same for every restart and every shard of it.
        title: The run in a few words.
        folder: Its folder in the run store.
        config: The resolved configuration as plain data.
        num_records: Records of the whole run.
        num_done: Records on disk before this process computes any.

    """

    run_id: str
    title: str
    folder: Path
    config: Mapping[str, Any]
    num_records: int
    num_done: int


class Sink(Protocol):
    """One tracker of one run.  Calls come in this order: start, records, then finish or fail."""

    def start(self, run: TrackedRun) -> None:
        """The run is open; the process now computes the missing records."""
        ...

    def record(self, record: Mapping[str, Any]) -> None:
        """A record of the run is on disk."""
        ...

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:
        """The process has finished its part of the run.

        Args:
            metrics: The rows of metrics.csv; empty while other shards have records left.

        """
        ...

    def fail(self, error: BaseException) -> None:
        """The run failed or was interrupted; it may be started again."""
        ...


class Sinks:
    """Several sinks as one that never raises."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = list(sinks)

    def start(self, run: TrackedRun) -> None:  # noqa: D102
        self._each(lambda sink: sink.start(run))

    def record(self, record: Mapping[str, Any]) -> None:  # noqa: D102
        self._each(lambda sink: sink.record(record))

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        self._each(lambda sink: sink.finish(metrics))

    def fail(self, error: BaseException) -> None:  # noqa: D102
        self._each(lambda sink: sink.fail(error))

    def _each(self, call: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:
                self._sinks.remove(sink)
                _LOG.warning(
                    "tracking: %s stopped (%s: %s); the run continues, its results are on disk",
                    *(type(sink).__name__, type(error).__name__, error),
                )


SINKS: Mapping[str, Callable[[TrackingConfig], Sequence[Sink]]] = {"none": lambda _config: ()}
"""`tracking.name` -> function that makes its sinks."""


def build_sinks(config: TrackingConfig) -> Sinks:
    """The sinks of a run.  Raises UserError if the tracker is not installed."""
    return Sinks(SINKS[config.name](config))
