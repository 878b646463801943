"""A module in several versions, of which each row of a batch takes one.

    rows of the batch -> version of each -> one call of each version on its rows -> rows in order

A version of None is a branch that is left out: nothing is computed, and its rows are zero.  A batch
whose rows all take the module itself is passed on as it is, so the output is that of the module,
bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bigain.errors import UserError

__all__ = ["Versions", "in_place_of"]

Chooser = Callable[[], Sequence[int]]
"""Returns the version of each row of the forward that runs now; one number stands for all rows."""

_DENSE = "dense"


class Versions(nn.Module):
    """Stands in the place of `dense`.  `state_dict` shows `dense` under its own names.

    Args:
        dense: The module that it replaces.
        versions: Number -> module, which may be `dense`, or None for zeros.
        choose: The version of each row.

    Attributes:
        seen: Places (tokens, or height times width), tokens of a second sequence or None, and the
            version of each row, in the last call; None before.

    """

    def __init__(
        self, dense: nn.Module, versions: Mapping[int, nn.Module | None], choose: Chooser
    ) -> None:
        super().__init__()
        # Numbers as names: what counts FLOPs by path sees the module's own layers below.
        for number, module in versions.items():
            self.add_module(str(number), module)
        if dense not in versions.values():
            self.add_module(_DENSE, dense)
        self._dense = (dense,)
        self._numbers = tuple(versions)
        self.choose = choose
        self.seen: tuple[int, int | None, tuple[int, ...]] | None = None

    @property
    def dense(self) -> nn.Module:
        """The module that it replaces."""
        return self._dense[0]

    def version(self, number: int) -> nn.Module | None:
        """The version with this number."""
        return self._modules[str(number)]

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of `dense`."""
        return self.dense.state_dict(*args, **kwargs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The output of each row's version, in the order of the rows.

        Raises:
            UserError: the batch has another number of rows than its forward.

        """
        chosen = self._of_rows(len(x))
        self.seen = (_places(x), _second(args, kwargs), chosen)
        numbers = sorted(set(chosen))
        if len(numbers) == 1:
            return self._output(numbers[0], x, args, kwargs)
        rows = {number: [i for i, own in enumerate(chosen) if own == number] for number in numbers}
        parts = []
        for number, own in rows.items():
            taken = torch.tensor(own, device=x.device)
            narrow = _Narrow(len(x), taken)
            inner = tree_map(narrow, (args, kwargs))
            parts.append(self._output(number, x[taken], *inner))
        order = torch.tensor([i for own in rows.values() for i in own], device=x.device).argsort()
        return torch.cat(parts)[order]

    def _of_rows(self, rows: int) -> tuple[int, ...]:
        chosen = tuple(self.choose())
        if len(chosen) == 1:
            return chosen * rows
        if len(chosen) != rows:
            raise UserError(
                f"{type(self.dense).__name__}: was called with {rows} rows in a forward with "
                f"{len(chosen)} timesteps; allowed: a module that sees one row of each sample"
            )
        return chosen

    def _output(self, number: int, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        module = self.version(number)
        if module is not None:
            output: Tensor = module(x, *args, **kwargs)
            return output
        if isinstance(self.dense, nn.Conv2d):
            return x.new_zeros(len(x), self.dense.out_channels, *x.shape[2:])
        return torch.zeros_like(x)


class _Narrow:
    """Takes those rows of every tensor that has a row for each sample."""

    def __init__(self, rows: int, taken: Tensor) -> None:
        self._rows, self._taken = rows, taken

    def __call__(self, value: Any) -> Any:
        has_rows = isinstance(value, Tensor) and value.ndim > 0 and len(value) == self._rows
        return value[self._taken] if has_rows else value


def in_place_of(model: nn.Module, path: str, versions: Versions) -> Callable[[], None]:
    """Put `versions` where the module `path` of `model` is; returns what puts that back."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    setattr(parent, name, versions)

    def restore() -> None:
        setattr(parent, name, versions.dense)

    return restore


def _places(x: Tensor) -> int:
    """Tokens of (B, N, C), or height times width of (B, C, H, W)."""
    return int(x.shape[1]) if x.ndim == 3 else int(x.shape[2] * x.shape[3])


def _second(args: Any, kwargs: Any) -> int | None:
    """Tokens of the sequence that keys and values come from, if it is another one."""
    context = kwargs.get("encoder_hidden_states", args[0] if args else None)
    return int(context.shape[1]) if isinstance(context, Tensor) else None
