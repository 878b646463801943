"""KID, precision and recall against their definitions and torch-fidelity."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from bigain.errors import UserError
from bigain.metrics import feature_sets
from bigain.metrics.feature_sets import kernel_distance, precision_recall

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


def of_normals(a: float, b: float, d: int = 6) -> float:
    """Mean kernel of independent x ~ N(a, 1) and y ~ N(b, 1) in d dimensions, by hand.

    u = x'y has the moments m, m^2 + |a|^2 + |b|^2 + d and m^3 + 3 m (|a|^2 + |b|^2 + d + 2), with
    m = a'b.
    """
    m, lengths = d * a * b, d * (a * a + b * b)
    second, third = m**2 + lengths + d, m**3 + 3 * m * (lengths + d + 2)
    return 1 + 3 * m / d + 3 * second / d**2 + third / d**3


@pytest.mark.parametrize("subsets", [3, 5, 20])
def test_it_is_the_definition_pair_by_pair(subsets: int) -> None:
    x, y = sample(0, 7), sample(1, 11, shift=0.3)
    assert kernel_distance(x, y, subsets).value == pytest.approx(by_definition(x, y), rel=1e-12)


@pytest.mark.parametrize("n", [150, 400])
def test_it_is_torch_fidelitys_number_of_one_subset_of_all(n: int) -> None:
    x, y = sample(2, n, 64), sample(3, n, 64, shift=0.2)
    theirs = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=n, verbose=False
    )
    assert kernel_distance(x, y).value == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-9
    )


def test_its_error_is_the_jackknife_over_subsets() -> None:
    """As many subsets as images: each image of both sides is left out once."""
    x, y = sample(4, 9, shift=0.3), sample(5, 9)
    result = kernel_distance(x, y, subsets=9, seed=1)
    generator = np.random.Generator(np.random.Philox(key=1))
    x, y = x[generator.permutation(9)], y[generator.permutation(9)]
    left_out = np.array([by_definition(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(9)])
    error = math.sqrt(8 / 9 * np.square(left_out - left_out.mean()).sum())
    assert result.error == pytest.approx(error, rel=1e-9)
    assert result.subsets == 9


@pytest.mark.parametrize(("shift", "lowest"), [(0.0, 0.93), (0.4, 0.90)])
def test_it_is_unbiased_and_its_interval_covers(shift: float, lowest: float) -> None:
    """200 repetitions.  Where nothing differs the jackknife is too wide, never too narrow."""
    truth = of_normals(shift, shift) + of_normals(0, 0) - 2 * of_normals(shift, 0)
    runs = [
        kernel_distance(sample(10 + i, 100, shift=shift), sample(900 + i, 120)) for i in range(200)
    ]
    values = np.array([run.value for run in runs])
    assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(200)
    assert lowest <= np.mean([run.ci_low <= truth <= run.ci_high for run in runs])
    assert values.std() * 0.9 < np.mean([run.error for run in runs]) < values.std() * 2.2


def test_the_cut_is_seeded_and_moves_the_error_alone() -> None:
    x, y = sample(0, 100), sample(1, 130)
    assert kernel_distance(x, y, seed=3) == kernel_distance(x, y, seed=3)
    assert kernel_distance(x, y, seed=3).error != kernel_distance(x, y, seed=4).error
    assert kernel_distance(x, y, seed=3).value == pytest.approx(
        kernel_distance(x, y, seed=4).value, rel=1e-10
    )


def test_of_many_images_a_seeded_choice_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(0, 100), sample(1, 130)
    monkeypatch.setattr("bigain.metrics.feature_sets.MOST_IMAGES", 50)
    result = kernel_distance(x, y, seed=3)
    generator = np.random.Generator(np.random.Philox(key=3))
    x, y = x[generator.permutation(100)[:50]], y[generator.permutation(130)[:50]]
    assert result.value == pytest.approx(by_definition(x, y), rel=1e-10)
    assert result.n == 50


# Precision and recall.


def test_precision_and_recall_by_hand_on_a_line() -> None:
    """k = 1.  Real 0, 1, 5: balls [-1, 1], [0, 2], [1, 9].  Generated 2, 20: balls of 18."""
    real, generated = np.array([[0.0], [1.0], [5.0]]), np.array([[2.0], [20.0]])
    inside, covered = precision_recall(generated, real, neighbours=1)
    assert inside.tolist() == [True, False]
    assert covered.tolist() == [True, True, True]


@pytest.mark.parametrize("shift", [0.0, 0.7, 1.5])
def test_precision_and_recall_are_torch_fidelitys(shift: float) -> None:
    x, y = sample(0, 200, 8, shift), sample(1, 260, 8)
    theirs = prc_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        prc_neighborhood=3,
        prc_batch_size=64,
        verbose=False,
        save_cpu_ram=False,
    )
    inside, covered = precision_recall(x, y)
    assert inside.mean() == pytest.approx(theirs["precision"], abs=1e-6)
    assert covered.mean() == pytest.approx(theirs["recall"], abs=1e-6)
    assert 0 < inside.mean() < 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sample(0, 90, shift=0.5), sample(1, 70)
    whole = precision_recall(x, y)
    monkeypatch.setattr(feature_sets, "_BLOCK", 16)
    parts = precision_recall(x, y)
    assert [a.tolist() for a in whole] == [b.tolist() for b in parts]


def test_a_set_is_inside_itself_even_where_images_repeat() -> None:
    """Balls around images with three copies have radius 0; rounding must not push them out."""
    rows = np.repeat(sample(0, 20, shift=1e4), 5, axis=0)
    inside, covered = precision_recall(rows, rows)
    assert inside.all()
    assert covered.all()


@pytest.mark.parametrize("sizes", [(3, 50), (50, 3), (0, 9)])
def test_too_few_images_are_refused(sizes: tuple[int, int]) -> None:
    sides = sample(0, sizes[0]), sample(1, sizes[1])
    for compare in (kernel_distance, precision_recall):
        with pytest.raises(UserError, match=r"n=[03]: .* at least 4 images on each side"):
            compare(*sides)
    with pytest.raises(UserError, match="subsets=2: allowed: 3 or more"):
        kernel_distance(sample(0, 20), sample(1, 20), subsets=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_other_features_and_broken_ones_are_refused(value: float) -> None:
    broken = sample(0, 20)
    broken[3] = value
    for compare in (kernel_distance, precision_recall):
        with pytest.raises(UserError, match="features: 6 on one side and 5 on the other"):
            compare(sample(0, 20), sample(1, 20, d=5))
        with pytest.raises(UserError, match="position 3"):
            compare(broken, sample(1, 20))
