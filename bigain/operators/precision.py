"""Precision of the decisions: scores, similarities and averages are never computed in half."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or its float32 copy when it is fp16 or bf16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
