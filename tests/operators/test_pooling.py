from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.operators.pooling import average_pool, nearest_pool, nearest_tokens, pooled_grid

CPU = torch.device("cpu")
FACTORS = [1, 2, 3]


@pytest.mark.parametrize("factor", FACTORS)
def test_average_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 5, dtype=torch.float64)
    pooled = average_pool(x, grid, factor)
    for b in range(2):
        expected = slow.average(x[b].numpy(), *grid, factor)
        np.testing.assert_allclose(pooled[b], expected, rtol=1e-12)


@pytest.mark.parametrize("align", ["reference", "window"])
@pytest.mark.parametrize("factor", FACTORS)
def test_nearest_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int, align: str
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 5, dtype=torch.float64)
    pooled = nearest_pool(x, grid, factor, align)
    for b in range(2):
        expected = slow.nearest(x[b].numpy(), *grid, factor, align)
        np.testing.assert_array_equal(pooled[b], expected)


@pytest.mark.parametrize(("side", "factor"), [(16, 2), (64, 3), (64, 5), (17, 4)])
def test_nearest_is_torchs_nearest_exact(side: int, factor: int) -> None:
    x = torch.randn(1, side * side, 2)
    image = x.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(
        image, size=(side // factor, side // factor), mode="nearest-exact"
    )
    assert torch.equal(nearest_pool(x, (side, side), factor), small.flatten(2).transpose(1, 2))


def test_a_factor_of_two_takes_the_bottom_right_token() -> None:
    assert nearest_tokens((4, 4), 2, "reference", CPU).tolist() == [5, 7, 13, 15]


def test_alignments_differ_when_the_factor_does_not_divide() -> None:
    assert nearest_tokens((1, 8), 1, "reference", CPU).tolist() == list(range(8))
    assert nearest_tokens((8, 8), 3, "reference", CPU).tolist() == [18, 22, 50, 54]
    assert nearest_tokens((8, 8), 3, "window", CPU).tolist() == [9, 12, 33, 36]
    assert torch.equal(
        nearest_tokens((9, 6), 3, "window", CPU), nearest_tokens((9, 6), 3, "reference", CPU)
    )


def test_average_stays_in_the_range_of_its_input() -> None:
    x = torch.rand(2, 48, 3)
    pooled = average_pool(x, (6, 8), 2)
    assert pooled.min() >= x.min()
    assert pooled.max() <= x.max()


def test_trailing_rows_and_columns_are_dropped() -> None:
    assert pooled_grid((13, 9), 4) == (3, 2)
    x = torch.randn(1, 13 * 9, 2)
    changed = x.clone().unflatten(1, (13, 9))
    changed[:, 12:] = 100
    changed[:, :, 8:] = 100
    assert torch.equal(average_pool(changed.flatten(1, 2), (13, 9), 4), average_pool(x, (13, 9), 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_single(dtype: torch.dtype) -> None:
    x = torch.randn(2, 64, 4).to(dtype)
    pooled = average_pool(x, (8, 8), 4)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, average_pool(x.float(), (8, 8), 4).to(dtype))
    assert nearest_pool(x, (8, 8), 4).dtype == dtype
