from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bigain.operators.matching import assign_tokens, cosine_similarity


def random_destinations(batch: int, tokens: int, count: int) -> Tensor:
    return torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])


@settings(max_examples=40, deadline=None)
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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_matched_in_single(dtype: torch.dtype) -> None:
    metric = torch.randn(2, 16, 8).to(dtype)
    dst = random_destinations(2, 16, 4)
    assert torch.equal(assign_tokens(metric, dst, 8), assign_tokens(metric.float(), dst, 8))


def test_not_a_number_gives_valid_owners() -> None:
    metric = torch.randn(2, 16, 4)
    metric[0, 3] = float("nan")
    metric[1] = float("nan")
    assignment = assign_tokens(metric, random_destinations(2, 16, 4), 10)
    assert ((assignment >= 0) & (assignment < 6)).all()
