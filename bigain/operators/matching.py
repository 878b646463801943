"""Bipartite matching of source tokens to destination tokens by cosine similarity.

Every token that is not a destination is a source.  With u_i = metric_i / max(|metric_i|, eps), each
source is matched to the destination with the largest <u_src, u_dst> anywhere on the grid (if equal,
the first).  The r sources with the largest similarity (if equal, the lower token number first) are
merged into their destinations.  The result is an *assignment* (B, N): each token's place in the
reduced sequence, which holds the N - D - r unmerged sources by token number, then the D
destinations in the given order.  Attention is equivariant to that order.

Similarities are fp32 (fp64 for fp64 input), never half precision.  Both rankings are stable, so the
same tokens give the same decisions in any batch.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = [
    "assign_tokens",
    "at_least_float32",
    "complement",
    "cosine_similarity",
    "mark",
    "matching_flops",
    "take_tokens",
    "unit_tokens",
    "without_autocast",
]


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or its float32 copy when it is fp16 or bf16."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context without `torch.autocast`, which would compute scores in half precision.

    Autocast casts the inputs of matrix products and convolutions, whatever their precision is.
    """
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens `index` (B, M) of `x` (B, N, C), as (B, M, C); copies complete rows."""
    batch, tokens, channels = x.shape
    offsets = torch.arange(batch, device=x.device)[:, None] * tokens
    rows = (index + offsets).flatten()
    return x.reshape(-1, channels).index_select(0, rows).view(batch, -1, channels)


def mark(index: Tensor, tokens: int) -> Tensor:
    """(B, N) booleans, true at the token numbers in `index` (B, M)."""
    marked = torch.zeros(len(index), tokens, dtype=torch.bool, device=index.device)
    return marked.scatter_(1, index, value=True)


def complement(index: Tensor, tokens: int) -> Tensor:
    """(B, N - M): the token numbers that are not in `index` (B, M), in ascending order.

    The numbers in each row of `index` must differ, so that all rows of the result are equally long.
    """
    others = ~mark(index, tokens)
    count = tokens - index.shape[1]
    slots = torch.where(others, others.cumsum(dim=-1) - 1, count)
    numbers = torch.arange(tokens, device=index.device).expand_as(slots)
    return slots.new_empty(len(index), count + 1).scatter_(1, slots, numbers)[:, :count]


_EPSILON = 1e-12


def assign_tokens(
    metric: Tensor, dst: Tensor, removed: int, protected: Tensor | None = None
) -> Tensor:
    """Assignment (B, N), values 0..N-r-1, from `metric` (B, N, C) and destinations `dst` (B, D).

    `removed` is r, the number of merged sources, in 0..N-D.  The tokens `protected` (B, P), P at
    most N-D-r, are never merged, but may be destinations.
    """
    batch, tokens, _ = metric.shape
    src = complement(dst, tokens)
    best, target = cosine_similarity(metric, src, dst).max(dim=-1)
    if protected is not None:
        best = best.masked_fill(mark(protected, tokens).gather(1, src), -torch.inf)
    order = best.argsort(dim=-1, descending=True, stable=True)
    merged = torch.zeros_like(src, dtype=torch.bool).scatter_(1, order[:, :removed], value=True)
    unmerged_count = src.shape[1] - removed
    place = (~merged).cumsum(dim=-1) - 1
    assignment = torch.empty(batch, tokens, dtype=torch.int64, device=metric.device)
    assignment.scatter_(1, src, torch.where(merged, unmerged_count + target, place))
    dst_places = torch.arange(unmerged_count, unmerged_count + dst.shape[1], device=metric.device)
    return assignment.scatter_(1, dst, dst_places.expand_as(dst))


def cosine_similarity(metric: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """(B, S, D) cosines between the tokens `src` (B, S) and `dst` (B, D) of `metric` (B, N, C)."""
    unit = unit_tokens(metric)
    return take_tokens(unit, src) @ take_tokens(unit, dst).transpose(1, 2)


def unit_tokens(x: Tensor) -> Tensor:
    """`x` (B, N, C) with every token divided by its norm, in at least fp32; zero stays zero."""
    x = at_least_float32(x)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    unit: Tensor = x / norm.clamp_min(_EPSILON)
    return unit


def matching_flops(tokens: int, destinations: int, channels: int) -> int:
    """FLOPs of the similarities, 2 (N - D) D C; sorting and indexing count nothing."""
    return 2 * (tokens - destinations) * destinations * channels
