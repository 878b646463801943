"""Waiting for the jobs of a sweep: what is on disk counts, not what their launcher returns.

A launcher works in a thread of its own, because it may wait for ever or raise while jobs work on.
A job is lost if nobody works on it, and its engine has said several times that it does not have it
any more.  So a wait ends, and says which jobs are missing.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from bigain.launch.engines import Engine
from bigain.runs.progress import duration
from bigain.runs.sweeps import OPEN, Job, SweepFolder

__all__ = ["LaunchCall", "Progress", "Watch"]

LOOK = 1.0
"""Seconds between two looks at the disk; more if many jobs are open."""

ABSENCES = 3
"""How often in a row an engine must lack a silent job before it is lost."""

SAY = 60.0
"""Seconds between two lines about a sweep."""


class LaunchCall:
    """A call of a launcher, in a thread that the end of this process does not wait for.

    Attributes:
        error: What it raised, in one line; empty if it has not.

    """

    def __init__(self, sweep: SweepFolder, launch: Callable[[], object]) -> None:
        self.error = ""
        self._sweep = sweep
        self._launch = launch
        self._thread = threading.Thread(target=self._call, name="launcher", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it has neither returned nor raised."""
        return self._thread.is_alive()

    def _call(self) -> None:
        try:
            self._launch()
        except BaseException as error:  # also the SystemExit of a library: it must not be lost
            lines = str(error).strip().splitlines() or [""]
            self.error = f"{type(error).__name__}: {lines[0]}".rstrip(": ")
            log = self._sweep.folder / "launcher.log"
            with suppress(OSError), log.open("a", encoding="utf-8") as handle:
                traceback.print_exc(file=handle)


class Progress:
    """A context manager that shows how far a sweep is: a bar on a terminal, else a line a minute.

    Args:
        sweep: The sweep.
        total: The number of its jobs.
        finished: Positions of those that were no work, because they had ended before.

    """

    def __init__(self, sweep: SweepFolder, total: int, finished: Collection[int]) -> None:
        self._sweep = sweep
        self._total = total
        self._finished = finished
        self._began = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            done, name = len(self._finished), f"sweep {self._sweep.folder.name}"
            self._bar = tqdm(total=self._total, initial=done, desc=name, unit="run", leave=False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @contextmanager
    def now_and_then(self) -> Iterator[None]:
        """Show it once in a while until the block ends, in a thread."""
        ends = threading.Event()

        def keep() -> None:
            while not ends.wait(LOOK):
                self.maybe()

        thread = threading.Thread(target=keep, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ends.set()
            thread.join()

    def maybe(self) -> None:
        """Move the bar; or say it if the last time was a while ago."""
        if self._bar is not None:
            states = [job.state for job in self._sweep.jobs().values()]
            self._bar.update(sum(state not in OPEN for state in states) - self._bar.n)
        elif time.monotonic() - self._said >= SAY:
            self.say()

    def say(self) -> None:
        """Say it now, in a line."""
        self._said = time.monotonic()
        jobs = self._sweep.jobs()
        states = [job.state for job in jobs.values()]
        counts = {state: states.count(state) for state in dict.fromkeys(states)}
        work = [job.state in OPEN for at, job in jobs.items() if at not in self._finished]
        ended, left = work.count(False), work.count(True)
        others = [f"{n} {state}" for state, n in counts.items() if state != "done"]
        line = ", ".join([f"{counts.get('done', 0)} of {self._total} jobs done", *others])
        seconds = self._said - self._began
        if ended and left:
            line += f"; about {duration(seconds / ended * left)} left"
        tqdm.write(f"sweep {self._sweep.folder.name}: {line}", file=sys.stderr)  # above a bar


class Watch:
    """Waits until each of some jobs has ended or is lost.

    Args:
        sweep: Where they write their states.
        jobs: Position -> job, as they were launched.
        call: The launcher's call.
        engine: What has them.
        progress: Told now and then.

    """

    def __init__(
        self,
        sweep: SweepFolder,
        jobs: Mapping[int, Job],
        call: LaunchCall,
        engine: Engine,
        progress: Progress,
    ) -> None:
        self._sweep = sweep
        self._jobs = dict(jobs)
        self._call = call
        self._engine = engine
        self._progress = progress
        self._absent: dict[int, int] = {}
        self._asked = -engine.pause

    def until_end(self) -> None:
        """Return when no job is open; jobs that are lost are on disk as such."""
        while open_ := self._open():
            all_noted = self._engine.note()
            silent = set(open_) - self._sweep.at_work(open_).keys()
            lost = self._lost(silent, len(silent) < len(open_))
            for position in lost:
                self._sweep.write(self._jobs[position].into("lost", self._reason(position)))
            if not lost:
                self._progress.maybe()
                pause = min(15 * LOOK, LOOK * (1 + len(open_) / 40)) if all_noted else LOOK
                time.sleep(pause)

    def _open(self) -> list[int]:
        left = [position for position, job in self._jobs.items() if job.state in OPEN]
        self._jobs |= self._sweep.jobs(left)
        return [position for position in left if self._jobs[position].state in OPEN]

    def _lost(self, silent: Collection[int], at_work: bool) -> Sequence[int]:
        """Those of `silent` that were missing often enough; asks the engine only now and then."""
        self._absent = {each: n for each, n in self._absent.items() if each in silent}
        if not silent or time.monotonic() - self._asked < self._engine.pause:
            return []
        self._asked = time.monotonic()
        held = self._engine.holds(silent, self._call, at_work)
        if held is None:
            return []
        for position in silent:
            self._absent[position] = 0 if position in held else self._absent.get(position, 0) + 1
        return sorted(each for each, n in self._absent.items() if n >= ABSENCES)

    def _reason(self, position: int) -> str:
        job = self._jobs[position]
        what = {"pending": "never began", "stopped": f"was stopped ({job.error})"}
        begun = "its process is gone (killed, out of memory, or its node died)"
        notes = [self._engine.says(position)]
        if job.state == "pending" and self._call.error:
            notes.append(f"the launcher: {self._call.error}")
        said = "; ".join(filter(None, notes))
        again = "the same command does what is left"
        return f"{what.get(job.state, begun)}{f'; {said}' if said else ''}; {again}"
