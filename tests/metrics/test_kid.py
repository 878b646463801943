import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from bigain.errors import UserError
from bigain.metrics.kid import kid, squared_mmd

FloatArray = npt.NDArray[np.float64]


def sample(seed: int, n: int, d: int = 6, shift: float = 0.0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def by_definition(x: FloatArray, y: FloatArray) -> float:
    def kernel(a: FloatArray, b: FloatArray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    xx = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    yy = [kernel(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    xy = [kernel(a, b) for a in x for b in y]
    return float(np.mean(xx) + np.mean(yy) - 2 * np.mean(xy))


def test_it_is_the_definition_pair_by_pair() -> None:
    x, y = sample(0, 7), sample(1, 11, shift=0.3)
    assert squared_mmd(x, y) == pytest.approx(by_definition(x, y), rel=1e-12)


def test_two_points_a_side_by_hand() -> None:
    """d = 1: k(0, 2) = 1, k(1, 1) = 8, k(0, 1) = 1, k(2, 1) = 27: 1 + 8 - 2 * 14."""
    assert squared_mmd(np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])) == -19.0


def test_one_subset_of_all_is_torch_fidelitys_number() -> None:
    x, y = sample(2, 150, 64), sample(3, 150, 64, shift=0.2)
    theirs = kid_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        kid_subsets=1,
        kid_subset_size=150,
        verbose=False,
    )
    ours = kid(x, y, subset_size=150)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)
    assert (ours.subsets, ours.n) == (1, 150)
    assert math.isnan(ours.error)


def test_it_is_unbiased_and_its_error_is_the_spread_of_repetitions() -> None:
    """Of 200 repetitions without any difference the mean is 0 within 4 standard errors of it."""
    results = [kid(sample(10 + i, 100), sample(1000 + i, 100)) for i in range(200)]
    values = np.array([result.value for result in results])
    assert {result.subsets for result in results} == {10}
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    assert np.sqrt(np.mean([r.error**2 for r in results])) == pytest.approx(values.std(), rel=0.15)
    covered = np.mean([r.ci_low <= 0 <= r.ci_high for r in results])
    assert 0.90 <= covered <= 0.99


def test_a_difference_is_seen() -> None:
    result = kid(sample(0, 300, shift=0.5), sample(1, 300))
    assert result.ci_low > 0
    assert result.ci_low < result.value < result.ci_high


def test_the_draw_of_subsets_is_seeded() -> None:
    x, y = sample(0, 100), sample(1, 130)
    assert kid(x, y, seed=3) == kid(x, y, seed=3)
    assert kid(x, y, seed=3).value != kid(x, y, seed=4).value
    assert kid(x, y).n == 100


@pytest.mark.parametrize(("n", "size"), [(40, 4), (1000, 100), (5, 2)])
def test_subsets_are_a_tenth_of_the_images(n: int, size: int) -> None:
    assert kid(sample(0, n), sample(1, n)).subsets == n // size


@pytest.mark.parametrize("size", [1, 21, -3])
def test_subsets_that_cannot_be_are_refused(size: int) -> None:
    with pytest.raises(UserError, match=f"subset_size={size}: allowed: 2 to 20"):
        kid(sample(0, 20), sample(1, 30), subset_size=size)


def test_other_features_and_nan_are_refused() -> None:
    with pytest.raises(UserError, match="features: 6 of one side and 5 of the other"):
        kid(sample(0, 20), sample(1, 20, d=5))
    broken = sample(0, 20)
    broken[3] = np.nan
    with pytest.raises(UserError, match="position 3"):
        kid(broken, sample(1, 20))
