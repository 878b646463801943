import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from pytorch_fid import fid_score
from scipy import linalg
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from bigain.errors import UserError
from bigain.metrics.frechet import (
    FewImagesWarning,
    frechet_distance,
    frechet_with_interval,
    warn_if_few,
)
from bigain.metrics.intervals import paired_difference
from bigain.metrics.moments import Moments, moments_of

FloatArray = npt.NDArray[np.float64]


def sample(seed: int, n: int, d: int) -> FloatArray:
    """Correlated, skewed, and of another shape for each seed."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((d, d)) / d**0.5
    rows: FloatArray = generator.standard_gamma(2.0, (n, d)) @ mixing
    return rows + generator.standard_normal(d) / 4


def normal(mean: list[float], covariance: list[list[float]]) -> Moments:
    return Moments(np.array(mean), np.array(covariance), None)


@pytest.fixture
def pytorch_fid_distance(monkeypatch: pytest.MonkeyPatch) -> Any:
    """pytorch-fid's own formula, also where SciPy (1.18) no longer knows `disp`."""

    def sqrtm(matrix: FloatArray, disp: bool = True) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", linalg.LinAlgWarning)
            root = linalg.sqrtm(matrix)
        return root if disp else (root, 0.0)

    class Linalg:
        pass

    Linalg.sqrtm = staticmethod(sqrtm)  # type: ignore[attr-defined]
    monkeypatch.setattr(fid_score, "linalg", Linalg)
    return fid_score.calculate_frechet_distance


def test_one_dimension_is_the_textbook_formula() -> None:
    """(m1 - m2)^2 + (s1 - s2)^2."""
    a, b = normal([1.0], [[4.0]]), normal([4.0], [[25.0]])
    assert frechet_distance(a, b) == pytest.approx(9 + 9, rel=1e-14)


def test_it_is_symmetric_and_zero_for_equal_sides() -> None:
    a, b = moments_of(sample(0, 200, 8)), moments_of(sample(1, 90, 8))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert 0 <= frechet_distance(a, a) < 1e-10


@pytest.mark.parametrize(("n", "d"), [(200, 5), (900, 64), (700, 192)])
def test_it_is_torch_fidelitys_number(n: int, d: int) -> None:
    x, y = sample(3, n, d), sample(4, n + 50, d)
    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(moments_of(x), moments_of(y)) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(300, 8), (400, 96), (40, 96)])
def test_it_is_pytorch_fids_number(pytorch_fid_distance: Any, n: int, d: int) -> None:
    """Also where covariances are rank-deficient, whose unsymmetric root is all rounding."""
    x, y = sample(5, n, d), sample(6, n, d)
    theirs = pytorch_fid_distance(
        x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)
    )
    assert frechet_distance(moments_of(x), moments_of(y)) == pytest.approx(theirs, rel=1e-6)


def test_rank_deficient_sides_are_exact() -> None:
    """In the span of both sets nothing is deficient: the distance there is the distance."""
    x, y = sample(0, 7, 5), sample(1, 9, 5)
    embedding = np.linalg.qr(np.random.default_rng(2).standard_normal((40, 5)))[0].T
    inside = frechet_distance(moments_of(x), moments_of(y))
    outside = frechet_distance(moments_of(x @ embedding), moments_of(y @ embedding))
    assert outside == pytest.approx(inside, rel=1e-7)


def test_a_constant_feature_changes_nothing() -> None:
    """Also not the influences: directions without variance are left out of the transport."""
    x, y = sample(0, 60, 4), sample(1, 80, 4)
    wider = [np.column_stack([rows, np.full(len(rows), 3.0)]) for rows in (x, y)]
    plain = frechet_with_interval(x, moments_of(y))
    constant = frechet_with_interval(wider[0], moments_of(wider[1]))
    assert constant.value == pytest.approx(plain.value, rel=1e-9)
    np.testing.assert_allclose(constant.influences, plain.influences, atol=1e-9)


def test_the_influences_are_the_derivatives_to_the_weights() -> None:
    """Against a numerical derivative of the distance of weighted moments."""
    x, y = sample(7, 60, 3), moments_of(sample(8, 300, 3))
    n, influences = len(x), frechet_with_interval(x, y).influences

    def distance(image: int, extra: float) -> float:
        weights = np.full(n, (1 - extra) / n)
        weights[image] += extra
        mean = weights @ x
        covariance = (x - mean).T * weights @ (x - mean) * n / (n - 1)
        return frechet_distance(Moments(mean, covariance, n), y)

    step = 1e-6
    numeric = np.array([(distance(i, step) - distance(i, -step)) / (2 * step) for i in range(n)])
    # the constant n / (n - 1) in front of the covariance is left out of the influence
    np.testing.assert_allclose(influences, numeric, rtol=0.05, atol=0.05 * float(numeric.std()))
    assert np.corrcoef(influences, numeric)[0, 1] > 0.9999
    assert abs(influences.mean()) < 1e-12


def test_its_standard_error_is_that_of_leaving_images_out() -> None:
    x, y = sample(9, 400, 3), moments_of(sample(10, 400, 3))
    left_out = np.array([frechet_distance(moments_of(np.delete(x, i, 0)), y) for i in range(400)])
    jackknife = np.sqrt(399 / 400 * np.square(left_out - left_out.mean()).sum())
    influences = frechet_with_interval(x, y).influences
    assert influences.std(ddof=1) / 20 == pytest.approx(jackknife, rel=0.03)


@pytest.mark.parametrize(("shift", "lowest"), [(0.0, 0.90), (0.5, 0.91)])
def test_the_interval_covers_as_often_as_it_says(shift: float, lowest: float) -> None:
    """95 % of the distances of 300 seeded samples, more where nothing differs; never far fewer."""
    generator = np.random.default_rng(11)
    scale = np.array([0.3, 1.0, 1.5, 2.0])
    reference = moments_of(generator.standard_normal((20_000, 4)) * scale)
    results = [
        frechet_with_interval(
            generator.standard_normal((200, 4)) * scale * (1 + shift) + shift, reference
        )
        for _ in range(300)
    ]
    expected = np.mean([result.value for result in results])
    covered = np.mean([r.ci_low <= expected <= r.ci_high for r in results])
    widths = np.mean([r.ci_high - r.ci_low for r in results])
    spread = np.std([r.value for r in results])
    assert lowest <= covered <= (0.99 if shift else 1.0)
    assert widths < 2 * 1.96 * spread * (1.2 if shift else 1.8)


def test_influences_pair_two_runs_from_the_same_noises() -> None:
    """What both have in common cancels; without pairing the difference would be noise."""
    x, reference = sample(12, 500, 4), moments_of(sample(13, 500, 4))
    a, b = frechet_with_interval(x, reference), frechet_with_interval(1.02 * x, reference)
    paired = paired_difference(*(pd.Series(r.value + r.influences) for r in (b, a)))
    assert paired.mean == pytest.approx(b.value - a.value, rel=1e-9)
    alone = np.hypot(a.ci_high - a.value, b.ci_high - b.value)
    assert (paired.ci_high - paired.ci_low) / 2 < alone / 5


def test_few_images_warn_and_enough_do_not() -> None:
    enough, few = sample(0, 30, 20), sample(1, 19, 20)
    unknown = Moments(np.zeros(20), np.eye(20), None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_with_interval(enough, moments_of(enough))
        frechet_with_interval(enough, unknown)
        warn_if_few(unknown, unknown)
    for rows, reference in ((few, enough), (enough, few)):
        with pytest.warns(FewImagesWarning, match="n=19 images for 20 features"):
            frechet_with_interval(rows, moments_of(reference))


def test_another_number_of_features_is_refused() -> None:
    with pytest.raises(UserError, match=r"features: 3 on one side and 4 on the other"):
        frechet_distance(moments_of(sample(0, 9, 3)), moments_of(sample(0, 9, 4)))


@pytest.mark.parametrize("broken", [0, 1])
def test_nan_and_too_few_are_refused(broken: int) -> None:
    rows = sample(0, 9, 3)
    reference = moments_of(rows)
    if broken:
        rows[2, 2] = np.nan
    with pytest.raises(UserError, match="NaN" if broken else "n=1"):
        frechet_with_interval(rows if broken else rows[:1], reference)
