"""Bipartite matching of source tokens to destination tokens by cosine similarity.

Every token that is not a destination is a source.  With u_i = metric_i / max(|metric_i|, eps) each
source points to the destination of largest <u_src, u_dst> (the first of equal ones), anywhere on
the grid.  The r sources of largest similarity (of equal ones the lowest token number first) are
merged into where they point.  The result is an *assignment* (B, N): the place of every token in
the reduced sequence, which holds the N - D - r unmerged sources in the order of their token number,
then the D destinations in the order given.  Attention is equivariant to that order.

Similarities are fp32 (fp64 for fp64 input), never half precision, and both rankings are stable, so
equal tokens give equal decisions however they are batched.
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
    """A context in which `torch.autocast` does not take scores and similarities to half precision.

    It recasts what a matrix product or a convolution is given, whatever its precision was.
    """
    if device.type == "meta" or not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


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


_EPSILON = 1e-12


def assign_tokens(metric: Tensor, dst: Tensor, removed: int) -> Tensor:
    """Assignment (B, N), values in 0..N-r-1, of `metric` (B, N, C) and destinations `dst` (B, D).

    `removed` is r, the number of merged sources, in 0..N-D.
    """
    batch, tokens, _ = metric.shape
    src = complement(dst, tokens)
    best, target = cosine_similarity(metric, src, dst).max(dim=-1)
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
    """`x` (B, N, C) with every token divided by its norm, in fp32 at least; zero stays zero."""
    x = at_least_float32(x)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    unit: Tensor = x / norm.clamp_min(_EPSILON)
    return unit


def matching_flops(tokens: int, destinations: int, channels: int) -> int:
    """FLOPs of the similarities, 2 (N - D) D C; sorting and indexing count nothing."""
    return 2 * (tokens - destinations) * destinations * channels
