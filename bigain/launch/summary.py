"""What the command line says about runs: the metrics of one, the failures of a sweep."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bigain.config import RunConfig
from bigain.engine.run import RunOutcome
from bigain.errors import UserError
from bigain.runs.files import METRICS
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore

__all__ = ["Failure", "Launched", "list_failures", "note_shards", "run_report"]

_WIDTH = 20


@dataclass(frozen=True)
class Failure:
    """What ended a run.

    Attributes:
        run_id: Its run id.
        error: Class and message, as in the manifest of a failed run.
        is_users: Whether it is a mistake that the user can correct (`UserError`).

    """

    run_id: str
    error: str
    is_users: bool


class Launched(Protocol):
    """A run: its overrides, and what they compose to."""

    @property
    def overrides(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def config(self) -> RunConfig: ...  # noqa: D102


def run_report(config: RunConfig, outcome: RunOutcome) -> str:
    """A line about the run, and one for each of its metrics."""
    note = "" if outcome.computed else "  (nothing was left to compute)"
    if outcome.shards_left:
        note += f"  (shards left to do: {', '.join(outcome.shards_left)})"
    head = f"{outcome.run_id}  {outcome.status}  {config.title}  {outcome.folder}{note}\n"
    if outcome.status != "done":
        return head
    with (outcome.folder / METRICS).open(newline="", encoding="utf-8") as handle:
        return head + "".join(f"  {_metric(row)}\n" for row in csv.DictReader(handle))


def list_failures(runs: Sequence[Launched], errors: Mapping[int, str]) -> str:
    """The runs of a sweep that are not done, one line each; empty if all are.

    Args:
        runs: All runs of the sweep.
        errors: Position in `runs` -> error, of the jobs of the sweep that did not end well.  Other
            runs that are not done are read from the run store.

    """
    lines = []
    names = [run_id(run.config) for run in runs]
    broken = {names[position] for position in errors}
    missing = _missing_shards(runs, names)
    for position, (name, run) in enumerate(zip(names, runs, strict=True)):
        store = RunStore(run.config.paths.results, name)
        status = store.status()
        # A shard that is done is no failure because another one is not.
        waits = name in broken or (status == "running" and name in missing)
        if position in errors or not (status == "done" or waits):
            error = errors.get(position) or _stored_error(store)
            reason = " ".join(error.removeprefix("UserError: ").split())
            lines.append(f"  {name}  {' '.join(run.overrides)}  {reason}\n")
    return "".join([f"{len(lines)} of {len(runs)} runs failed:\n", *lines]) if lines else ""


def _stored_error(store: RunStore) -> str:
    try:
        return store.manifest().get("error") or f"is {store.status()}"
    except UserError as damage:
        return str(damage)


def note_shards(runs: Sequence[Launched]) -> str:
    """A line for each run that needs shards that are not in the sweep; empty if none does."""
    names = [run_id(run.config) for run in runs]
    lines = []
    for name, (example, indices) in _missing_shards(runs, names).items():
        if RunStore(example.config.paths.results, name).status() != "done":
            listed = ",".join(map(str, indices))
            count = f"shard.count={example.config.shard.count} shard.index={listed}"
            lines.append(f"run {name}: these shards are not in this sweep: {count}\n")
    return "".join(lines)


def _missing_shards(
    runs: Sequence[Launched], names: Sequence[str]
) -> dict[str, tuple[Launched, list[int]]]:
    """Run id -> one of its shards, and the indices that no run of the sweep has, if there are."""
    present: dict[str, set[int]] = {}
    for name, run in zip(names, runs, strict=True):
        present.setdefault(name, set()).add(run.config.shard.index)
    examples = dict(zip(names, runs, strict=True))
    found = {
        name: (run, [each for each in range(run.config.shard.count) if each not in present[name]])
        for name, run in examples.items()
    }
    return {name: (run, indices) for name, (run, indices) in found.items() if indices}


def _metric(row: Mapping[str, str]) -> str:
    value, low, high = (_number(row[key]) for key in ("value", "ci_low", "ci_high"))
    interval = f"  [{low}, {high}]" if low and high else ""
    return f"{row['metric']:<{_WIDTH}}{value} {row['unit']}{interval}  n={row['n']}"


def _number(cell: str) -> str:
    """Four significant digits; two decimals from 100 on."""
    if not cell:
        return ""
    value = float(cell)
    return f"{value:.2f}" if abs(value) >= 100 else f"{value:.4g}"
