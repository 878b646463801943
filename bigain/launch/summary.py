"""What the command line says about runs: the metrics of one, the failures of a sweep."""

import csv
from collections.abc import Mapping, Sequence
from typing import Protocol

from bigain.config import RunConfig
from bigain.engine.run import RunOutcome
from bigain.errors import UserError
from bigain.runs.files import METRICS
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

__all__ = ["Launched", "list_failures", "run_report"]

_WIDTH = 20


class Launched(Protocol):
    """A run as its command line has it, and what that composes to."""

    @property
    def overrides(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def config(self) -> RunConfig: ...  # noqa: D102


def run_report(config: RunConfig, outcome: RunOutcome) -> str:
    """A line about the run, and one for each of its metrics."""
    note = "" if outcome.computed else "  (nothing was left to compute)"
    head = f"{outcome.run_id}  {outcome.status}  {config.title}  {outcome.folder}{note}\n"
    if outcome.status != "done":
        return head
    with (outcome.folder / METRICS).open(newline="", encoding="utf-8") as handle:
        return head + "".join(f"  {_metric(row)}\n" for row in csv.DictReader(handle))


def list_failures(runs: Sequence[Launched], problems: Mapping[str, Exception]) -> str:
    """The runs of a sweep that are not done, one line each; empty if all are.

    Read from the run store, because a launcher may have run them in other processes; `problems`
    holds, by run id, what ended runs of this process before they had a folder.
    """
    lines = []
    complete = _runs_with_all_shards(runs)
    for planned in runs:
        name = run_id(planned.config)
        store = RunStore(planned.config.paths.results, name)
        status = store.status()
        waits = status == "running" and name not in complete
        if name in problems or not (status == "done" or waits):
            told = _error_text(problems[name]) if name in problems else _kept_error(store)
            reason = " ".join(told.removeprefix("UserError: ").split())
            lines.append(f"  {name}  {' '.join(planned.overrides)}  {reason}\n")
    return "".join([f"{len(lines)} of {len(runs)} runs failed:\n", *lines]) if lines else ""


def _kept_error(store: RunStore) -> str:
    try:
        return store.manifest().get("error") or f"is {store.status()}"
    except UserError as damage:
        return str(damage)


def _error_text(error: Exception) -> str:
    """As the manifest of a failed run has it."""
    return f"{type(error).__name__}: {error}".strip(": ")


def _runs_with_all_shards(runs: Sequence[Launched]) -> set[str]:
    """Ids of the runs whose shards are all in the sweep; others wait for shards elsewhere."""
    shards: dict[str, set[int]] = {}
    for planned in runs:
        shards.setdefault(run_id(planned.config), set()).add(planned.config.shard.index)
    counts = {run_id(planned.config): planned.config.shard.count for planned in runs}
    return {name for name, indices in shards.items() if len(indices) == counts[name]}


def _metric(row: Mapping[str, str]) -> str:
    value, low, high = (_number(row[key]) for key in ("value", "ci_low", "ci_high"))
    interval = f"  [{low}, {high}]" if low and high else ""
    return f"{row['metric']:<{_WIDTH}}{value} {row['unit']}{interval}  n={row['n']}"


def _number(cell: str) -> str:
    """Four digits, and at least two behind the point of what is 100 or more."""
    if not cell:
        return ""
    value = float(cell)
    return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4g}"
