"""Making the missing runs of a table, one after the other; a failing one does not stop the rest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bigain.config import RunConfig
from bigain.runs.store import RunStore
from bigain.tables.planner import PlannedRun

__all__ = ["Failure", "Runner", "execute"]

Runner = Callable[[RunConfig], object]
"""Makes one run and leaves it in the run store (`bigain.runner.run`)."""


@dataclass(frozen=True)
class Failure:
    """A run that did not finish, and why, in one line."""

    run: PlannedRun
    reason: str


def execute(
    runs: Sequence[PlannedRun], runner: Runner, say: Callable[[str], None]
) -> list[Failure]:
    """Make all `runs` in order; announce each through `say`; return those that did not finish."""
    return list(_failures(runs, runner, say))


def _failures(
    runs: Sequence[PlannedRun], runner: Runner, say: Callable[[str], None]
) -> Iterator[Failure]:
    for number, run in enumerate(runs, start=1):
        say(f"[{number}/{len(runs)}] {run.run_id} {' '.join(run.overrides)}")
        try:
            runner(run.config)
        except Exception as error:  # whatever it is, the other runs go on
            yield Failure(run, " ".join(f"{type(error).__name__}: {error}".split()))
            continue
        status = RunStore(run.config.paths.results, run.run_id).status()
        if status != "done":
            yield Failure(run, f"ended with status {status}")
