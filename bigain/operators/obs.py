"""Which inputs of a linear layer are removed, and how the rest makes up for it: second order.

A layer y = W x, W of shape (out, in), sees inputs with H = 2 E[x x^T].  Removing the input columns
of a group G raises the squared output error least, with the other weights free, by

    error(G) = sum_i W_iG (H^-1_GG)^-1 W_iG^T,      W += -W_:G (H^-1_GG)^-1 H^-1_G:

(optimal brain surgeon).  After a removal the same holds with H^-1 downdated to the columns left:

    H^-1 -= H^-1_:G (H^-1_GG)^-1 H^-1_G:

A group is the columns of an attention head, or the column of one hidden unit of an MLP.  All of it
is computed in fp64 on the CPU.

MosaicDiff calls its pruning structured and of second order, and says no more.  Decided here: the
groups, the damping, what an input that is always zero gets, and how many units go at once.
"""

import torch
from torch import Tensor

__all__ = ["damped_inverse", "group_errors", "prune_heads", "prune_units", "remove_group"]

DAMPING = 1e-2
"""Of the mean of H's diagonal, added to the diagonal."""

SMALLEST_CHUNK = 64
"""Hidden units that are removed at once, at least; more, while many are left to remove."""


def damped_inverse(h: Tensor) -> Tensor:
    """The inverse of H plus the damping, fp64, shape (in, in).

    An input that was always zero has no curvature; it gets H_jj = 1.
    """
    h = h.double().cpu().clone()
    diagonal = h.diagonal()
    dead = diagonal == 0
    damping = DAMPING * diagonal.mean()
    diagonal += damping
    diagonal[dead] = 1.0
    inverse: Tensor = torch.linalg.inv(h)
    return inverse


def group_errors(w: Tensor, inverse: Tensor, groups: Tensor) -> Tensor:
    """error(G) of each group, fp64, shape (n,).

    Args:
        w: weights (out, in).
        inverse: H^-1, shape (in, in).
        groups: columns of each group, shape (n, size).

    """
    blocks = inverse[groups[:, :, None], groups[:, None, :]]
    own = w[:, groups].permute(1, 2, 0)
    errors: Tensor = (own * torch.linalg.solve(blocks, own)).sum(dim=(1, 2))
    return errors


def remove_group(w: Tensor, inverse: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The compensated weights and the downdated inverse; both are zero at `columns`."""
    gain = torch.linalg.solve(inverse[columns][:, columns], inverse[columns])
    w = w - w[:, columns] @ gain
    inverse = inverse - inverse[:, columns] @ gain
    w[:, columns] = 0
    inverse[:, columns] = 0
    inverse[columns] = 0
    return w, inverse


def prune_heads(w: Tensor, h: Tensor, heads: int, remove: int) -> tuple[Tensor, list[int]]:
    """The weights of the heads that stay, and their numbers.

    The head of the smallest error goes first, then the next with what is left.

    Args:
        w: the output projection, (out, heads * size).
        h: H of its inputs.
        heads: number of heads.
        remove: how many go, less than `heads`.

    """
    w, inverse = _prepared(w, h)
    columns = torch.arange(w.shape[1]).view(heads, -1)
    kept = list(range(heads))
    for _ in range(remove):
        errors = group_errors(w, inverse, columns[kept])
        worst = kept.pop(int(errors.argmin()))
        w, inverse = remove_group(w, inverse, columns[worst])
    return w[:, columns[kept].flatten()], kept


def prune_units(w: Tensor, h: Tensor, remove: int) -> tuple[Tensor, list[int]]:
    """The weights of the hidden units that stay, and their numbers.

    They go in chunks, half of what is left to remove each time, but at least `SMALLEST_CHUNK`.

    Args:
        w: the second linear layer of an MLP, (out, units).
        h: H of its inputs.
        remove: how many go, less than the units.

    """
    w, inverse = _prepared(w, h)
    left = torch.ones(w.shape[1], dtype=torch.bool)
    while remove:
        chunk = min(remove, max(SMALLEST_CHUNK, remove // 2))
        units = left.nonzero()[:, 0]
        errors = w[:, units].square().sum(dim=0) / inverse.diagonal()[units]
        gone = units[errors.argsort(stable=True)[:chunk]]
        w, inverse = remove_group(w, inverse, gone)
        left[gone] = False
        remove -= chunk
    return w[:, left], left.nonzero()[:, 0].tolist()


def _prepared(w: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """W in fp64 without the columns of inputs that were always zero, and the inverse of H."""
    w = w.double().cpu().clone()
    w[:, h.cpu().diagonal() == 0] = 0
    return w, damped_inverse(h)
