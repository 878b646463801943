"""Precision of the decisions: scores, similarities and averages are never computed in half."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["at_least_float32", "without_autocast"]


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or its float32 copy when it is fp16 or bf16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which `torch.autocast` does not take scores and similarities to half precision.

    It recasts what a matrix product or a convolution is given, whatever its precision was.
    """
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
