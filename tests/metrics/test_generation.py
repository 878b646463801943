import numpy as np
import numpy.typing as npt
import pytest

from bigain.metrics.feature_sets import kernel_distance, precision_recall
from bigain.metrics.frechet import FewImagesWarning, frechet_with_interval
from bigain.metrics.generation import generation_metrics
from bigain.metrics.moments import moments_of


def sample(seed: int, n: int, shift: float = 0.0) -> npt.NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, 4)) + shift
    return rows.astype(np.float32)


def test_all_four_numbers_of_one_set() -> None:
    x, y = sample(0, 100, shift=0.5), sample(1, 140)
    metrics = generation_metrics("frechet_mini", x, moments_of(y), y, seed=5)
    names = ["frechet_mini", "kid", "kid_error", "precision", "recall"]
    assert [m.metric for m in metrics] == names
    assert [m.n for m in metrics] == [100, 100, 100, 100, 140]
    assert [m.unit for m in metrics] == ["feature^2", "mmd^2", "mmd^2", "share", "share"]
    inside, covered = precision_recall(x, y)
    values = [
        frechet_with_interval(x, moments_of(y)).value,
        kernel_distance(x, y, seed=5).value,
        kernel_distance(x, y, seed=5).error,
        inside.mean(),
        covered.mean(),
    ]
    assert [m.value for m in metrics] == pytest.approx(values, rel=1e-12)
    assert all(m.ci_low < m.value < m.ci_high for m in metrics if m.metric != "kid_error")
    kid, error = metrics[1:3]
    assert error.ci_low != error.ci_low, "an error has no interval"
    half = (kid.ci_high - kid.ci_low) / 2
    assert half / error.value == pytest.approx(2.093, abs=1e-3), "Student's t of 20 subsets"


def test_published_statistics_give_the_distance_alone() -> None:
    x, y = sample(0, 50), sample(1, 60)
    metrics = generation_metrics("fid", x, moments_of(y))
    assert [m.metric for m in metrics] == ["fid"]


def test_three_images_have_a_distance_and_no_more() -> None:
    x, y = sample(0, 3), sample(1, 60)
    with pytest.warns(FewImagesWarning):
        metrics = generation_metrics("fid", x, moments_of(y), y)
    assert [m.metric for m in metrics] == ["fid"]
