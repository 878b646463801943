"""Numbers of the documents from the committed records, by `scripts/recompute*.py` alone."""

import csv
from collections.abc import Sequence
from pathlib import Path

import recompute
from recompute_quantities import RUNS, Pair
from recompute_quantities import difference as difference_of
from recompute_statistics import Found, paired

__all__ = ["MINI", "ROOT", "Found", "difference", "holm", "read_csv", "value"]

ROOT = Path(__file__).parents[2]
MINI = ROOT / "results" / "mini"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def value(run: str, metric: str) -> Found:
    """Of a run without an operator."""
    own = recompute.run_of(MINI, run)
    return RUNS[metric](Pair(own, own))


def difference(runs: Sequence[str], metric: str, baseline: str = "") -> Found:
    """First minus second; of four runs, minus (third minus fourth), by t over images."""
    own = [recompute.run_of(MINI, run) for run in runs]
    images = [run.samples.index.sort_values().tolist() for run in own]
    assert all(each == images[0] for each in images)
    if len(own) == 2:
        none = recompute.run_of(MINI, baseline) if baseline else own[1]
        return difference_of(metric, Pair(own[0], none, own[1]))
    if metric == "best_margin":
        none = recompute.run_of(MINI, baseline)
        a, b, c, d = (run.trials.margin(none.trials) for run in own)
        return paired(a - b, c - d)
    column, scale = {"acc1": ("correct", 100), "frechet_mini": ("frechet_value", 1)}[metric]
    a, b, c, d = (scale * run.column(column) for run in own)
    return paired(a - b, c - d)


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrected p values of a family, in the order given."""
    ranked = sorted(p_values)
    raised = [min(1.0, (len(ranked) - at) * p) for at, p in enumerate(ranked)]
    return [max(raised[: ranked.index(p) + 1]) for p in p_values]
