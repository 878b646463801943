import math

import numpy as np
import pandas as pd
import pytest

from bigain.metrics import (
    Metric,
    image_errors,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
)
from bigain.tables.differences import (
    Difference,
    accuracy_difference,
    paired_differences,
    plain_difference,
)


def classified(correct: list[int], errors: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": range(len(correct)),
            "correct": [bool(c) for c in correct],
            "true_errors": [[e, e + 0.2] for e in errors],
        }
    )


def generated(values: list[float], correct: list[int] | None = None) -> pd.DataFrame:
    frame = pd.DataFrame({"image_id": range(len(values)), "frechet_value": values})
    return frame if correct is None else frame.assign(correct=[bool(c) for c in correct])


NONE = classified([1, 1, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.2, 0.1])
TOME = classified([1, 0, 1, 0, 0, 0], [0.2, 0.4, 0.3, 0.5, 0.3, 0.2])
LGTM = classified([1, 1, 0, 1, 1, 1], [0.15, 0.35, 0.4, 0.45, 0.2, 0.1])


def by_id(frame: pd.DataFrame, column: str) -> "pd.Series[float]":
    return frame.set_index("image_id")[column]


def check(found: Difference, name: str, scale: float, expected: object, unit: str) -> None:
    mean, low, high, p, n = (
        getattr(expected, field) for field in ("mean", "ci_low", "ci_high", "p", "n")
    )
    metric = found.metric
    assert (metric.metric, metric.unit, metric.n) == (name, unit, n)
    ends = (metric.value, metric.ci_low, metric.ci_high)
    assert ends == pytest.approx((scale * mean, scale * low, scale * high))
    assert found.p == pytest.approx(p)


def test_accuracies_in_points_by_mcnemar() -> None:
    found = paired_differences("classification", LGTM, TOME, None)
    assert set(found) == {"acc1"}
    expected = paired_accuracy(by_id(LGTM, "correct"), by_id(TOME, "correct"))
    check(found["acc1"], "acc1", 100, expected, "points")
    assert found["acc1"].metric.value == pytest.approx(100 * 3 / 6)
    assert found["acc1"].p == pytest.approx(2 * 6 / 32), "4 gains and 1 loss: 2 P(X <= 1 of 5)"


def test_the_difference_of_two_rises() -> None:
    found = paired_differences("classification", LGTM, TOME, NONE)["eps_error_rise"]
    base = image_errors(NONE)
    expected = relative_rise(base + image_errors(LGTM) - image_errors(TOME), base)
    check(found, "eps_error_rise", 100, expected, "points")
    ours, rival = (relative_rise(image_errors(each), base).mean for each in (LGTM, TOME))
    assert found.metric.value == pytest.approx(100 * (ours - rival))


def test_the_interval_of_the_difference_is_paired() -> None:
    """Delta method by hand: standard error of d_i - r b_i over the mean baseline."""
    d = (image_errors(LGTM) - image_errors(TOME)).to_numpy()
    b = image_errors(NONE).to_numpy()
    r = d.mean() / b.mean()
    error = (d - r * b).std(ddof=1) / math.sqrt(6) / b.mean()
    metric = paired_differences("classification", LGTM, TOME, NONE)["eps_error_rise"].metric
    assert (metric.ci_high - metric.ci_low) / 2 == pytest.approx(100 * 2.570582 * error)


def test_a_row_against_itself_is_zero() -> None:
    found = paired_differences("classification", TOME, TOME, NONE)
    rise = found["eps_error_rise"].metric
    assert (rise.value, rise.ci_low, rise.ci_high) == pytest.approx((0, 0, 0), abs=1e-12)
    assert (found["acc1"].metric.value, found["acc1"].p) == (0, 1)


def test_precisions_by_the_bootstrap_image_by_image() -> None:
    """An image without a label counts with 0, also in old records, which have none there."""
    one = LGTM.assign(average_precision=[0.6, 0.4, np.nan, 0.9, 0.5, 0.3])
    other = TOME.assign(average_precision=[0.5, 0.2, np.nan, 0.9, 0.6, 0.3])
    found = paired_differences("classification", one, other, NONE)["map_image"]
    first, second = (by_id(frame, "average_precision").fillna(0) for frame in (one, other))
    check(found, "map_image", 100, paired_bootstrap(first, second), "points")
    assert found.metric.value == pytest.approx(100 * (0.1 + 0.2 - 0.1) / 6)
    assert found.metric.n == 6
    assert "map_image" not in paired_differences("classification", one, TOME, NONE)


def test_distances_are_paired_over_samples() -> None:
    one, other = generated([0.5, 0.2, 0.9, 0.4]), generated([0.4, 0.3, 0.6, 0.2])
    found = paired_differences("generation", one, other, None)
    assert set(found) == {"fid", "frechet_mini"}
    expected = paired_difference(by_id(one, "frechet_value"), by_id(other, "frechet_value"))
    for name in found:
        check(found[name], name, 1, expected, "feature^2")
    assert found["fid"].metric.value == pytest.approx(0.5 / 4)


def test_samples_that_are_recognised() -> None:
    one, other = generated([1, 2, 3], [1, 1, 1]), generated([1, 2, 3], [1, 0, 0])
    found = paired_differences("generation", one, other, None)["class_agreement"]
    expected = paired_accuracy(by_id(one, "correct"), by_id(other, "correct"))
    check(found, "class_agreement", 100, expected, "points")


def test_distances_of_other_numbers_of_samples_are_not_compared() -> None:
    """The distance is biased by n."""
    assert paired_differences("generation", generated([1, 2, 3]), generated([1, 2]), None) == {}


@pytest.mark.parametrize("work", ["flops", "time"])
def test_nothing_pairs_what_the_machine_did(work: str) -> None:
    assert paired_differences(work, NONE, TOME, None) == {}


def test_accuracies_under_another_name() -> None:
    found = accuracy_difference("acc1_drop", NONE, TOME)
    assert found.metric.metric == "acc1_drop"
    assert found.metric.value == pytest.approx(50)


def test_numbers_that_nothing_pairs_have_no_interval() -> None:
    nan = math.nan
    one, other = Metric("acc1", 80, 400, 78, 82, "percent"), Metric("acc1", 75, 300, 70, 80, "x")
    found = plain_difference("acc1", one, other)
    assert (found.metric.value, found.metric.n, found.metric.unit) == (5, 300, "points")
    assert math.isnan(found.metric.ci_low)
    assert math.isnan(found.metric.ci_high)
    assert math.isnan(found.p)
    times = [Metric("time_ms_per_step", value, 3, nan, nan, "ms") for value in (8.0, 9.5)]
    assert plain_difference("time_ms_per_step", *times).metric.unit == "ms"
    assert plain_difference("time_ms_per_step", *times).metric.value == -1.5
