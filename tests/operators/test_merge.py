from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.operators.matching import assign_tokens
from bigain.operators.merge import MergeReduction


def a_reduction(batch: int, tokens: int, count: int, removed: int, seed: int = 0) -> MergeReduction:
    torch.manual_seed(seed)
    dst = torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])
    metric = torch.randn(batch, tokens, 3, dtype=torch.float64)
    return MergeReduction(assign_tokens(metric, dst, removed), tokens - removed, dst)


sizes = st.tuples(
    st.integers(1, 4), st.integers(4, 30), st.integers(0, 10), st.integers(0, 999)
).map(lambda s: (s[0], s[1], max(1, s[1] // 4), min(s[2], s[1] - max(1, s[1] // 4)), s[3]))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_reduce_and_restore_are_their_definitions(
    slow: SimpleNamespace, size: tuple[int, int, int, int, int]
) -> None:
    batch, tokens, count, removed, seed = size
    torch.manual_seed(seed)
    metric = torch.randn(batch, tokens, 3, dtype=torch.float64)
    dst = torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])
    reduction = MergeReduction(assign_tokens(metric, dst, removed), tokens - removed, dst)
    x = torch.randn(batch, tokens, 5, dtype=torch.float64)
    reduced = reduction.reduce(x)
    y = torch.randn_like(reduced)
    restored = reduction.restore(y)
    for b in range(batch):
        expected = slow.merge(metric[b].numpy(), dst[b].tolist(), removed)
        np.testing.assert_allclose(reduced[b], expected.reduce(x[b].numpy()), rtol=1e-12)
        np.testing.assert_array_equal(restored[b], expected.restore(y[b].numpy()))


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_every_token_is_owned_once_and_every_place_is_taken(
    size: tuple[int, int, int, int, int],
) -> None:
    reduction = a_reduction(*size)
    batch, tokens, _, removed, _ = size
    assert reduction.assignment.shape == (batch, tokens)
    assert reduction.tokens == tokens - removed
    assert (reduction.counts >= 1).all()
    assert (reduction.counts.sum(dim=1) == tokens).all()


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_unmerged_tokens_come_back_exactly(size: tuple[int, int, int, int, int]) -> None:
    reduction = a_reduction(*size)
    x = torch.randn(size[0], size[1], 4)
    alone = reduction.counts.gather(1, reduction.assignment) == 1
    assert torch.equal(reduction.restore(reduction.reduce(x))[alone], x[alone])


@settings(max_examples=25, deadline=None)
@given(sizes)
def test_merging_is_a_convex_combination_and_keeps_the_sum(
    size: tuple[int, int, int, int, int],
) -> None:
    reduction = a_reduction(*size)
    x = torch.randn(size[0], size[1], 4, dtype=torch.float64)
    reduced = reduction.reduce(x)
    assert reduced.max() <= x.max() + 1e-12
    assert reduced.min() >= x.min() - 1e-12
    total = (reduced * reduction.counts[..., None]).sum(dim=1)
    torch.testing.assert_close(total, x.sum(dim=1))


def test_a_plan_of_one_sample_serves_any_batch() -> None:
    reduction = a_reduction(1, 16, 4, 8)
    x = torch.randn(5, 16, 3)
    together = reduction.reduce(x)
    assert together.shape == (5, 8, 3)
    for b in range(5):
        assert torch.equal(reduction.reduce(x[b : b + 1])[0], together[b])
        assert torch.equal(
            reduction.restore(together[b : b + 1])[0], reduction.restore(together)[b]
        )


def test_a_plan_serves_tensors_of_other_widths() -> None:
    reduction = a_reduction(2, 16, 4, 8)
    assert reduction.restore(reduction.reduce(torch.randn(2, 16, 11))).shape == (2, 16, 11)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    tokens = 3000
    assignment = torch.zeros(1, tokens, dtype=torch.int64)
    reduction = MergeReduction(assignment, 1, torch.zeros(1, 1, dtype=torch.int64))
    reduced = reduction.reduce(torch.full((1, tokens, 2), 0.7).to(dtype))
    assert reduced.dtype == dtype
    assert torch.equal(reduced, torch.full((1, 1, 2), 0.7).to(dtype))


def test_non_contiguous_input_is_fine() -> None:
    reduction = a_reduction(2, 16, 4, 8)
    x = torch.randn(2, 5, 16).transpose(1, 2)
    assert torch.equal(reduction.reduce(x), reduction.reduce(x.contiguous()))


def test_gradients_flow_through_both_directions() -> None:
    reduction = a_reduction(1, 8, 2, 4)
    x = torch.randn(1, 8, 3, requires_grad=True, dtype=torch.float64)
    reduction.restore(reduction.reduce(x)).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_repr_says_how_many() -> None:
    assert repr(a_reduction(2, 16, 4, 8)) == "MergeReduction(16 -> 8 tokens)"
