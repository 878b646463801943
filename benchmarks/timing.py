"""Times of several tasks in turn, ratios with their spread, and CSV files that say where they ran.

A machine changes its speed from minute to minute, so tasks that are compared run in turn in one
process, and their times are divided round by round.  Memory lies elsewhere in each process, which
changes times as much as some of the effects that are measured, so a comparison is repeated in
several processes, and its spread is over all of them.

This module loads no torch: some benchmarks time that.
"""

import argparse
import csv
import os
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from bigain.errors import UserError
from bigain.machine import command_output, cpu_model, keep_freed_memory
from bigain.runs.files import make_results
from bigain.runs.provenance import git_state, now, package_version

__all__ = ["CONDITIONS", "ROOT", "Apart", "RowFile", "Spread", "at_least", "check_csv"]
__all__ += ["conditions", "in_fresh_process", "in_turn", "interleaved", "positive", "ratios"]
__all__ += ["spread", "write_rows"]

ROOT = Path(__file__).resolve().parents[1]
CONDITIONS = ("command", "commit", "made", "device", "cores", "threads", "torch")
"""The last columns of every CSV file of a benchmark."""

_CODE = ("benchmarks", "bigain", "configs")

Row = Mapping[str, Any]


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is an integer of at least `least`."""

    def integer(text: str) -> int:
        if not re.fullmatch(r"\d+", text, re.ASCII) or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: allowed: an integer >= {least}")
        return int(text)

    return integer


positive = at_least(1)
"""The type of an argument that counts something."""


class Spread(NamedTuple):
    """What several measurements of one thing say."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}-{self.high:.3f})"


def spread(values: Iterable[float]) -> Spread:
    """Median, smallest and largest of `values`, which are at least one."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The quotients of two lists of one length, round by round."""
    return [own / other for own, other in zip(above, below, strict=True)]


def in_turn(
    tasks: Mapping[str, Callable[[], Any]], rounds: int, *, warmup: int = 1
) -> dict[str, list[Any]]:
    """What each call of each task returns; a round calls every task once.

    Every second round goes backwards, so a task does not always follow the same one.

    Args:
        tasks: Functions by name.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.

    """
    found: dict[str, list[Any]] = {name: [] for name in tasks}
    for number in range(-warmup, rounds):
        for name in list(tasks)[:: 1 if number % 2 == 0 else -1]:
            result = tasks[name]()
            if number >= 0:
                found[name].append(result)
    return found


def interleaved(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    within: Mapping[str, Callable[[], AbstractContextManager[object]]] | None = None,
) -> dict[str, list[float]]:
    """Seconds of each call of each task, in turn.

    Args:
        tasks: Functions by name.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.
        clock: What tells the time, in s; `time.process_time` is little disturbed by other work on
            the machine, and right for one thread.
        within: Contexts of the calls by name; to enter and to leave them does not count.

    """
    contexts = within or {}

    def timed(name: str) -> float:
        with contexts.get(name, nullcontext)():
            started = clock()
            tasks[name]()
            return clock() - started

    return in_turn({name: partial(timed, name) for name in tasks}, rounds, warmup=warmup)


class Apart:
    """A task in a process of its own, to be called in turn with others.

    Args:
        make: Makes the task, in that process; a function that can be sent there.
        *arguments: Those of `make`.

    """

    _task: ClassVar[Callable[[], Any]]
    """In that process."""

    def __init__(self, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=get_context("spawn"),
            initializer=self._begin,
            initargs=(make, *arguments),
        )

    @classmethod
    def _begin(cls, make: Callable[..., Callable[[], Any]], *arguments: Any) -> None:
        cls._task = make(*arguments)

    @classmethod
    def _call(cls) -> Any:
        return cls._task()

    def __call__(self) -> Any:
        """What the task returns."""
        return self._pool.submit(self._call).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns in a new process, which keeps freed memory as every command does."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=keep_freed_memory) as pool:
        return pool.submit(function, *arguments).result()


def conditions(device: str | None = None) -> dict[str, Any]:
    """How, where and when this process measures: the columns `CONDITIONS`.

    The command is what a user types for the same, without the file of rows.  The commit ends with
    + if the code differs from it.

    Args:
        device: What computes; None: the processor.

    """
    commit, torch = git_state(ROOT)["git_commit"] or "unknown", sys.modules.get("torch")
    changes = command_output("git", "-C", str(ROOT), "status", "--porcelain", "--", *_CODE)
    commit = commit[:12] + ("+" if changes else "")
    values = (_command(sys.argv), commit, now(), device or _processor(torch), os.cpu_count())
    threads = torch.get_num_threads() if torch else 1
    return dict(zip(CONDITIONS, (*values, threads, package_version("torch")), strict=True))


def _command(words: Sequence[str]) -> str:
    script, *settings = words
    if "--csv" in settings:
        at = settings.index("--csv")
        del settings[at : at + 2]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *settings])


def _processor(torch: Any) -> str | None:
    """Its model, and the widest instructions that torch uses: one name has several kinds."""
    if torch:
        kind = torch.backends.cpu.get_cpu_capability()
    else:  # in a process of its own, because this one is measured without torch
        program = "import torch; print(torch.backends.cpu.get_cpu_capability())"
        kind = command_output(sys.executable, "-c", program)
    model = cpu_model()
    return f"{model}, {kind}" if model and kind else model


def write_rows(path: Path | None, rows: Sequence[Row]) -> None:
    """Write rows, which have the same columns, to a CSV file; None: nowhere."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def check_csv(path: Path | None) -> None:
    """Raise UserError, before anything is measured, unless the file can be written."""
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"--csv={path}: is a folder; allowed: a file")
    make_results(path.absolute().parent, "--csv, its folder")


class RowFile:
    """A CSV file that is whole after each row.

    Args:
        path: Where it is; None: nowhere.
        place: Columns that each row has beside its own, such as `conditions()`.

    Raises:
        UserError: The file cannot be written.

    """

    def __init__(self, path: Path | None, place: Row) -> None:
        check_csv(path)
        self._path = path
        self._place = place
        self.rows: list[Row] = []

    def add(self, **columns: Any) -> None:
        """One more row; all rows have the same columns."""
        self.rows.append({**columns, **self._place})
        write_rows(self._path, self.rows)
