from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import LGTM, Draw, MergeReduction


@pytest.mark.parametrize("ratio", [0.2, 0.6])
@pytest.mark.parametrize("cell", [(2, 2), (3, 2)])
def test_it_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], ratio: float, cell: tuple[int, int]
) -> None:
    metric = torch.randn(3, grid[0] * grid[1], 6, dtype=torch.float64)
    x = torch.randn_like(metric)
    plan = LGTM(ratio, cell).plan(metric, grid)
    reduced = plan.reduce(x)
    for b in range(3):
        scores = slow.laplacian_l1(metric[b].numpy(), *grid)
        dst = slow.lowest_of_each_cell(scores, slow.cells(*grid, *cell))
        expected = slow.merge(metric[b].numpy(), dst, int(len(metric[b]) * ratio))
        np.testing.assert_allclose(reduced[b], expected.reduce(x[b].numpy()), rtol=1e-11)
        restored = expected.restore(expected.reduce(x[b].numpy()))
        np.testing.assert_allclose(plan.restore(reduced)[b], restored, rtol=1e-11)


def test_single_precision_decides_as_double() -> None:
    torch.manual_seed(3)
    metric = torch.randn(4, 256, 48)
    single, double = (LGTM(0.7).plan(m, (16, 16)) for m in (metric, metric.double()))
    assert isinstance(single, MergeReduction)
    assert isinstance(double, MergeReduction)
    assert torch.equal(single.owner, double.owner)


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
    plans = [LGTM(0.6).plan(metric, (8, 8), draw) for draw in (None, Draw(5, "x", None))]
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
