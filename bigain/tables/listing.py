"""A plan as text, CSV or JSON: every distinct run once, with its state, its tables and its cost."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bigain.tables.estimate import Cost
from bigain.tables.planner import PlannedRun

__all__ = ["LISTINGS", "ListedRun", "list_csv", "list_json", "list_text", "listed"]


@dataclass(frozen=True)
class ListedRun:
    """A planned run, the numbers of the tables that need it, and its cost."""

    run: PlannedRun
    tables: tuple[int, ...]
    cost: Cost

    @property
    def row(self) -> dict[str, object]:
        """One line for scripts."""
        config, cost = self.run.config, self.cost
        return {
            "run_id": self.run.run_id,
            "state": "done" if self.run.finished else "missing",
            "tables": " ".join(map(str, self.tables)),
            "task": config.task.name,
            "backbone": config.backbone.name,
            "dataset": config.dataset.name if config.task.name != "efficiency" else "",
            "operator": config.operator.name,
            "evaluations": cost.evaluations,
            "teraflops": round(cost.teraflops, 3),
            "seconds": None if cost.seconds is None else round(cost.seconds, 1),
            "command": self.run.command,
        }


def listed(
    runs: Mapping[str, PlannedRun], tables: Mapping[str, Sequence[int]], costs: Mapping[str, Cost]
) -> list[ListedRun]:
    """The runs in their order."""
    return [ListedRun(run, tuple(tables[name]), costs[name]) for name, run in runs.items()]


def list_text(runs: Sequence[ListedRun]) -> str:
    """For people: a line per run, and the totals of what is missing."""
    missing = [each for each in runs if not each.run.finished]
    counts = f"{len(runs)} runs, {len(runs) - len(missing)} done, {len(missing)} missing"
    return "\n".join((counts, *map(_line, runs), *_totals(missing)))


def list_csv(runs: Sequence[ListedRun]) -> str:
    """One line per run; unknown seconds are empty."""
    buffer = io.StringIO()
    columns = list(runs[0].row) if runs else ["run_id"]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(each.row for each in runs)
    return buffer.getvalue().rstrip("\n")


def list_json(runs: Sequence[ListedRun]) -> str:
    """A list of objects."""
    return json.dumps([each.row for each in runs], indent=2)


LISTINGS = {"text": list_text, "csv": list_csv, "json": list_json}
"""Format -> what writes it."""


def _line(each: ListedRun) -> str:
    state = "done   " if each.run.finished else "missing"
    tables = ",".join(map(str, each.tables))
    cost = f"{each.cost.evaluations:,} evaluations, {_time(each.cost.seconds)}"
    return f"  {state} {each.run.run_id}  {' '.join(each.run.overrides)}  (tables {tables}; {cost})"


def _totals(missing: Sequence[ListedRun]) -> list[str]:
    evaluations = sum(each.cost.evaluations for each in missing)
    teraflops = sum(each.cost.teraflops for each in missing)
    known = [each.cost.seconds for each in missing if each.cost.seconds is not None]
    unknown = len(missing) - len(known)
    times = [f"about {_time(sum(known))} on one process"] if known or not missing else []
    times += [f"{unknown} runs of backbones that nobody timed yet"] if unknown else []
    return [
        f"missing in all: {evaluations:,} evaluations of the denoiser, {teraflops:,.1f} TFLOPs, "
        f"{' and '.join(times)}"
    ]


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "time unknown"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
