"""A copy of an attention or an MLP with some of its heads or hidden units.

The first linear layers lose the rows of what goes, the last one its columns.  The columns that stay
come with weights of their own, since they make up for what is gone (`bigain.operators.obs`).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bigain.errors import UserError
from bigain.operators.stage_weights import Kept

__all__ = ["last_layer", "narrowed", "units_of"]

_PROJECTIONS = ("to_q", "to_k", "to_v")


def last_layer(part: str, module: Any) -> nn.Linear:
    """The linear layer whose input columns are heads (`self`, `cross`) or hidden units (`mlp`).

    Raises:
        UserError: The module is built in another way.

    """
    try:
        layer = module.net[2] if part == "mlp" else module.to_out[0]
    except (AttributeError, IndexError, TypeError):
        layer = None
    if not isinstance(layer, nn.Linear) or (part == "mlp" and not hasattr(module.net[0], "proj")):
        raise UserError(
            f"module={type(module).__name__}: has no last linear layer; allowed: diffusers' "
            "Attention with to_out, and FeedForward with two linear layers"
        )
    return layer


def units_of(part: str, module: Any) -> int:
    """Number of heads of an attention, of hidden units of an MLP."""
    return int(last_layer(part, module).in_features if part == "mlp" else module.heads)


def narrowed(part: str, module: nn.Module, kept: Kept) -> nn.Module:
    """The copy.

    Raises:
        UserError: `kept` has numbers or weights that do not fit `module`.

    """
    units, layer = units_of(part, module), last_layer(part, module)
    columns = layer.in_features // units * len(kept.numbers)
    if tuple(kept.weight.shape) != (layer.out_features, columns) or max(kept.numbers) >= units:
        raise UserError(
            f"weights: have the shape {tuple(kept.weight.shape)}; allowed: "
            f"{(layer.out_features, columns)}, for {len(kept.numbers)} of {units} units of "
            f"{type(module).__name__}"
        )
    own: Any = copy.deepcopy(module)
    last = last_layer(part, own)
    last.weight = nn.Parameter(kept.weight.to(layer.weight), requires_grad=False)
    last.in_features = columns
    if part == "mlp":
        _narrow_rows(own.net[0].proj, kept.numbers, units, 1)
        return own  # type: ignore[no-any-return]
    for name in _PROJECTIONS:
        layer = getattr(own, name)
        _narrow_rows(layer, kept.numbers, units, layer.out_features // units)
    own.heads = len(kept.numbers)
    own.inner_dim = own.inner_kv_dim = columns
    return own  # type: ignore[no-any-return]


def _narrow_rows(layer: nn.Linear, numbers: Sequence[int], units: int, size: int) -> None:
    """Keep the rows of these units, `size` for each.

    A gated MLP has the rows of all its values first and then those of all its gates.
    """
    rows = torch.arange(layer.out_features).view(-1, units, size)[:, list(numbers)].flatten()
    rows = rows.to(layer.weight.device)
    layer.weight = nn.Parameter(_taken(layer.weight, rows), requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(_taken(layer.bias, rows), requires_grad=False)
    layer.out_features = len(rows)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    return values.detach()[rows].clone()
