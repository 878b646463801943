"""Index tensors that depend on sizes only are made once and kept.

They are normal tensors even when first asked for in inference mode, so that training may use them
later.  Under `torch.compile` they are made inside the graph, which folds them.
"""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec

import torch
from torch import Tensor

__all__ = ["constant"]

P = ParamSpec("P")


def constant(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Remember what `function` returns, by its (hashable) arguments."""

    @lru_cache(maxsize=256)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode(mode=False):
            return function(*args, **kwargs)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        return remembered(*args, **kwargs)

    return call
