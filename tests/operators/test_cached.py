from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import LGTM, SCORES, CachedAssignment, Identity, SiTo, ToDo, ToMe


@pytest.mark.parametrize("cell", [(2, 2), (3, 2)])
def test_the_map_of_one_site_merges_the_tensor_of_another(
    slow: SimpleNamespace, grid: tuple[int, int], cell: tuple[int, int]
) -> None:
    first, second = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    plan = CachedAssignment(0.6, cell).plan(first, grid)
    reduced = plan.reduce(second)
    for b in range(2):
        scores = slow.score("laplacian_l1", first[b].numpy(), *grid)
        dst = slow.lowest_of_each_cell(scores, slow.cells(*grid, *cell))
        expected = slow.merge(first[b].numpy(), dst, int(len(first[b]) * 0.6))
        merged = expected.reduce(second[b].numpy())
        np.testing.assert_allclose(reduced[b], merged, rtol=1e-11)
        np.testing.assert_allclose(plan.restore(reduced)[b], expected.restore(merged), rtol=1e-11)


@pytest.mark.parametrize("score", list(SCORES))
def test_its_map_is_that_of_lgtm(score: str) -> None:
    x = torch.randn(2, 63, 8)
    ours, theirs = (kind(0.6, score=score).plan(x, (9, 7)) for kind in (CachedAssignment, LGTM))
    assert torch.equal(ours.reduce(x), theirs.reduce(x))
    assert CachedAssignment(0.6).num_kept((9, 7)) == LGTM(0.6).num_kept((9, 7))
    assert CachedAssignment(0.6).plan_flops((9, 7), 8) == LGTM(0.6).plan_flops((9, 7), 8)


def test_it_alone_is_shared_in_a_stage() -> None:
    assert CachedAssignment(0.6).shared_in_stage
    others = [Identity(), LGTM(0.6), ToMe(0.6), SiTo(0.6), ToDo(2)]
    assert not any(operator.shared_in_stage for operator in others)


def test_it_is_not_equal_to_lgtm() -> None:
    assert CachedAssignment(0.6) == CachedAssignment(0.6)
    assert CachedAssignment(0.6) != LGTM(0.6)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UserError, match=r"^ratio=0\.9: "):
        CachedAssignment(0.9)
    with pytest.raises(UserError, match=r"^cell=\(2,\): "):
        CachedAssignment(0.5, (2,))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^score='sobel': "):
        CachedAssignment(0.5, score="sobel")


def test_repr_shows_the_settings() -> None:
    shown = "CachedAssignment(ratio=0.5, cell=(2, 2), score='laplacian_l1')"
    assert repr(CachedAssignment(0.5)) == shown
