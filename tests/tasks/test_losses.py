import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigain.tasks.classifier import LOSSES


@pytest.mark.parametrize(("name", "expected"), [("l2", 2.5), ("l1", 1.5), ("huber", 1.0)])
def test_value_on_a_known_difference(name: str, expected: float) -> None:
    prediction = torch.tensor([[[[1.0, 2.0]]], [[[0.0, 0.0]]]])
    errors = LOSSES[name](prediction, torch.zeros_like(prediction))
    assert torch.allclose(errors, torch.tensor([expected, 0.0]))


@given(st.integers(0, 2**31), st.sampled_from(sorted(LOSSES)))
def test_one_error_per_sample_that_ignores_its_neighbours(seed: int, name: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn((2, 3, 4, 5, 5), generator=generator)
    errors = LOSSES[name](a, b)
    assert errors.shape == (3,)
    assert torch.allclose(errors[1], LOSSES[name](a[1:2], b[1:2])[0])
    assert bool((errors >= 0).all())


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_half_precision_predictions_are_accumulated_in_fp32(name: str) -> None:
    prediction = torch.full((1, 4, 64, 64), 200.0, dtype=torch.float16)
    error = LOSSES[name](prediction, torch.zeros(1, 4, 64, 64))
    assert error.dtype == torch.float32
    assert bool(error.isfinite().all())
