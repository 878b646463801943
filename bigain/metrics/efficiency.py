"""Savings of an operator: FLOPs of one forward, time of one step, and their ratios.

A repeat times the baseline and the model with the operator one after the other in one process.  The
speed-up is a ratio of paired times, so a busy machine that slows both down changes it little:

    speedup = mean baseline time / mean operator time,

with the interval of a relative rise over paired values (`bigain.metrics.intervals`).  The interval
of a time is that of its mean over repeats.
"""

from collections.abc import Iterator

import pandas as pd

from bigain.errors import UserError
from bigain.metrics.intervals import Metric, relative_rise

__all__ = ["efficiency_metrics"]


def efficiency_metrics(samples: pd.DataFrame, baseline: pd.DataFrame | None = None) -> list[Metric]:
    """flops_g, flops_saved_percent, time_ms_per_step, images_per_s, speedup, if measured.

    Args:
        samples: One row per measurement, `measure` being `flops` (flops, baseline_flops) or `time`
            (ms_per_step, baseline_ms_per_step, steps, batch_size).  Without an operator the
            baseline columns are empty: no flops_saved_percent, no speedup.
        baseline: Not used, since each row has its own baseline; other tasks need one.

    Raises:
        UserError: No measurement.

    """
    del baseline
    if samples.empty:
        raise UserError("samples: has no measurement")
    by_id = samples.set_index("image_id")
    kinds = by_id["measure"]
    return [*_flops(by_id[kinds == "flops"]), *_time(by_id[kinds == "time"])]


def _flops(rows: pd.DataFrame) -> Iterator[Metric]:
    for flops, baseline in zip(rows["flops"], rows["baseline_flops"], strict=True):
        yield Metric.exact("flops_g", float(flops / 1e9), "GFLOPs")
        if not pd.isna(baseline):
            saved = float(100 * (1 - flops / baseline))
            yield Metric.exact("flops_saved_percent", saved, "percent")


def _time(rows: pd.DataFrame) -> Iterator[Metric]:
    if rows.empty:
        return
    times = rows["ms_per_step"].astype("float64")
    images = 1000 * rows["batch_size"].astype("float64") / (rows["steps"] * times)
    yield Metric.of_mean("time_ms_per_step", times, "ms")
    yield Metric.of_mean("images_per_s", images, "1/s")
    baseline = rows["baseline_ms_per_step"].astype("float64")
    if baseline.notna().all():
        rise = relative_rise(baseline, times)
        low, high = 1 + rise.ci_low, 1 + rise.ci_high
        yield Metric("speedup", 1 + rise.mean, rise.n, low, high, "ratio")
