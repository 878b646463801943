import numpy as np
import numpy.typing as npt
import pytest

from bigain.errors import UserError
from bigain.metrics.moments import Moments, StreamedMoments, check_features, moments_of


def features(n: int, d: int, offset: float = 0.0) -> npt.NDArray[np.float64]:
    generator = np.random.default_rng(n)
    return generator.standard_normal((n, d)) @ generator.standard_normal((d, d)) + offset


def streamed(rows: npt.NDArray[np.float64], *sizes: int) -> Moments:
    """The rows in pieces of these sizes, over and over."""
    stream, start, turn = StreamedMoments(rows.shape[1]), 0, 0
    while start < len(rows):
        stream.update(rows[start : start + sizes[turn % len(sizes)]])
        start += sizes[turn % len(sizes)]
        turn += 1
    return stream.result()


@pytest.mark.parametrize("n", [2, 255, 256, 257, 1000])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_streaming_equals_two_passes(n: int, offset: float) -> None:
    """The offset costs a sum of squares 12 of its 16 digits, and this one none."""
    rows = features(n, 7, offset)
    found = moments_of(rows)
    spread = np.abs(np.cov(rows, rowvar=False)).max()
    assert found.n == n
    assert found.dimension == 7
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-13)
    tolerance = (1e-13 if offset == 0 else 1e-9) * spread
    np.testing.assert_allclose(found.covariance, np.cov(rows, rowvar=False), atol=tolerance)


@pytest.mark.parametrize("sizes", [(1,), (3, 50), (256,), (999,), (100, 1, 400)])
def test_the_pieces_do_not_change_a_bit(sizes: tuple[int, ...]) -> None:
    rows = features(1000, 5)
    found, whole = streamed(rows, *sizes), moments_of(rows)
    assert np.array_equal(found.mean, whole.mean)
    assert np.array_equal(found.covariance, whole.covariance)


@pytest.mark.parametrize("n", [0, 1])
def test_one_image_has_no_covariance(n: int) -> None:
    with pytest.raises(UserError, match=f"n={n}: a covariance needs at least 2 images"):
        moments_of(np.zeros((n, 3)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    rows = features(9, 3)
    rows[4, 1] = rows[6, 0] = value
    with pytest.raises(UserError, match=r"2 of 9 images .* first at position 4") as caught:
        check_features(rows)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        moments_of(rows)


def test_other_shapes_are_refused() -> None:
    for shape in ((3,), (2, 3, 4)):
        with pytest.raises(ValueError, match=r"allowed: \(n, d\)"):
            check_features(np.zeros(shape))
    with pytest.raises(ValueError, match=r"allowed: \(n, 3\)"):
        StreamedMoments(3).update(np.zeros((2, 4)))
