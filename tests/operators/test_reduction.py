import pytest
import torch

from bigain.operators.reduction import UNCHANGED, Reduction, Unchanged


def test_unchanged_returns_the_very_tensor() -> None:
    x = torch.randn(2, 6, 3)
    assert UNCHANGED.reduce(x) is x
    assert UNCHANGED.restore(x) is x
    assert isinstance(UNCHANGED, Unchanged)
    assert repr(UNCHANGED) == "Unchanged()"


def test_a_reduction_needs_both_directions() -> None:
    class Half(Reduction):
        def reduce(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, ::2]

    with pytest.raises(TypeError, match="restore"):
        Half()  # type: ignore[abstract]
