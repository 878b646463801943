"""Checks of what a user may pass to an operator; each failure is one line (`UserError`)."""

import math
from collections.abc import Iterable

from bigain.errors import UserError
from bigain.operators.random_key import DRAWS

__all__ = [
    "check_cell",
    "check_cell_fits",
    "check_choice",
    "check_count",
    "check_draws",
    "check_factor",
    "check_factor_fits",
    "check_finite",
    "check_protected",
    "check_ratio",
    "check_seed",
    "check_share",
    "check_sparsity",
    "check_switch",
    "check_tokens",
]

_ROUNDING = 1e-9
"""The sum of two decimals may exceed their limit by rounding."""


def check_cell(cell: object) -> tuple[int, int]:
    """`cell` as (rows, columns), both integers >= 1; a list is taken as a tuple.

    Raises:
        UserError: anything else.

    """
    sides = tuple(cell) if isinstance(cell, list | tuple) else ()
    if len(sides) != 2 or not all(map(_is_positive_integer, sides)):
        allowed = "two integers >= 1, rows and columns of tokens, such as [2,2]"
        raise UserError(f"cell={_shown(cell)}: allowed: {allowed}")
    return int(sides[0]), int(sides[1])


def check_cell_fits(cell: tuple[int, int], grid: tuple[int, int]) -> None:
    """At least one whole cell lies in the token grid.

    Raises:
        UserError: the grid is too small.

    """
    if cell[0] > grid[0] or cell[1] > grid[1]:
        raise UserError(
            f"cell=[{cell[0]},{cell[1]}]: allowed: sides of at most {grid[0]} and {grid[1]}, so "
            f"that a cell fits in the {grid[0]}x{grid[1]} tokens"
        )


def check_ratio(ratio: float, cell: tuple[int, int]) -> None:
    """`ratio` in [0, 1 - 1/A] where A = rows * columns of the cell: one token per cell must stay.

    Raises:
        UserError: not a number, or outside of that range.

    """
    area = cell[0] * cell[1]
    top = 1 - 1 / area
    if not (_is_number(ratio) and 0 <= ratio <= top):
        raise UserError(
            f"ratio={ratio}: allowed: a number from 0 to {top:g} = 1 - 1/{area}, one token of each "
            f"cell of {cell[0]}x{cell[1]} stays; more needs larger cells (cell=[4,4]: 0.9375)"
        )


def check_protected(protect_ratio: float, ratio: float, cell: tuple[int, int]) -> None:
    """`protect_ratio` in [0, 1 - 1/A - ratio]: what is neither a destination nor merged.

    Raises:
        UserError: not a number, or outside of that range.

    """
    area = cell[0] * cell[1]
    top = 1 - 1 / area - ratio
    if not (_is_number(protect_ratio) and 0 <= protect_ratio <= top + _ROUNDING):
        raise UserError(
            f"protect_ratio={_shown(protect_ratio)}: allowed: a number from 0 to {max(top, 0):g} = "
            f"1 - 1/{area} - ratio, with ratio={ratio} and cell={cell[0]}x{cell[1]}"
        )


def check_sparsity(sparsity: float) -> None:
    """`sparsity` in [0, 1).

    Raises:
        UserError: not a number, or outside of that range.

    """
    if not (_is_number(sparsity) and 0 <= sparsity < 1):
        raise UserError(
            f"sparsity={sparsity}: allowed: a number from 0 to below 1, the share of keys and "
            "values that go"
        )


def check_finite(key: str, value: float) -> None:
    """`value` a finite number.

    Raises:
        UserError: anything else; the line names `key`.

    """
    if not (_is_number(value) and math.isfinite(value)):
        raise UserError(f"{key}={_shown(value)}: allowed: a finite number")


def check_switch(key: str, value: bool) -> None:
    """`value` true or false.

    Raises:
        UserError: anything else; the line names `key`.

    """
    if not isinstance(value, bool):
        raise UserError(f"{key}={_shown(value)}: allowed: true or false")


def check_factor(factor: int) -> None:
    """`factor` an integer >= 1.

    Raises:
        UserError: anything else.

    """
    if not _is_positive_integer(factor):
        allowed = "an integer >= 1, the stride per side of the key/value map"
        raise UserError(f"factor={factor}: allowed: {allowed}")


def check_factor_fits(factor: int, grid: tuple[int, int]) -> None:
    """`factor` below both sides of the token grid, or 1.

    Raises:
        UserError: the grid is too small.

    """
    if factor > 1 and factor >= min(grid):
        raise UserError(
            f"factor={factor}: allowed: an integer from 1 to {max(min(grid) - 1, 1)}, below the "
            f"sides of the {grid[0]}x{grid[1]} tokens"
        )


def check_tokens(tokens: int, grid: tuple[int, int]) -> None:
    """The sequence length equals the area of the grid.

    Raises:
        UserError: it does not.

    """
    if tokens != grid[0] * grid[1]:
        raise UserError(
            f"grid={grid[0]}x{grid[1]}: has {grid[0] * grid[1]} tokens, but the tensor has {tokens}"
        )


def check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    """`value` one of `allowed`.

    Raises:
        UserError: anything else; the line names `key`.

    """
    names = list(allowed)
    if value not in names:
        raise UserError(f"{key}={_shown(value)}: allowed: {', '.join(names)}")


def check_share(key: str, share: float) -> None:
    """`share` in [0, 1).

    Raises:
        UserError: not a number, or outside of that range; the line names `key`.

    """
    if not (_is_number(share) and 0 <= share < 1):
        raise UserError(f"{key}={_shown(share)}: allowed: a number from 0 to below 1")


def check_count(key: str, count: int) -> None:
    """`count` an integer >= 1.

    Raises:
        UserError: anything else; the line names `key`.

    """
    if not _is_positive_integer(count):
        raise UserError(f"{key}={_shown(count)}: allowed: an integer >= 1")


def check_seed(seed: int) -> None:
    """`seed` an integer >= 0.

    Raises:
        UserError: anything else.

    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"seed={_shown(seed)}: allowed: an integer >= 0")


def check_draws(draws: object, lacks: str | None) -> None:
    """`draws` one of `DRAWS`; only paired where the operator draws nothing.

    `lacks` is the setting without which there is nothing to draw.

    Raises:
        UserError: anything else.

    """
    check_choice("draws", draws, DRAWS)
    if draws != "paired" and lacks is not None:
        raise UserError(f"draws={draws}: allowed: paired; with {lacks} also {draws}")


def _shown(value: object) -> str:
    """A value as one types it on the command line."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
