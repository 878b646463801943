"""Losses by band: they are exact parts of the loss, in the band where the disturbance is."""

import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from bigain.metrics import mean_interval, relative_rise
from bigain.metrics.bands import ALL, BANDS, BandErrors, band_estimates, band_losses, band_masks

Floats = NDArray[np.float64]
RANDOM = np.random.default_rng(5)


def wave(u: int, v: int, height: int = 16, width: int = 16) -> Floats:
    """The DCT-II basis function of a frequency, shape (1, height, width), not normalised."""
    rows = np.cos(math.pi * (np.arange(height) + 0.5) * u / height)
    columns = np.cos(math.pi * (np.arange(width) + 0.5) * v / width)
    return np.outer(rows, columns)[None]


def slow_losses(maps: Floats) -> list[float]:
    """One map (C, h, w), coefficient by coefficient, as the equations read."""
    channels, height, width = maps.shape
    top = math.hypot((height - 1) / height, (width - 1) / width)
    sums = [0.0, 0.0, 0.0]
    for c in range(channels):
        for u in range(height):
            for v in range(width):
                basis = wave(u, v, height, width)[0]
                unit = math.sqrt((1 if u == 0 else 2) * (1 if v == 0 else 2) / (height * width))
                coefficient = sum(
                    float(maps[c, i, j]) * unit * float(basis[i, j])
                    for i in range(height)
                    for j in range(width)
                )
                radius = math.hypot(u / height, v / width) / top
                place = 0 if radius <= 1 / 3 else 1 if radius <= 2 / 3 else 2
                sums[place] += coefficient**2
    return [each / maps.size for each in sums]


@pytest.mark.parametrize("shape", [(1, 32, 32), (4, 5, 8), (2, 3, 1, 7, 6)])
def test_the_bands_sum_to_the_mean_square(shape: tuple[int, ...]) -> None:
    maps = RANDOM.normal(size=shape)
    assert band_losses(maps).sum(axis=-1) == pytest.approx((maps**2).mean(axis=(-3, -2, -1)))


@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 6, 6)])
def test_losses_equal_a_slow_transcription(shape: tuple[int, ...]) -> None:
    maps = RANDOM.normal(size=shape)
    assert band_losses(maps) == pytest.approx(slow_losses(maps))


@pytest.mark.parametrize(
    ("frequency", "band"),
    [
        ((0, 0), 0),
        ((1, 2), 0),
        ((5, 5), 0),
        ((7, 3), 1),
        ((0, 15), 2),
        ((15, 15), 2),
        ((10, 10), 1),
    ],
)
def test_a_wave_is_in_one_band(frequency: tuple[int, int], band: int) -> None:
    found = band_losses(wave(*frequency))
    assert found.argmax() == band
    assert found[band] == pytest.approx(found.sum(), abs=1e-15)


def test_each_coefficient_has_one_band_and_a_bound_belongs_to_the_lower_one() -> None:
    for size in ((1, 1), (4, 4), (8, 5), (32, 32)):
        assert (band_masks(*size).sum(axis=0) == 1).all()
    assert band_masks(1, 1)[0].all()
    # Of 4 x 4 frequencies (1, 1) has exactly a third of the largest radius, that of (3, 3).
    assert band_masks(4, 4)[0].sum() == 4
    assert [int(mask.sum()) for mask in band_masks(32, 32)] == [183, 522, 319]


def random_errors(images: int = 12, trials: int = 3) -> BandErrors:
    return BandErrors(*(RANDOM.gamma(4, size=(images, trials, 3)) for _ in range(3)))


def test_without_an_operator_nothing_changes() -> None:
    plain = random_errors()
    plain = BandErrors(plain.true, plain.wrong, np.zeros_like(plain.change))
    found = band_estimates(plain, plain)
    for quantity in ("rise", "change", "margin_change"):
        for band in (*BANDS, ALL):
            estimate = found[quantity, band]
            assert (estimate.value, estimate.ci_low, estimate.ci_high) == (0, 0, 0)
    assert found["error", ALL].value == 1
    assert found["margin_variance", ALL].value == 1


def test_bands_sum_to_all_and_variances_miss_the_covariance() -> None:
    own, baseline = random_errors(), random_errors()
    found = band_estimates(own, baseline)
    for quantity in ("error", "rise", "change", "margin", "margin_change"):
        parts = [found[quantity, band].value for band in BANDS]
        assert sum(parts) == pytest.approx(found[quantity, ALL].value)
    margins = (own.wrong - own.true).transpose(2, 0, 1)
    usual = (baseline.wrong - baseline.true).sum(axis=2).var(axis=1, ddof=1).mean()
    covariances = sum(
        np.mean([np.cov(a, b)[0, 1] for a, b in zip(margins[i], margins[j], strict=True)])
        for i in range(3)
        for j in range(3)
        if i != j
    )
    assert found["margin_covariance", ALL].value == pytest.approx(covariances / usual)


def test_the_rise_of_all_bands_is_that_of_the_noise_error() -> None:
    own, baseline = random_errors(), random_errors()
    rise = relative_rise(*(pd.Series(e.true.sum(axis=2).mean(axis=1)) for e in (own, baseline)))
    found = band_estimates(own, baseline)["rise", ALL]
    expected = (rise.mean, rise.ci_low, rise.ci_high)
    assert (found.value, found.ci_low, found.ci_high) == pytest.approx(expected)


def test_with_equal_baselines_the_interval_is_students() -> None:
    own, level = random_errors(), np.full((12, 3, 3), 2.0)
    found = band_estimates(own, BandErrors(level, own.wrong, level))["change", "mid"]
    assert (found.ci_low, found.ci_high) == pytest.approx(
        mean_interval(own.change[..., 1].mean(axis=1) / 6)
    )


def test_a_single_trial_has_no_variance() -> None:
    found = band_estimates(random_errors().at(1), random_errors().at(1))
    assert {quantity for quantity, _ in found} == {
        *("error", "rise", "change", "margin", "margin_change")
    }
