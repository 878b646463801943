"""Average precision against scikit-learn's where both are defined alike, and by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score

from bigain.metrics import ranking
from bigain.metrics.ranking import average_precision, class_ranks, mean_class_precision

Draw = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]


def draw(n: int, classes: int, seed: int, density: float = 0.3) -> Draw:
    """Errors, winners among the best three, and true classes."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.1, 0.3, (n, classes))
    winners = scores.argsort(axis=1)[np.arange(n), rng.integers(0, min(3, classes), n)]
    return scores, winners, rng.random((n, classes)) < density


# Ranks.


def test_the_winner_is_first_then_the_others_by_error() -> None:
    scores = [[0.3, 0.1, 0.2, 0.4], [0.3, 0.1, 0.2, 0.4], [0.2, 0.1, 0.2, 0.1]]
    expected = [[3, 1, 2, 4], [3, 2, 1, 4], [3, 2, 4, 1]]  # ties go to the lower class
    assert class_ranks(scores, [1, 2, 3]).tolist() == expected


# Of an image.


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([1], 1.0),
        ([4], 0.25),
        ([1, 2, 3], 1.0),
        ([2, 4], (1 / 2 + 2 / 4) / 2),
        ([7, 1], (1 + 2 / 7) / 2),
        ([3, 5, 80], (1 / 3 + 2 / 5 + 3 / 80) / 3),
    ],
)
def test_the_precision_of_an_image_is_equation_26(ranks: list[int], expected: float) -> None:
    assert average_precision(ranks) == pytest.approx(expected)


def test_an_image_without_a_class_has_no_precision() -> None:
    assert average_precision([]) == 0


@given(st.integers(2, 12), st.integers(0, 999))
def test_the_precision_of_an_image_is_scikit_learns(classes: int, seed: int) -> None:
    scores, winners, truth = draw(8, classes, seed, 0.5)
    ranks = class_ranks(scores, winners)
    kept = truth.any(axis=1)
    ours = [average_precision(r[t]) for r, t in zip(ranks[kept], truth[kept], strict=True)]
    theirs = [average_precision_score(t, -r) for r, t in zip(ranks[kept], truth[kept], strict=True)]
    assert ours == pytest.approx(theirs)
    if kept.any():
        together = label_ranking_average_precision_score(truth[kept], -ranks[kept])
        assert np.mean(ours) == pytest.approx(together)


# Over classes.


@given(st.integers(2, 40), st.integers(2, 12), st.integers(0, 999))
@settings(max_examples=40)
def test_the_mean_over_classes_is_scikit_learns_with_its_ties(
    n: int, classes: int, seed: int
) -> None:
    scores, winners, truth = draw(n, classes, seed)
    ranks = class_ranks(scores, winners)
    ranks[::5] = classes + 1  # images that could not be read
    value, low, high = mean_class_precision(ranks, truth)
    have = truth.any(axis=0)
    if not have.any():
        assert math.isnan(value)
        return
    theirs = average_precision_score(truth[:, have], -ranks[:, have], average="macro")
    assert value == pytest.approx(theirs)
    assert low <= high


def test_a_class_that_no_image_has_is_left_out() -> None:
    ranks = np.array([[1, 2, 3], [2, 1, 3]])
    truth = np.array([[True, False, False], [False, True, False]])
    assert mean_class_precision(ranks, truth)[0] == 1.0
    truth[1] = False
    assert mean_class_precision(ranks[::-1], truth)[0] == 0.5


def test_without_any_class_there_is_no_value_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = mean_class_precision([[1, 2], [2, 1]], np.zeros((2, 2), bool))
    assert all(math.isnan(value) for value in values)


def test_the_interval_is_the_bootstraps() -> None:
    """Against resampling written out, with scikit-learn's precision."""
    scores, winners, truth = draw(120, 3, 5, 0.4)
    scores[truth] -= 0.06
    ranks = class_ranks(scores, winners)
    value, low, high = mean_class_precision(ranks, truth)
    assert mean_class_precision(ranks.copy(), truth.copy()) == (value, low, high)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(600):
        rows = rng.integers(0, 120, 120)
        means.append(average_precision_score(truth[rows], -ranks[rows], average="macro"))
    expected = np.quantile(means, [0.025, 0.975])
    assert low < value < high
    assert [low, high] == pytest.approx(expected, abs=0.015)


def test_all_of_coco_fits_in_memory() -> None:
    """5,000 images, 80 classes, 1,000 resamples; chance level is the share of true classes."""
    scores, winners, truth = draw(5000, 80, 0, 0.04)
    ranks = class_ranks(scores, winners)
    value, low, high = mean_class_precision(ranks, truth)
    assert low < value < high
    assert value == pytest.approx(0.04, abs=0.01)
    assert ranking.RESAMPLES == 1000
