from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import LGTM, SCORES, MergeReduction, RandomKey


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(("ratio", "cell"), [(0.2, (2, 2)), (0.6, (3, 2)), (0.9, (4, 4))])
def test_it_is_its_definition(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    cell: tuple[int, int],
    dtype: torch.dtype,
) -> None:
    check(slow, LGTM(ratio, cell), grid, dtype)


@pytest.mark.parametrize("score", list(SCORES))
@pytest.mark.parametrize("small", [(4, 4), (7, 5), (5, 11)], ids=str)
def test_it_is_its_definition_with_every_score(
    slow: SimpleNamespace, small: tuple[int, int], score: str
) -> None:
    check(slow, LGTM(0.6, score=score), small, torch.float64)


def check(slow: SimpleNamespace, operator: LGTM, grid: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(grid[0])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=dtype).unbind()
    plan = operator.plan(metric, grid)
    reduced = plan.reduce(x)
    cells = slow.cells(*grid, *operator.cell)
    removed = int(len(metric[0]) * operator.ratio)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for b in range(2):
        scores = slow.score(operator.score, metric[b].double().numpy(), *grid)
        dst = slow.lowest_of_each_cell(scores, cells)
        expected = slow.merge(metric[b].double().numpy(), dst, removed)
        merged = expected.reduce(x[b].double().numpy())
        np.testing.assert_allclose(reduced[b], merged, tolerance, tolerance)
        np.testing.assert_allclose(
            plan.restore(reduced)[b], expected.restore(merged), tolerance, tolerance
        )


def test_single_precision_decides_as_double() -> None:
    torch.manual_seed(3)
    metric = torch.randn(4, 256, 48)
    single, double = (LGTM(0.7).plan(m, (16, 16)) for m in (metric, metric.double()))
    assert isinstance(single, MergeReduction)
    assert isinstance(double, MergeReduction)
    assert torch.equal(single.assignment, double.assignment)


def test_an_edge_is_never_a_destination() -> None:
    image = torch.zeros(1, 8, 8, 3)
    image[:, 3:5, 3:5] = 1.0
    image[:, 3, 3] = 5.0
    plan = LGTM(0.5).plan(image.flatten(1, 2), (8, 8))
    assert isinstance(plan, MergeReduction)
    assert 3 * 8 + 3 not in plan.dst[0].tolist()


def test_a_flat_image_takes_the_first_token_of_inner_cells() -> None:
    plan = LGTM(0.5).plan(torch.full((1, 64, 5), 0.37), (8, 8))
    assert isinstance(plan, MergeReduction)
    inner = [plan.dst[0].tolist()[cell] for cell in (5, 6, 9, 10)]
    assert inner == [18, 20, 34, 36]


def test_it_is_deterministic_whatever_the_draw() -> None:
    metric = torch.randn(2, 64, 4)
    plans = [LGTM(0.6).plan(metric, (8, 8), draw) for draw in (None, RandomKey(5, "x", None))]
    assert torch.equal(plans[0].reduce(metric), plans[1].reduce(metric))


def test_the_map_follows_the_image() -> None:
    plan = LGTM(0.6).plan(torch.randn(2, 64, 4), (8, 8))
    assert isinstance(plan, MergeReduction)
    assert not torch.equal(plan.dst[0], plan.dst[1])


def test_the_score_is_checked_at_once() -> None:
    with pytest.raises(UserError, match=r"^score='sobel': unknown .*laplacian_l1"):
        LGTM(0.5, score="sobel")


def test_repr_shows_the_settings() -> None:
    assert repr(LGTM(0.5)) == "LGTM(ratio=0.5, cell=(2, 2), score='laplacian_l1')"
