"""Cantelli's bound: its closed form, its limits, and that it holds."""

import numpy as np
import pytest

from bigain.metrics.margins import cantelli_bound, margin_ratio


def test_it_is_equation_14() -> None:
    mean, variance, trials = 0.02, 0.003, 20
    rho = variance / mean**2
    assert float(cantelli_bound(mean, variance, trials)) == pytest.approx(rho / (rho + trials))


@pytest.mark.parametrize("mean", [0.0, -0.1])
def test_without_a_positive_margin_it_promises_nothing(mean: float) -> None:
    assert cantelli_bound(mean, 0.5, 20) == 1
    assert cantelli_bound(mean, 0.0, 20) == 1


def test_without_variance_the_true_class_always_wins() -> None:
    assert cantelli_bound(0.1, 0.0, 1) == 0


def test_more_trials_and_larger_margins_help() -> None:
    by_trials = cantelli_bound(0.1, 0.2, np.array([1, 5, 20, 100]))
    assert np.all(np.diff(by_trials) < 0)
    by_margin = cantelli_bound(np.array([0.01, 0.1, 1.0]), 0.2, 5)
    assert np.all(np.diff(by_margin) < 0)


def test_it_broadcasts_and_keeps_what_is_missing() -> None:
    bound = cantelli_bound(np.array([[0.1], [-1.0], [np.nan]]), np.array([0.1, 0.2]), 5)
    assert bound.shape == (3, 2)
    assert bound.dtype == np.float64
    assert np.all(bound[1] == 1)
    assert np.all(np.isnan(bound[2]))
    assert np.all((bound[0] > 0) & (bound[0] < 1))


@pytest.mark.parametrize("trials", [1, 5])
def test_it_bounds_the_frequency_of_a_non_positive_mean(trials: int) -> None:
    draws = np.random.default_rng(0).exponential(1.0, (20_000, trials)) - 0.6
    frequency = (draws.mean(axis=1) <= 0).mean()
    assert 0 < frequency <= float(cantelli_bound(0.4, 1.0, trials))


def test_the_extremal_distribution_reaches_it() -> None:
    """Two values, the lower one exactly 0: Cantelli's inequality is an equality."""
    lower_share, upper = 0.2, 1.0
    mean = (1 - lower_share) * upper
    variance = lower_share * (1 - lower_share) * upper**2
    assert float(cantelli_bound(mean, variance, 1)) == pytest.approx(lower_share)


def test_the_ratio_is_that_of_the_means() -> None:
    rho, low, high = margin_ratio([0.1, 0.3], [0.02, 0.06])
    assert rho == pytest.approx(0.04 / 0.2**2)
    assert low < rho < high


def test_the_interval_of_the_ratio_is_that_of_the_delta_method() -> None:
    """The same standard error from gradient and covariance."""
    draw = np.random.default_rng(0)
    mu, var = draw.normal(0.2, 0.05, 400), draw.gamma(4.0, 0.01, 400)
    rho, low, high = margin_ratio(mu, var)
    m, v = mu.mean(), var.mean()
    gradient = np.array([-2 * v / m**3, 1 / m**2])
    error = np.sqrt(gradient @ np.cov(mu, var) @ gradient / len(mu))
    assert high - low == pytest.approx(2 * 1.965927 * error, rel=1e-5)
    assert (low + high) / 2 == pytest.approx(rho)


def test_the_interval_of_the_ratio_covers_the_truth() -> None:
    draw = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        _, low, high = margin_ratio(draw.normal(0.2, 0.05, 100), draw.gamma(4.0, 0.01, 100))
        hits += low <= 0.04 / 0.2**2 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_a_single_image_has_a_ratio_and_no_interval() -> None:
    rho, low, high = margin_ratio([0.1], [0.01])
    assert rho == pytest.approx(1)
    assert np.isnan([low, high]).all()
