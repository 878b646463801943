import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bigain.errors import UserError
from bigain.metrics import Metric, efficiency_metrics, mean_interval

NONE = {"flops": None, "baseline_flops": None, "ms_per_step": None, "baseline_ms_per_step": None}
COUNT = {**NONE, "image_id": 0, "measure": "flops", "steps": None, "batch_size": None}


def repeats(own: list[float], baseline: list[float] | None) -> list[dict[str, Any]]:
    rows = []
    for i, time in enumerate(own):
        timed = {"ms_per_step": time, "baseline_ms_per_step": baseline and baseline[i]}
        place = {"image_id": i + 1, "measure": "time", "steps": 50, "batch_size": 4}
        rows.append({**NONE, **place, **timed})
    return rows


def measured(*rows: dict[str, Any]) -> dict[str, Metric]:
    return {metric.metric: metric for metric in efficiency_metrics(pd.DataFrame(rows))}


def test_flops_in_billions_and_what_is_saved() -> None:
    metrics = measured({**COUNT, "flops": 600_000_000_000, "baseline_flops": 800_000_000_000})
    assert list(metrics) == ["flops_g", "flops_saved_percent"]
    assert (metrics["flops_g"].value, metrics["flops_g"].unit) == (600.0, "GFLOPs")
    assert metrics["flops_saved_percent"].value == 25.0
    assert all(m.n == 1 and math.isnan(m.ci_low) for m in metrics.values())


def test_a_baseline_saves_nothing_and_is_no_faster_than_itself() -> None:
    metrics = measured({**COUNT, "flops": 8_000}, *repeats([2.0, 4.0], None))
    assert list(metrics) == ["flops_g", "time_ms_per_step", "images_per_s"]


def test_times_are_means_over_repeats_with_their_interval() -> None:
    metrics = measured(*repeats([2.0, 4.0, 3.0], [6.0, 6.0, 6.0]))
    time = metrics["time_ms_per_step"]
    assert (time.value, time.n, time.unit) == (3.0, 3, "ms")
    assert (time.ci_low, time.ci_high) == mean_interval([2.0, 4.0, 3.0])
    # 4 images of 50 steps: 40, 20 and 26.7 images per second.
    assert metrics["images_per_s"].value == pytest.approx((40 + 20 + 80 / 3) / 3)


def test_speedup_is_the_ratio_of_means_with_a_paired_interval() -> None:
    own, baseline = [2.0, 4.0, 3.0], [4.2, 7.8, 6.0]
    speedup = measured(*repeats(own, baseline))["speedup"]
    assert speedup.value == pytest.approx(2.0)
    residuals = (np.array(baseline) - 2 * np.array(own)) / 3
    low, high = mean_interval(2 + residuals)
    assert (speedup.ci_low, speedup.ci_high) == pytest.approx((low, high))
    assert speedup.n == 3


def test_a_slow_machine_slows_both_and_the_speedup_stays() -> None:
    speedup = measured(*repeats([1.0, 10.0, 3.0], [2.0, 20.0, 6.0]))["speedup"]
    assert (speedup.value, speedup.ci_low, speedup.ci_high) == pytest.approx((2, 2, 2))


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(UserError, match="no measurement"):
        efficiency_metrics(pd.DataFrame())
