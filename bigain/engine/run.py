"""One run: from a validated configuration to a finished folder in the run store.

A finished run that has all its files costs nothing, not even the import of torch; data and weights
are found before anything is written; every image is on disk before the next one starts; the metrics
come last.
"""

from dataclasses import dataclass
from pathlib import Path

from bigain.config import RunConfig
from bigain.runs.complete import is_complete
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

__all__ = ["RunOutcome", "run"]


@dataclass(frozen=True)
class RunOutcome:
    """What became of a run.

    Attributes:
        run_id: Its name.
        folder: Where it lies.
        status: done, or running while other shards have images left.
        computed: Images that this call computed, lost ones of before included.

    """

    run_id: str
    folder: Path
    status: str
    computed: int


def run(config: RunConfig, *, progress: bool = True) -> RunOutcome:
    """Do what is left to do of `config`.

    Args:
        config: The run.
        progress: Whether a terminal shows a bar over the images; for callers with one of their own.

    Raises:
        UserError: data, weights or device are not what the configuration says, another process
            works on the same shard, or a lost image cannot be made again.

    """
    store = RunStore(config.paths.results, run_id(config))
    computed = 0
    if config.force or not (store.is_finished() and is_complete(config, store)):
        from bigain.engine.execution import execute  # noqa: PLC0415 -- finished runs need no torch

        computed = execute(config, store, progress=progress)
    return RunOutcome(store.run_id, store.folder, store.status(), computed)
