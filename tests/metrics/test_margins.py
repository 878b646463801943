"""Cantelli's bound: its closed form, its limits, and that it holds."""

import numpy as np
import pytest

from bigain.metrics.margins import cantelli_bound


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
