"""Variants of the bipartite merge from other papers: ToFu's average and ReToM's destinations."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.errors import UserError
from bigain.operators import (
    LGTM,
    CachedAssignment,
    MergeReduction,
    NormedMergeReduction,
    RandomKey,
    SharedPlan,
    ToMe,
)
from bigain.operators.hybrids import lgtm_enc_ie_kvd_dec
from bigain.operators.merge import BipartiteMerge


def merged(operator: BipartiteMerge, metric: Tensor, grid: tuple[int, int]) -> MergeReduction:
    plan = operator.plan(metric, grid)
    assert isinstance(plan, MergeReduction)
    return plan


# ToFu: the mean's direction with the norm of the largest token.


def mlerp(group: Any) -> Any:
    """Of the tokens of one place, in single numbers."""
    if len(group) == 1:
        return group[0]
    mean = sum(group) / len(group)
    length = float(np.sqrt((mean**2).sum()))
    return mean / length * max(float(np.sqrt((token**2).sum())) for token in group)


@pytest.mark.parametrize(
    "operator",
    [
        ToMe(0.6, random=False, average="mlerp"),
        LGTM(0.7, (3, 2), average="mlerp"),
        CachedAssignment(0.5, average="mlerp"),
    ],
    ids=repr,
)
def test_mlerp_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], operator: BipartiteMerge
) -> None:
    torch.manual_seed(grid[1])
    metric, x = torch.randn(2, 2, grid[0] * grid[1], 6, dtype=torch.float64).unbind()
    plan = merged(operator, metric, grid)
    cells = slow.cells(*grid, *operator.cell)
    for b in range(2):
        dst = [members[0] for members in cells]
        if isinstance(operator, LGTM):
            scores = slow.score(operator.score, metric[b].numpy(), *grid)
            dst = slow.lowest_of_each_cell(scores, cells)
        expected = slow.merge(metric[b].numpy(), dst, int(len(metric[b]) * operator.ratio))
        rows = [mlerp([x[b, token].numpy() for token in members]) for members in expected.places]
        reduced = plan.reduce(x)
        np.testing.assert_allclose(reduced[b], np.array(rows), rtol=1e-10)
        np.testing.assert_array_equal(
            plan.restore(reduced)[b], reduced[b, expected.assignment].numpy()
        )


def two_merged() -> NormedMergeReduction:
    """Tokens 0 and 1 share a place; token 2 is alone."""
    return NormedMergeReduction(torch.tensor([[1, 1, 0]]), 2, torch.tensor([[0]]))


def test_the_norm_is_that_of_the_largest_token() -> None:
    """Two orthogonal unit vectors give norm 1, not 0.71; parallel ones the longer one."""
    alone = torch.tensor([3.0, -4.0])
    for tokens, expected in (
        ([[1.0, 0.0], [0.0, 1.0]], [0.5**0.5, 0.5**0.5]),
        ([[2.0, 0.0], [6.0, 0.0]], [6.0, 0.0]),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]),
    ):
        x = torch.tensor([[*tokens, alone.tolist()]])
        reduced = two_merged().reduce(x)
        torch.testing.assert_close(reduced[0, 1], torch.tensor(expected))
        assert torch.equal(reduced[0, 0], alone)


def test_mlerp_merges_the_same_tokens_and_only_groups_differ() -> None:
    """It fails if `average` does nothing, or changes what is merged."""
    torch.manual_seed(0)
    x = torch.randn(3, 64, 8)
    mean, normed = (merged(LGTM(0.6, average=each), x, (8, 8)) for each in ("mean", "mlerp"))
    assert torch.equal(mean.assignment, normed.assignment)
    groups = (mean.counts > 1)[..., None].expand(-1, -1, 8)
    change = (mean.reduce(x) - normed.reduce(x)).abs()
    assert float(change[~groups].max()) == 0
    assert float(change[groups].mean()) > 0.1
    lengths = [plan.reduce(x).norm(dim=-1)[mean.counts > 1] for plan in (mean, normed)]
    assert bool((lengths[1] > lengths[0]).all())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_norms_are_of_single_precision(dtype: torch.dtype) -> None:
    x = (100 * torch.randn(2, 64, 64)).to(dtype)
    plan = merged(ToMe(0.5, random=False, average="mlerp"), x, (8, 8))
    assert torch.equal(plan.reduce(x), plan.reduce(x.float()).to(dtype))
    assert plan.reduce(x).isfinite().all()


def test_shared_plans_and_hybrids_keep_the_average() -> None:
    metric = torch.randn(4, 64, 8)
    acting = SharedPlan(LGTM(0.5, average="mlerp")).for_stage("encoder")
    assert acting is not None
    plan = acting.plan(metric, (8, 8), RandomKey(groups=((0, 2), (1, 3))))
    assert isinstance(plan, NormedMergeReduction)
    own = lgtm_enc_ie_kvd_dec(ratio=0.5, factor=2, average="mlerp").encoder
    assert own == LGTM(0.5, average="mlerp") != LGTM(0.5)


def test_gradients_flow_through_the_norm() -> None:
    x = torch.randn(1, 16, 4, requires_grad=True)
    plan = merged(ToMe(0.5, random=False, average="mlerp"), x.detach(), (4, 4))
    plan.restore(plan.reduce(x)).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


# ReToM: the token of each cell that is most similar to its cell.


@pytest.mark.parametrize("cell", [(2, 2), (3, 2), (1, 3)])
def test_representatives_are_their_definition(
    slow: SimpleNamespace, grid: tuple[int, int], cell: tuple[int, int]
) -> None:
    torch.manual_seed(grid[0])
    metric = torch.randn(2, grid[0] * grid[1], 6, dtype=torch.float64)
    plan = merged(LGTM(0.5, cell, destinations="representative"), metric, grid)
    for b in range(2):
        tokens = metric[b].numpy()
        dst = []
        for members in slow.cells(*grid, *cell):
            means = [sum(slow.cosine(tokens[i], tokens[j]) for j in members) for i in members]
            dst.append(members[slow.order_of(means, -1)[0]])
        expected = slow.merge(tokens, dst, int(len(tokens) * 0.5))
        assert plan.dst[b].tolist() == dst
        np.testing.assert_allclose(plan.reduce(metric)[b], expected.reduce(tokens), rtol=1e-10)


def test_the_token_nearest_to_the_centre_of_its_cell_represents_it() -> None:
    """A hand-made cell: three tokens around a fourth, which is at the bottom right."""
    around = torch.tensor([[1.0, 0.4, 0.0], [1.0, -0.2, 0.4], [1.0, -0.2, -0.4], [1.0, 0.0, 0.0]])
    metric = around.repeat(4, 1).view(2, 2, 2, 2, 3).permute(0, 2, 1, 3, 4).reshape(1, 16, 3)
    plan = merged(LGTM(0.75, destinations="representative"), metric, (4, 4))
    assert plan.dst[0].tolist() == [5, 7, 13, 15]
    assert merged(LGTM(0.75, destinations="representative"), torch.ones(1, 16, 3), (4, 4)).dst[
        0
    ].tolist() == [0, 2, 8, 10]


def test_representatives_are_others_than_the_smoothest() -> None:
    """It fails if the setting does nothing."""
    metric = torch.randn(2, 256, 8)
    own, smooth = (
        merged(LGTM(0.5, destinations=each), metric, (16, 16)).dst
        for each in ("representative", "eq7")
    )
    assert 0.5 < float((own != smooth).float().mean()) < 1


@pytest.mark.parametrize("protect_ratio", [0.0, 0.2])
@pytest.mark.parametrize("grid", [(9, 7), (8, 8)], ids=str)
def test_only_what_is_computed_counts(grid: tuple[int, int], protect_ratio: float) -> None:
    """Similarities inside of the cells; the Laplacian where it protects tokens, and only there."""
    operator = LGTM(0.5, destinations="representative", protect_ratio=protect_ratio)
    metric = torch.empty(1, grid[0] * grid[1], 48, device="meta")
    with FlopCounterMode(display=False) as counter:
        operator.plan(metric, grid)
    assert operator.plan_flops(grid, 48) == counter.get_total_flops()
    cells = (grid[0] // 2) * (grid[1] // 2)
    laplacian = 18 * grid[0] * grid[1] * 48 if protect_ratio else 0
    assert operator.choice_flops(grid, 48) == 2 * cells * 16 * 48 + laplacian


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average": "median"}, r"^average=median: allowed: mean, mlerp"),
        ({"destinations": "all"}, r"^destinations=all: allowed: eq7, as_released, representative"),
        (
            {"destinations": "representative", "score": "l1_norm"},
            r"^score=l1_norm: allowed: laplacian_l1, because destinations=representative takes no",
        ),
        (
            {"destinations": "representative", "padding": "replicate"},
            r"^padding=replicate: allowed: zero, because destinations=representative takes no",
        ),
    ],
)
def test_wrong_settings_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        LGTM(0.5, **settings)
    assert "\n" not in str(caught.value)


def test_a_score_that_protects_is_allowed() -> None:
    settings = {"destinations": "representative", "score": "l1_norm", "protect_ratio": 0.2}
    assert LGTM(0.5, **settings).plan_flops((8, 8), 4) > 0  # type: ignore[arg-type]
