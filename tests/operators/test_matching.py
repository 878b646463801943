"""Matching of sources to destinations, picking tokens, and precision."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain.operators.matching import (
    assign_tokens,
    at_least_float32,
    complement,
    cosine_similarity,
    mark,
    take_tokens,
    without_autocast,
)


def random_destinations(batch: int, tokens: int, count: int) -> Tensor:
    return torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])


@settings(max_examples=40)
@given(st.integers(2, 30), st.data())
def test_owners_are_those_of_the_definition(
    slow: SimpleNamespace, tokens: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, tokens))
    removed = data.draw(st.integers(0, tokens - count))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    metric = torch.randn(3, tokens, 4, dtype=torch.float64)
    dst = random_destinations(3, tokens, count)
    assignment = assign_tokens(metric, dst, removed)
    for sample in range(3):
        expected = slow.merge(metric[sample].numpy(), dst[sample].tolist(), removed)
        assert assignment[sample].tolist() == expected.assignment


def test_similarity_is_the_cosine(slow: SimpleNamespace) -> None:
    metric = torch.randn(2, 6, 5, dtype=torch.float64)
    src, dst = torch.tensor([[0, 1], [2, 3]]), torch.tensor([[4], [5]])
    similarity = cosine_similarity(metric, src, dst)
    for b in range(2):
        for i in range(2):
            a, c = metric[b, src[b, i]].numpy(), metric[b, dst[b, 0]].numpy()
            np.testing.assert_allclose(similarity[b, i, 0].item(), slow.cosine(a, c), rtol=1e-12)


def test_tokens_of_norm_zero_are_similar_to_nothing() -> None:
    similarity = cosine_similarity(torch.zeros(1, 4, 3), torch.tensor([[0]]), torch.tensor([[3]]))
    assert similarity.item() == 0


def test_equal_similarities_prefer_the_first_source_and_destination() -> None:
    metric = torch.ones(2, 8, 3)
    assignment = assign_tokens(metric, torch.tensor([[6, 7]] * 2), 3)
    assert assignment.tolist() == [[3, 3, 3, 0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("batch", [1, 7])
def test_decisions_are_the_same_alone_and_in_a_batch(batch: int) -> None:
    torch.manual_seed(0)
    metric = torch.randn(14, 117, 48)
    metric[:, 40:80] = metric[:, 40:41]  # equal tokens must tie in the same way too
    dst = random_destinations(14, 117, 24)
    together = assign_tokens(metric, dst, 80)
    for start in range(0, 14, batch):
        part = slice(start, start + batch)
        assert torch.equal(assign_tokens(metric[part].clone(), dst[part], 80), together[part])


def test_the_scale_of_a_token_does_not_matter() -> None:
    metric = torch.randn(1, 20, 6, dtype=torch.float64)
    dst = random_destinations(1, 20, 5)
    scaled = metric * torch.logspace(-6, 6, 20, dtype=torch.float64)[:, None]
    assert torch.equal(assign_tokens(scaled, dst, 9), assign_tokens(metric, dst, 9))


def test_not_a_number_gives_valid_owners() -> None:
    metric = torch.randn(2, 16, 4)
    metric[0, 3] = float("nan")
    metric[1] = float("nan")
    assignment = assign_tokens(metric, random_destinations(2, 16, 4), 10)
    assert ((assignment >= 0) & (assignment < 6)).all()


def test_only_half_precision_is_widened() -> None:
    for half in (torch.float16, torch.bfloat16):
        x = torch.randn(7).to(half)
        assert at_least_float32(x).dtype == torch.float32
        assert torch.equal(at_least_float32(x).to(half), x)
    for x in (torch.randn(7), torch.randn(7).double()):
        assert at_least_float32(x) is x


def test_autocast_is_off_inside_and_as_before_outside() -> None:
    a = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with without_autocast(a.device):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
    with without_autocast(a.device), without_autocast(torch.device("meta")):
        assert (a @ a).dtype == torch.float32


@settings(max_examples=40)
@given(st.integers(1, 3), st.integers(1, 40), st.data())
def test_mark_and_complement_are_sets(batch: int, tokens: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, tokens))
    index = random_destinations(batch, tokens, count)
    marked, rest = mark(index, tokens), complement(index, tokens)
    assert marked.shape == (batch, tokens)
    for b in range(batch):
        chosen = set(index[b].tolist())
        assert marked[b].nonzero().flatten().tolist() == sorted(chosen)
        assert rest[b].tolist() == [token for token in range(tokens) if token not in chosen]


def test_the_complement_of_everything_is_empty() -> None:
    assert complement(torch.arange(5)[None], 5).shape == (1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_tokens_are_taken_from_their_own_sample(dtype: torch.dtype) -> None:
    x = (torch.randn(3, 7, 2) * 100).to(dtype)
    index = torch.tensor([[6, 0], [1, 1], [5, 2]])
    assert torch.equal(take_tokens(x, index), torch.stack([x[b, index[b]] for b in range(3)]))


def test_tokens_are_taken_from_tensors_of_any_layout() -> None:
    x = torch.randn(3, 5, 7).transpose(1, 2)
    index = random_destinations(3, 7, 4)
    assert torch.equal(take_tokens(x, index), take_tokens(x.contiguous(), index))
