import math

import pytest

from bigain.metrics import Metric
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric


def metric(value: float, low: float, high: float, unit: str = "percent") -> Metric:
    return Metric("acc1", value, 400, low, high, unit)


def test_value_interval_and_n() -> None:
    assert format_metric(metric(85.25, 81.439, 88.4), with_n=True) == "85.25 [81.44, 88.40] n=400"
    assert format_metric(metric(85.25, 81.439, 88.4)) == "85.25 [81.44, 88.40]"


def test_differences_carry_signs() -> None:
    assert format_difference(metric(1.2, -0.3, 2.8)) == "+1.20 [−0.30, +2.80]"
    assert format_difference(metric(1.2, -0.3, 2.8), with_n=True) == "+1.20 [−0.30, +2.80] n=400"
    assert format_difference(metric(-9.5, -12.0, -7.0)) == "−9.50 [−12.00, −7.00]"


@pytest.mark.parametrize("value", [0.0, -0.0, -0.001, 0.001])
def test_zero_has_no_sign(value: float) -> None:
    assert format_difference(metric(value, value, value)) == "0.00 [0.00, 0.00]"


def test_no_interval_no_brackets() -> None:
    assert format_metric(metric(100.0, math.nan, math.nan)) == "100.00"


def test_errors_have_four_significant_digits() -> None:
    assert format_metric(metric(0.0123456, 0.01, 0.02, "error")) == "0.01235 [0.01000, 0.02000]"
    assert (
        format_metric(metric(-1.5e-7, -2e-7, 1e-7, "error^2"))
        == "−1.500e−07 [−2.000e−07, 1.000e−07]"
    )
    assert format_metric(metric(12345.0, math.nan, math.nan, "error")) == "1.234e+04"
    assert format_metric(metric(1234.0, math.nan, math.nan, "error")) == "1234"


def test_which_direction_is_better() -> None:
    arrows = {"↑": "higher", "↓": "lower"}
    assert {name: arrows[each.head[-1]] for name, each in QUANTITIES.items()} == {
        "acc1": "higher",
        "map_image": "higher",
        "eps_error_rise": "lower",
        "best_margin": "higher",
        "pairwise_auc": "higher",
        "acc1_first": "higher",
        "eps_rise_equal": "lower",
        "eps_rise_low": "lower",
        "eps_rise_mid": "lower",
        "eps_rise_high": "lower",
        "acc1_drop": "lower",
        "fid": "lower",
        "frechet_mini": "lower",
        "class_agreement": "higher",
        "flops_g": "lower",
        "flops_saved_percent": "higher",
        "time_ms_per_step": "lower",
        "speedup": "higher",
        "acceleration_percent": "higher",
    }


def test_which_blocks_compare_rows() -> None:
    assert {name for name, each in QUANTITIES.items() if each.deltas} == {
        "acc1",
        "map_image",
        "best_margin",
        "pairwise_auc",
        "acc1_first",
        "eps_rise_equal",
        "eps_rise_low",
        "eps_rise_mid",
        "eps_rise_high",
        "eps_error_rise",
        "fid",
        "frechet_mini",
        "class_agreement",
    }


def test_the_small_distance_is_never_called_fid() -> None:
    assert "FID" not in QUANTITIES["frechet_mini"].title
    assert QUANTITIES["frechet_mini"].explanation.startswith("Not an FID: ")


def test_comparisons_with_the_baseline_need_it() -> None:
    assert {name for name, each in QUANTITIES.items() if each.needs_none} == {
        "acc1_drop",
        "eps_error_rise",
        "eps_rise_equal",
        "eps_rise_low",
        "eps_rise_mid",
        "eps_rise_high",
    }
