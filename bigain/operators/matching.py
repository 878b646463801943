"""Bipartite matching of sources to destinations by cosine similarity.

Every token that is not a destination is a source.  With u_i = metric_i / max(|metric_i|, eps) each
source points to the destination of largest <u_src, u_dst> (of equal ones the first), anywhere on
the grid.  The r sources of largest similarity (of equal ones the lowest token number first) are
merged into where they point.  The result is an *owner* map (B, N): the place of every token in the
reduced sequence, which holds the N - D - r unmerged sources in the order of their token number,
then the D destinations in the order given.  Attention is equivariant to that order.

Similarities are fp32 (fp64 for fp64 input) and both rankings are stable, so equal tokens give equal
decisions however they are batched.
"""

import torch
from torch import Tensor

from bigain.operators.precision import at_least_float32

__all__ = ["assign_owners", "complement", "cosine_similarity", "take_tokens"]

_EPSILON = 1e-12


def assign_owners(metric: Tensor, dst: Tensor, removed: int) -> Tensor:
    """Owner map (B, N), values in 0..N-r-1, of `metric` (B, N, C) and destinations `dst` (B, D).

    `removed` is r, the number of merged sources, in 0..N-D.
    """
    batch, tokens, _ = metric.shape
    src = complement(dst, tokens)
    best, target = cosine_similarity(metric, src, dst).max(dim=-1)
    order = best.argsort(dim=-1, descending=True, stable=True)
    merged = torch.zeros_like(src, dtype=torch.bool).scatter_(1, order[:, :removed], value=True)
    unmerged_count = src.shape[1] - removed
    place = (~merged).cumsum(dim=-1) - 1
    owner = torch.empty(batch, tokens, dtype=torch.int64, device=metric.device)
    owner.scatter_(1, src, torch.where(merged, unmerged_count + target, place))
    dst_places = torch.arange(unmerged_count, unmerged_count + dst.shape[1], device=metric.device)
    return owner.scatter_(1, dst, dst_places.expand_as(dst))


def complement(dst: Tensor, tokens: int) -> Tensor:
    """(B, N - D): the token numbers that are not in `dst` (B, D), in ascending order."""
    is_src = torch.ones(dst.shape[0], tokens, dtype=torch.bool, device=dst.device)
    is_src.scatter_(1, dst, value=False)
    count = tokens - dst.shape[1]
    slots = torch.where(is_src, is_src.cumsum(dim=-1) - 1, count)
    numbers = torch.arange(tokens, device=dst.device).expand_as(slots)
    return slots.new_empty(dst.shape[0], count + 1).scatter_(1, slots, numbers)[:, :count]


def cosine_similarity(metric: Tensor, src: Tensor, dst: Tensor) -> Tensor:
    """(B, S, D) cosines between the tokens `src` (B, S) and `dst` (B, D) of `metric` (B, N, C)."""
    metric = at_least_float32(metric)
    norm = torch.linalg.vector_norm(metric, dim=-1, keepdim=True)
    unit = metric / norm.clamp_min(_EPSILON)
    return take_tokens(unit, src) @ take_tokens(unit, dst).transpose(1, 2)


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens `index` (B, M) of `x` (B, N, C), as (B, M, C): rows copied whole, not by element."""
    batch, tokens, channels = x.shape
    offsets = torch.arange(batch, device=x.device)[:, None] * tokens
    rows = (index + offsets).flatten()
    return x.reshape(-1, channels).index_select(0, rows).view(batch, -1, channels)
