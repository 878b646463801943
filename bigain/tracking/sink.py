"""Sinks: they receive the records and metrics of a run, beside the run store.

A sink only shows a run.  If one fails (its server is down, its quota used up), the run continues:
there is one warning, and this sink may close its page, but is not called again.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bigain.config import RunConfig, TrackingConfig
from bigain.config.base import import_target
from bigain.errors import UserError

__all__ = ["Sink", "Sinks", "TrackedRun", "TurnedOff", "build_sink", "build_sinks", "tell_finished"]

_LOG = logging.getLogger(__name__)

_SHOW_LATER = {"wandb": "bigain sync-wandb", "trackio": "bigain dashboard"}
"""Tracker -> the command that shows a finished run there."""


class TurnedOff(Exception):  # noqa: N818 -- no error: the user wants it so
    """A sink shows nothing, because the tracker's own environment says so."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as its sinks see it when it starts.

    Attributes:
        run_id: Name of the run; the same for every restart and every shard of it.
        folder: Its folder in the run store.
        config: The resolved configuration as plain data.
        tracking: What the user told all trackers.
        num_records: Records of the whole run.
        done: The records on disk before this process computes any, read each time anew.

    """

    run_id: str
    folder: Path
    config: Mapping[str, Any]
    tracking: TrackingConfig
    num_records: int
    done: Iterable[Mapping[str, Any]]

    @property
    def is_sharded(self) -> bool:
        """Whether other processes compute parts of the run."""
        return int(self.config["shard"]["count"]) > 1


class Sink(Protocol):
    """One tracker of one run.  Calls come in this order: start, records, then finish or fail."""

    def start(self, run: TrackedRun) -> None:
        """The run is open; the process now computes the missing records.

        Raises:
            TurnedOff: This sink will show nothing.

        """
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
    """Several sinks, by the name of their tracker, as one that never raises."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._sinks = dict(sinks)
        self._shown = set(sinks)

    @property
    def are_on(self) -> bool:
        """Whether the run is shown somewhere, now or later: a sink that stopped counts."""
        return bool(self._shown)

    def start(self, run: TrackedRun) -> None:  # noqa: D102
        self._each(lambda sink: sink.start(run))

    def record(self, record: Mapping[str, Any]) -> None:  # noqa: D102
        self._each(lambda sink: sink.record(record))

    def finish(self, metrics: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        self._each(lambda sink: sink.finish(metrics))

    def fail(self, error: BaseException) -> None:  # noqa: D102
        self._each(lambda sink: sink.fail(error))

    def _each(self, call: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                call(sink)
            except TurnedOff:
                del self._sinks[name]
                self._shown.discard(name)
            except Exception as error:
                del self._sinks[name]
                with suppress(Exception):
                    sink.fail(error)
                _LOG.warning(
                    "tracking: %s stopped (%s: %s); the run continues, its results are on disk",
                    *(name, type(error).__name__, " ".join(str(error).split())),
                )


def tell_finished(config: RunConfig, run_id: str) -> None:
    """One line for each tracker of a run that is finished already, and so is not shown again."""
    tracking = config.tracking
    for name in tracking.trackers if tracking.mode != "disabled" else ():
        verb = _SHOW_LATER.get(name)
        profile = "" if config.profile == "mini" else f" --profile {config.profile}"
        remedy = f"; if it is not there, `{verb} {run_id}{profile}` shows it" if verb else ""
        _LOG.warning("tracking=%s: run %s is finished already%s", name, run_id, remedy)


def build_sinks(config: TrackingConfig) -> Sinks:
    """The sinks of a run, one for each tracker.

    Raises:
        UserError: A tracker does not exist or is not installed.

    """
    if config.mode == "disabled":
        return Sinks({})
    return Sinks({name: build_sink(name, each.target) for name, each in config.trackers.items()})


def build_sink(name: str, target: str) -> Sink:
    """The sink of one tracker.

    Args:
        name: The tracker, for messages.
        target: Its class.

    Raises:
        UserError: The class does not exist, or what it needs is not installed.

    """
    try:
        sink: Sink = import_target(target)()
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"tracking={name}: {error}; allowed: a tracker that is installed, such as "
            f'pip install "bigain[{name}]"'
        ) from error
    return sink
