from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.errors import UserError
from bigain.operators import LGTM, UNCHANGED, BipartiteMerge, MergeReduction, RandomKey, ToMe

MERGES = [ToMe, LGTM]


@dataclass(frozen=True)
class LastOfCell(BipartiteMerge):
    """A merge that differs in the choice of destinations only."""

    def destinations(
        self, metric: torch.Tensor, grid: tuple[int, int], draw: RandomKey
    ) -> torch.Tensor:
        del draw
        tokens = torch.arange(grid[0] * grid[1]).view(grid)
        last = tokens[self.cell[0] - 1 :: self.cell[0], self.cell[1] - 1 :: self.cell[1]]
        return last.reshape(1, -1).expand(len(metric), -1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 33),
    st.integers(2, 17),
    st.floats(0, 0.75),
    st.sampled_from(MERGES),
    st.integers(0, 999),
)
def test_int_of_n_times_ratio_tokens_are_removed(
    h: int, w: int, ratio: float, kind: type[ToMe] | type[LGTM], seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, h * w, 4)
    removed = min(int(h * w * ratio), h * w - (h // 2) * (w // 2))
    operator = kind(ratio)
    reduced = operator.plan(x, (h, w)).reduce(x)
    assert reduced.shape[1] == operator.num_kept((h, w)) == h * w - removed
    assert operator.plan(x, (h, w)) is UNCHANGED or removed


@pytest.mark.parametrize("kind", MERGES)
def test_the_clamp_leaves_the_destinations_alone(kind: type[ToMe] | type[LGTM]) -> None:
    x = torch.randn(3, 64, 4)
    plan = kind(0.75).plan(x, (8, 8))
    assert isinstance(plan, MergeReduction)
    assert plan.tokens == 16
    places = plan.assignment.gather(1, plan.dst)
    assert torch.equal(places, torch.arange(16).expand(3, -1))


@pytest.mark.parametrize("kind", MERGES)
def test_larger_cells_allow_larger_ratios(kind: type[ToMe] | type[LGTM]) -> None:
    with pytest.raises(UserError, match=r"ratio=0.9: .*\[0, 0.75\]"):
        kind(0.9)
    assert kind(0.9, cell=(4, 4)).num_kept((64, 64)) == 4096 - int(4096 * 0.9)


@pytest.mark.parametrize("kind", MERGES)
def test_a_list_for_the_cell_equals_a_tuple(kind: type[ToMe] | type[LGTM]) -> None:
    assert kind(0.5, cell=[2, 2]) == kind(0.5)  # type: ignore[arg-type]


def test_leftover_tokens_are_sources() -> None:
    plan = ToMe(0.5).plan(torch.randn(1, 15, 3), (3, 5))
    assert isinstance(plan, MergeReduction)
    border = {4, 9, 10, 11, 12, 13, 14}
    assert not border & set(plan.dst[0].tolist())


def test_a_cell_that_does_not_fit_is_refused_at_the_first_plan() -> None:
    operator = ToMe(0.5, cell=(4, 4))
    with pytest.raises(UserError, match="cell=4x4: does not fit in the token grid 3x8"):
        operator.plan(torch.randn(1, 24, 3), (3, 8))
    with pytest.raises(UserError, match="cell=4x4"):
        operator.num_kept((3, 8))


def test_a_new_choice_of_destinations_is_all_that_a_new_merge_needs() -> None:
    x = torch.randn(2, 36, 4)
    plan = LastOfCell(0.7).plan(x, (6, 6))
    assert isinstance(plan, MergeReduction)
    assert plan.dst[0].tolist() == [7, 9, 11, 19, 21, 23, 31, 33, 35]
    assert plan.reduce(x).shape == (2, 36 - 25, 4)


def test_no_gradient_goes_into_the_decisions() -> None:
    metric = torch.randn(1, 36, 4, requires_grad=True)
    plan = LGTM(0.5).plan(metric, (6, 6))
    assert not plan.reduce(torch.randn(1, 36, 4)).requires_grad
    assert plan.reduce(metric).requires_grad
