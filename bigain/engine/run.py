"""One run: from a validated configuration to a finished folder in the run store.

A finished run that still has its files, and was made from the weights and data that are there now,
returns at once, without importing torch.  Data and weights
are found before anything is written.  Every record is on disk before the next one is taken from
the task, and the metrics are computed last.
"""

from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bigain.config import RunConfig
from bigain.data.places import warn_of_variable
from bigain.engine.cache_folder import check_cache, named_cache
from bigain.engine.inputs import check_inputs, same_images
from bigain.engine.stopping import Stopping, named_faults
from bigain.runs.files import METRICS, Record, read_csv
from bigain.runs.identity import resolved, run_id
from bigain.runs.images import is_complete
from bigain.runs.progress import Meter
from bigain.runs.provenance import collect
from bigain.runs.store import RunStore
from bigain.tracking.sink import TrackedRun, build_sinks, tell_finished

__all__ = ["RunOutcome", "run"]


@dataclass(frozen=True)
class RunOutcome:
    """The state of a run after `run`.

    Attributes:
        run_id: Its name.
        folder: Its folder in the run store.
        status: `done`, or `running` while other shards have images left.
        computed: Records that this call computed or whose files it regenerated; adopted records do
            not count.
        shards_left: The shards that have images left, such as `2of4`.

    """

    run_id: str
    folder: Path
    status: str
    computed: int
    shards_left: tuple[str, ...] = ()


def run(config: RunConfig, *, progress: bool = True) -> RunOutcome:
    """Do what is left to do of `config`.

    Args:
        config: The run.
        progress: Show how far the run is (`bigain.runs.progress.Meter`); False if the caller does.

    Raises:
        Stopped: SIGTERM was received.
        FaultError: The disk is full, the results are gone, or another process took over the shard.
        UserError: Data, weights or device are not as configured, the finished run was made from
            other data or weights, another process works on the same shard, a lost image does
            not come out as it was, or `paths.cache` cannot be used.

    """
    if config.needs_images:
        warn_of_variable(config.dataset)
    store = RunStore(config.paths.results, run_id(config))
    if store.is_finished() and not config.force:
        check_inputs(config, store)
        if is_complete(config, store):
            tell_finished(config, store.run_id)
            return RunOutcome(store.run_id, store.folder, "done", computed=0)

    from bigain.devices import choose_threads, limited_threads  # noqa: PLC0415 -- imports torch
    from bigain.engine.merge_map import draw_merge_map, wants_merge_map  # noqa: PLC0415
    from bigain.engine.tasks import build_task  # noqa: PLC0415

    sinks = build_sinks(config.tracking)
    threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
    with ExitStack() as stack:
        stack.enter_context(named_faults(store.folder))
        stack.enter_context(named_cache(config.paths.cache, store.folder))
        stop = stack.enter_context(Stopping())
        stack.enter_context(limited_threads(threads.count))
        check_cache(config)
        task = build_task(config)
        session = stack.enter_context(store.open(config, task.ids, collect(task.origin)))
        lost = task.files.missing(session.stored)
        session.adopt(task.files.copy_files, partial(same_images, config))
        todo = session.todo()
        size = len(lost) + len(todo)
        meter = stack.enter_context(Meter(size, config.title, task.unit, is_shown=progress))
        for _ in stack.enter_context(closing(stop.each(task.files.regenerate(lost)))):
            meter.advance()
        sinks.start(_tracked(config, store, len(task.ids), session.stored))
        stack.push(lambda _type, error, _traceback: sinks.fail(error) if error else None)
        for record in stack.enter_context(closing(stop.each(task.records(todo)))):
            session.append(record)
            sinks.record(record)
            meter.advance()
        is_done = session.finish(task.evaluate, task.facts())
        if is_done and sinks.are_on and wants_merge_map(config):
            draw_merge_map(config, task, store.folder)
        sinks.finish(read_csv(store.folder / METRICS) if is_done else [])
    left = tuple(store.manifest().get("shards_left", ()))
    return RunOutcome(store.run_id, store.folder, store.status(), size, left)


def _tracked(
    config: RunConfig, store: RunStore, num_records: int, done: Iterable[Record]
) -> TrackedRun:
    plain, tracking = resolved(config), config.tracking
    return TrackedRun(store.run_id, store.folder, plain, tracking, num_records, done)
