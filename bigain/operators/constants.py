"""Index tensors that depend on sizes only are made once and kept.

They are normal tensors even when first asked for in inference mode, so that training may use them
later.  Under `torch.compile` they are made inside the graph, which folds them; where a dispatch
mode is on, such as that of fake tensors, what it makes of them is not kept.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVarTuple

import torch
from torch import Tensor

__all__ = ["constant"]

Arguments = TypeVarTuple("Arguments")


def constant(function: Callable[[*Arguments], Tensor]) -> Callable[[*Arguments], Tensor]:
    """Remember what `function` returns, by its (hashable) arguments."""

    @lru_cache(maxsize=256)
    def remembered(*args: *Arguments) -> Tensor:
        with torch.inference_mode(mode=False):
            return function(*args)

    @wraps(function)
    def call(*args: *Arguments) -> Tensor:
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return function(*args)
        return remembered(*args)

    return call
