import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigain.operators.tokens import complement, mark, take_tokens


def random_index(batch: int, tokens: int, count: int) -> torch.Tensor:
    return torch.stack([torch.randperm(tokens)[:count] for _ in range(batch)])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.data())
def test_mark_and_complement_are_sets(batch: int, tokens: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, tokens))
    index = random_index(batch, tokens, count)
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
    index = random_index(3, 7, 4)
    assert torch.equal(take_tokens(x, index), take_tokens(x.contiguous(), index))
