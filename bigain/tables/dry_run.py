"""What `--dry-run` prints: every run of the tables once, with its state, its tables and its cost.

A run evaluates the denoiser a known number of times; an evaluation has as many FLOPs as one forward
with the operator, counted without weights.  Throughput is FLOPs per second of the finished runs of
the same backbone, the median over those with a manifest (published ones too), or what the user
states.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tqdm import tqdm

from bigain.config import RunConfig
from bigain.files import csv_text
from bigain.runs.archive import Archive
from bigain.runs.flops import flops_name, keep_flops, known_flops
from bigain.tables.planner import PlannedRun

__all__ = [
    "PRINTERS",
    "Cost",
    "CostedRun",
    "CountFlops",
    "costed_runs",
    "counted_flops",
    "estimate",
    "kept_flops",
    "throughputs",
]

CountFlops = Callable[[RunConfig], int]
"""FLOPs of one evaluation of the run's denoiser with its operator."""


@dataclass(frozen=True)
class Cost:
    """Of one run.

    Attributes:
        evaluations: Of the denoiser on one sample.
        teraflops: Of all of them.
        seconds: On this machine; None if nothing of this backbone was measured here.

    """

    evaluations: int
    teraflops: float
    seconds: float | None


def estimate(
    runs: Sequence[PlannedRun], flops: CountFlops, gflops_per_second: float | None = None
) -> dict[str, Cost]:
    """Run id -> its cost.

    Args:
        runs: Missing and finished ones; the throughput comes from the finished ones.
        flops: Counts; asked once per backbone and operator.
        gflops_per_second: Throughput of the machine that is planned for, if it is not this one.

    """
    counted = _once(flops)
    rates: Mapping[str, float] = {}
    if gflops_per_second is None:
        rates = throughputs([run for run in runs if run.finished], counted)
    costs = {}
    # The first time it takes minutes for the paper's models; whoever watches a terminal sees it.
    for run in tqdm(runs, "counting FLOPs", unit="run", leave=False, disable=None):
        total = run.evaluations * counted(run.config) if run.evaluations else 0
        rate = rates.get(run.config.backbone.name)
        rate = gflops_per_second * 1e9 if gflops_per_second else rate
        costs[run.run_id] = Cost(run.evaluations, total / 1e12, total / rate if rate else None)
    return costs


def throughputs(runs: Sequence[PlannedRun], flops: CountFlops) -> dict[str, float]:
    """Backbone -> median FLOPs per second of the finished runs with a manifest."""
    found: dict[str, list[float]] = {}
    for run in runs:
        manifest = Archive(run.config.paths.results, run.config.profile).manifest(run.run_id)
        seconds = (manifest or {}).get("image_seconds") or 0
        if seconds > 0 and run.evaluations:
            rate = run.evaluations * flops(run.config) / seconds
            found.setdefault(run.config.backbone.name, []).append(rate)
    return {backbone: median(rates) for backbone, rates in found.items()}


def counted_flops(config: RunConfig) -> int:
    """FLOPs of one forward of the run's backbone with its operator at its sites."""
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch

    return int(build_flops(config).total)


def kept_flops(flops: CountFlops = counted_flops) -> CountFlops:
    """`flops` for what neither ships nor was counted before with this version of the package."""

    def count(config: RunConfig) -> int:
        known = known_flops(config, config.paths.cache)
        if known is None:
            known = flops(config)
            keep_flops(config, config.paths.cache, known)
        return known

    return count


def _once(flops: CountFlops) -> CountFlops:
    known: dict[str, int] = {}

    def count(config: RunConfig) -> int:
        name = flops_name(config)
        if name not in known:
            known[name] = flops(config)
        return known[name]

    return count


@dataclass(frozen=True)
class CostedRun:
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


def costed_runs(
    runs: Mapping[str, PlannedRun], tables: Mapping[str, Sequence[int]], costs: Mapping[str, Cost]
) -> list[CostedRun]:
    """The runs in their order."""
    return [CostedRun(run, tuple(tables[name]), costs[name]) for name, run in runs.items()]


def _text(runs: Sequence[CostedRun]) -> str:
    """For people: a line per run, and the totals of what is missing."""
    missing = [each for each in runs if not each.run.finished]
    counts = f"{len(runs)} runs, {len(runs) - len(missing)} done, {len(missing)} missing"
    return "\n".join((counts, *map(_line, runs), *_totals(missing)))


def _csv(runs: Sequence[CostedRun]) -> str:
    """One line per run; unknown seconds are empty."""
    columns = list(runs[0].row) if runs else ["run_id"]
    return csv_text(columns, (each.row for each in runs)).rstrip("\n")


def _json(runs: Sequence[CostedRun]) -> str:
    """A list of objects."""
    return json.dumps([each.row for each in runs], indent=2)


PRINTERS = {"text": _text, "csv": _csv, "json": _json}
"""Format -> what writes it."""


def _line(each: CostedRun) -> str:
    state = "done   " if each.run.finished else "missing"
    tables = ",".join(map(str, each.tables))
    cost = f"{each.cost.evaluations:,} evaluations, {_time(each.cost.seconds)}"
    return f"  {state} {each.run.run_id}  {' '.join(each.run.overrides)}  (tables {tables}; {cost})"


def _totals(missing: Sequence[CostedRun]) -> list[str]:
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
