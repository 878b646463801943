"""What missing runs will cost: counted FLOPs over the throughput that finished runs had.

A run evaluates the denoiser a known number of times; an evaluation has as many FLOPs as one forward
with the operator, counted without weights.  Throughput is FLOPs per second of the finished runs of
the same backbone, the median over those with a manifest (published ones too), or what the user
states.

Counting takes seconds on a large model, so counts are kept in `<paths.cache>/flops.json`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tqdm import tqdm

from bigain import __version__
from bigain.config import RunConfig
from bigain.files import replace_text
from bigain.runs.archive import Archive
from bigain.tables.planner import PlannedRun

__all__ = ["Cost", "CountFlops", "counted_flops", "estimate", "kept_flops", "throughputs"]

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
        runs: Missing and finished ones; the finished ones tell the throughput.
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
    """`flops` that remembers its counts in `paths.cache`, by backbone, operator and version."""

    def count(config: RunConfig) -> int:
        path = config.paths.cache / "flops.json"
        known, name = _read(path), f"{__version__} {_name(config)}"
        if name not in known:
            known[name] = flops(config)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
        return known[name]

    return count


def _once(flops: CountFlops) -> CountFlops:
    known: dict[str, int] = {}

    def count(config: RunConfig) -> int:
        name = _name(config)
        if name not in known:
            known[name] = flops(config)
        return known[name]

    return count


def _name(config: RunConfig) -> str:
    """What the count of a run depends on."""
    operator = config.operator.model_dump(mode="json")
    sites = getattr(config.backbone, "sites", None)
    return json.dumps([config.backbone.name, operator, str(sites)], sort_keys=True)


def _read(path: Path) -> dict[str, int]:
    """Counts of earlier; a damaged cache is none."""
    try:
        found: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
