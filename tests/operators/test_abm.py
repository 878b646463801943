from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import ABM, UNCHANGED, MergeReduction
from bigain.operators.abm import AGGREGATES


@pytest.mark.parametrize(
    "operator",
    [
        *(ABM(0.7, aggregate=name) for name in AGGREGATES),
        *(ABM(0.6, (3, 2), aggregate=name) for name in AGGREGATES),
        *(ABM(0.2), ABM(0.5, score="dft_amplitude"), ABM(0.6, padding="replicate")),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_it_is_its_definition(
    slow: SimpleNamespace, operator: ABM, grid: tuple[int, int], dtype: torch.dtype
) -> None:
    torch.manual_seed(grid[0])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=dtype).unbind()
    plan = operator.plan(metric, grid)
    reduced = plan.reduce(x)
    close = 1e-11 if dtype == torch.float64 else 1e-5
    for b in range(2):
        scores = slow.score(operator.score, metric[b].double().numpy(), *grid, operator.padding)
        tiles = slow.cells(*grid, *operator.cell)
        removed = int(len(metric[b]) * operator.ratio)
        expected = slow.pool_tiles(scores, tiles, removed, operator.aggregate)
        pooled = expected.reduce(x[b].double().numpy())
        np.testing.assert_allclose(reduced[b], pooled, close, close)
        np.testing.assert_allclose(plan.restore(reduced)[b], expected.restore(pooled), close, close)


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.7, 4096 - 3 * 955), (0.75, 1024), (0.1, 4096 - 3 * 136), (0.0, 4096)]
)
def test_a_share_below_one_tile_is_rounded_down(ratio: float, kept: int) -> None:
    """0.7 on 64 x 64 pools 955 tiles: 2865 tokens go, of int(0.7 * 4096) = 2867."""
    assert ABM(ratio).num_kept((64, 64)) == kept


def test_a_share_too_small_for_one_tile_changes_nothing() -> None:
    assert ABM(2 / 36).plan(torch.randn(1, 36, 3), (6, 6)) is UNCHANGED
    assert ABM(3 / 36).num_kept((6, 6)) == 33


def test_never_more_tiles_than_there_are() -> None:
    plan = ABM(0.75).plan(torch.randn(1, 35, 3), (5, 7))
    assert ABM(0.75).num_kept((5, 7)) == 35 - 6 * 3
    assert isinstance(plan, MergeReduction)
    assert plan.counts[0].tolist() == [1] * 11 + [4] * 6


def test_the_aggregate_decides_which_tile_is_smooth() -> None:
    """Left one large value, right four middling ones: max and sum disagree."""
    image = torch.tensor([[9.0, 0, 4, 4], [0, 0, 4, 4]]).reshape(1, 8, 1)
    for aggregate, pooled in (("max", 2), ("sum", 0), ("mean", 0)):
        plan = ABM(0.5, score="l1_norm", aggregate=aggregate).plan(image, (2, 4))
        assert isinstance(plan, MergeReduction)
        assert plan.dst.tolist() == [[pooled]]


def test_of_equal_tiles_the_first_are_pooled() -> None:
    plan = ABM(0.5).plan(torch.zeros(1, 64, 2), (8, 8))
    assert isinstance(plan, MergeReduction)
    assert plan.dst[0].tolist() == [0, 2, 4, 6, 16, 18, 20, 22, 32, 34]


def test_what_is_not_pooled_is_kept_to_the_bit() -> None:
    image = torch.zeros(1, 8, 8, 3)
    image[:, :, 4:] = torch.randn(1, 8, 4, 3) * 100
    x = torch.randn(1, 64, 5)
    plan = ABM(0.2, score="l1_norm").plan(image.flatten(1, 2), (8, 8))
    restored = plan.restore(plan.reduce(x)).unflatten(1, (8, 8))
    assert torch.equal(restored[:, :, 4:], x.unflatten(1, (8, 8))[:, :, 4:])
    assert (restored[:, :2, :2] == restored[:, :1, :1]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.76}, r"^ratio=0\.76: .*0\.75"),
        ({"ratio": 0.5, "cell": (2, 0)}, r"^cell=\[2,0\]: "),
        ({"ratio": 0.0, "cell": (1, 1)}, r"^cell=\[1,1\]: allowed: a tile"),
        ({"ratio": 0.5, "score": "sobel"}, r"^score=sobel: "),
        ({"ratio": 0.5, "aggregate": "min"}, r"^aggregate=min: allowed: max, sum, mean"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        ABM(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
