"""What an operator saves: FLOPs of one forward, time of one step, and their ratios.

A repeat measures the model without operator and with it, in one process, one after the other; so
the speed-up is a ratio of paired times and keeps what a busy machine adds to both out of it:

    speedup = mean baseline time / mean operator time,

with the interval of a relative rise over paired values (`bigain.metrics.paired`).  The interval of
a time is that of its mean over repeats.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from bigain.errors import UserError
from bigain.metrics.classification import Metric
from bigain.metrics.intervals import mean_interval
from bigain.metrics.paired import relative_rise

__all__ = ["efficiency_metrics"]


def efficiency_metrics(samples: pd.DataFrame, baseline: pd.DataFrame | None = None) -> list[Metric]:
    """flops_g, flops_saved_percent, time_ms_per_step, images_per_s, speedup, as far as measured.

    Args:
        samples: One row per measurement, `measure` being `flops` (flops, baseline_flops) or `time`
            (ms_per_step, baseline_ms_per_step, steps, batch_size).  A run without an operator has
            no baseline columns' values, and neither flops_saved_percent nor speedup.
        baseline: Not used: what a run is compared with is measured beside it.

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
        yield _exact("flops_g", flops / 1e9, "GFLOPs")
        if not pd.isna(baseline):
            yield _exact("flops_saved_percent", 100 * (1 - flops / baseline), "percent")


def _time(rows: pd.DataFrame) -> Iterator[Metric]:
    if rows.empty:
        return
    times = rows["ms_per_step"].astype("float64")
    images = 1000 * rows["batch_size"].astype("float64") / (rows["steps"] * times)
    yield _mean("time_ms_per_step", times, "ms")
    yield _mean("images_per_s", images, "1/s")
    baseline = rows["baseline_ms_per_step"].astype("float64")
    if baseline.notna().all():
        rise = relative_rise(baseline, times)
        low, high = 1 + rise.ci_low, 1 + rise.ci_high
        yield Metric("speedup", 1 + rise.mean, rise.n, low, high, "ratio")


def _exact(name: str, value: float, unit: str) -> Metric:
    return Metric(name, float(value), 1, math.nan, math.nan, unit)


def _mean(name: str, values: "pd.Series[float]", unit: str) -> Metric:
    array = np.asarray(values, np.float64)
    low, high = mean_interval(array)
    return Metric(name, float(array.mean()), len(array), low, high, unit)
