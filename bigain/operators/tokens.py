"""Picking tokens of a sequence by number: the moves that all reductions are made of."""

import torch
from torch import Tensor

__all__ = ["complement", "mark", "take_tokens"]


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens `index` (B, M) of `x` (B, N, C), as (B, M, C): rows copied whole, not by element."""
    batch, tokens, channels = x.shape
    offsets = torch.arange(batch, device=x.device)[:, None] * tokens
    rows = (index + offsets).flatten()
    return x.reshape(-1, channels).index_select(0, rows).view(batch, -1, channels)


def mark(index: Tensor, tokens: int) -> Tensor:
    """(B, N) booleans, true at the token numbers `index` (B, M)."""
    marked = torch.zeros(len(index), tokens, dtype=torch.bool, device=index.device)
    return marked.scatter_(1, index, value=True)


def complement(index: Tensor, tokens: int) -> Tensor:
    """(B, N - M): the token numbers that are not in `index` (B, M), in ascending order.

    The numbers of a row of `index` must differ, so that every row has equally many others.
    """
    others = ~mark(index, tokens)
    count = tokens - index.shape[1]
    slots = torch.where(others, others.cumsum(dim=-1) - 1, count)
    numbers = torch.arange(tokens, device=index.device).expand_as(slots)
    return slots.new_empty(len(index), count + 1).scatter_(1, slots, numbers)[:, :count]
