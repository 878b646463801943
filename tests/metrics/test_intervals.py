"""Intervals against reference implementations and by their coverage."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from bigain.metrics.intervals import NORMAL_QUANTILE, mean_interval, t_quantile, wilson


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 400), (400, 400), (1, 7), (823, 1000), (5, 10_000)]
)
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    expected = proportion_confint(successes, n, alpha=0.05, method="wilson")
    assert wilson(successes, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_wilson_is_symmetric_and_holds_the_share(n: int) -> None:
    for successes in range(0, n + 1, max(1, n // 50)):
        low, high = wilson(successes, n)
        assert 0 <= low <= successes / n <= high <= 1
        assert high > low
        mirrored = wilson(n - successes, n)
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_ends_are_exact_at_the_extremes() -> None:
    assert wilson(0, 30)[0] == 0.0
    assert wilson(30, 30)[1] == 1.0


def test_wilson_solves_its_own_equation() -> None:
    n, successes = 137, 101
    for end in wilson(successes, n):
        distance = abs(successes / n - end)
        assert distance == pytest.approx(NORMAL_QUANTILE * math.sqrt(end * (1 - end) / n))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"successes={successes}, n={n}"):
        wilson(successes, n)


def test_mean_interval_equals_scipy() -> None:
    values = np.random.default_rng(0).normal(3, 2, 25)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(tuple(expected))


def test_mean_interval_of_too_few_values_does_not_exist() -> None:
    assert all(math.isnan(end) for end in mean_interval([1.0]))
    assert all(math.isnan(end) for end in mean_interval([]))


def test_mean_interval_of_equal_values_is_a_point() -> None:
    assert mean_interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_mean_interval_works_in_double_precision() -> None:
    """In float32 the spread of values near 10,000 would be lost."""
    values = 1e4 + np.array([0.0, 1e-4, 2e-4])
    low, high = mean_interval(values)
    assert high - low == pytest.approx(2 * t_quantile(3) * 1e-4 / math.sqrt(3), rel=1e-6)


def test_t_quantile_tends_to_the_normal_one() -> None:
    assert t_quantile(2) == pytest.approx(12.7062, abs=1e-4)
    assert t_quantile(10**7) == pytest.approx(NORMAL_QUANTILE, abs=1e-6)
    assert pytest.approx(1.959964, abs=1e-6) == NORMAL_QUANTILE
