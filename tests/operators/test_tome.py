from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tomesd.merge import bipartite_soft_matching_random2d

from bigain.errors import UserError
from bigain.operators import MergeReduction, RandomKey, ToMe

SHAPES = [(16, 16, 48), (8, 12, 32), (13, 9, 16), (32, 32, 64), (5, 5, 8), (33, 17, 32)]
CASES = [(*shape, ratio) for shape in SHAPES for ratio in (0.1, 0.5, 0.7, 0.75)]
CASES += [(64, 64, 32, 0.7)]


@pytest.mark.parametrize(("h", "w", "channels", "ratio"), CASES)
def test_without_randomness_it_equals_tomesd(h: int, w: int, channels: int, ratio: float) -> None:
    torch.manual_seed(h * w)
    metric, x = torch.randn(2, 3, h * w, channels).unbind(0)
    removed = int(h * w * ratio)
    merge, unmerge = bipartite_soft_matching_random2d(metric, w, h, 2, 2, removed, no_rand=True)
    plan = ToMe(ratio, random=False).plan(metric, (h, w))
    ours, theirs = plan.reduce(x), merge(x)
    assert ours.shape == theirs.shape
    # Same merged sets: the orders of the kept tokens differ, the restored maps must not.
    labels = torch.arange(float(theirs.shape[1]))[None, :, None].expand(3, -1, 1)
    their_assignment = unmerge(labels.contiguous()).squeeze(-1).long()
    assert isinstance(plan, MergeReduction)
    for mine, other in zip(plan.assignment.tolist(), their_assignment.tolist(), strict=True):
        pairs = set(zip(mine, other, strict=True))
        assert len(pairs) == len(set(mine)) == len(set(other))
    torch.testing.assert_close(plan.restore(ours), unmerge(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("random", [True, False])
@pytest.mark.parametrize("ratio", [0.2, 0.7])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_it_is_its_definition(
    slow: SimpleNamespace,
    grid: tuple[int, int],
    ratio: float,
    random: bool,
    dtype: torch.dtype,
    close: float,
) -> None:
    torch.manual_seed(grid[1])
    metric, x = torch.randn(2, 3, grid[0] * grid[1], 6, dtype=dtype).unbind()
    draw = RandomKey(4, "site", torch.tensor([10, 20, 30]))
    plan = ToMe(ratio, random=random).plan(metric, grid, draw)
    cells = slow.cells(*grid, 2, 2)
    positions = draw.integers(len(cells), 4, metric).tolist()
    reduced = plan.reduce(x)
    for b in range(3):
        dst = [
            cell[position if random else 0]
            for cell, position in zip(cells, positions[b], strict=True)
        ]
        expected = slow.merge(metric[b].double().numpy(), dst, int(len(metric[b]) * ratio))
        merged = expected.reduce(x[b].double().numpy())
        np.testing.assert_allclose(reduced[b], merged, close, close)
        np.testing.assert_allclose(plan.restore(reduced)[b], expected.restore(merged), close, close)


def assignment(metric: torch.Tensor, draw: RandomKey | None) -> torch.Tensor:
    plan = ToMe(0.6).plan(metric, (8, 8), draw)
    assert isinstance(plan, MergeReduction)
    return plan.dst


def test_all_classes_of_an_image_share_their_destinations() -> None:
    draw = RandomKey(0, "s", torch.tensor([125] * 10))
    chosen = assignment(torch.randn(10, 64, 4), draw)
    assert (chosen == chosen[:1]).all()


def test_destinations_ignore_the_image_and_the_batch() -> None:
    alone = assignment(torch.randn(1, 64, 4), RandomKey(0, "s", torch.tensor([125])))
    odd = assignment(torch.randn(3, 64, 4), RandomKey(0, "s", torch.tensor([5, 125, 999])))
    assert torch.equal(alone[0], odd[1])


@pytest.mark.parametrize(
    "other",
    [
        RandomKey(1, "s", torch.tensor(5)),
        RandomKey(0, "r", torch.tensor(5)),
        RandomKey(0, "s", None),
    ],
)
def test_destinations_change_with_seed_site_and_time(other: RandomKey) -> None:
    metric = torch.randn(1, 64, 4)
    assert not torch.equal(
        assignment(metric, RandomKey(0, "s", torch.tensor(5))), assignment(metric, other)
    )


def test_without_a_draw_it_still_works_and_is_the_same_twice() -> None:
    metric = torch.randn(2, 64, 4)
    assert torch.equal(assignment(metric, None), assignment(metric, None))


def test_random_is_a_switch() -> None:
    with pytest.raises(UserError, match=r"^random=1: must be true or false"):
        ToMe(0.5, random=1)  # type: ignore[arg-type]


def test_repr_shows_the_settings() -> None:
    assert repr(ToMe(0.7)) == "ToMe(ratio=0.7, cell=(2, 2), random=True)"
