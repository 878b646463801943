import pytest
import torch

from bigain.operators.precision import at_least_float32, without_autocast


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_without_change(dtype: torch.dtype) -> None:
    x = torch.randn(7).to(dtype)
    wide = at_least_float32(x)
    assert wide.dtype == torch.float32
    assert torch.equal(wide.to(dtype), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_wider_precision_is_left_alone(dtype: torch.dtype) -> None:
    x = torch.randn(7, dtype=dtype)
    assert at_least_float32(x) is x


def test_autocast_is_off_inside_and_as_before_outside() -> None:
    a = torch.randn(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with without_autocast(a.device):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16
    with without_autocast(a.device), without_autocast(torch.device("meta")):
        assert (a @ a).dtype == torch.float32
