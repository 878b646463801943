"""Checks of what a user may pass to an operator; each failure is one line (`UserError`)."""

import math

from bigain.errors import UserError

__all__ = [
    "check_cell",
    "check_factor",
    "check_factor_fits",
    "check_finite",
    "check_ratio",
    "check_sparsity",
    "check_switch",
    "check_tokens",
]


def check_cell(cell: object) -> tuple[int, int]:
    """`cell` as (rows, columns), both integers >= 1; a list is taken as a tuple.

    Raises:
        UserError: anything else.

    """
    sides = tuple(cell) if isinstance(cell, list | tuple) else ()
    if len(sides) != 2 or not all(map(_is_positive_integer, sides)):
        raise UserError(f"cell={cell!r}: must be two integers >= 1, (rows, columns)")
    return int(sides[0]), int(sides[1])


def check_ratio(ratio: float, cell: tuple[int, int]) -> None:
    """`ratio` in [0, 1 - 1/A] where A = rows * columns of the cell: one token per cell must stay.

    Raises:
        UserError: not a number, or outside of that range.

    """
    top = 1 - 1 / (cell[0] * cell[1])
    if not (_is_number(ratio) and 0 <= ratio <= top):
        raise UserError(
            f"ratio={ratio!r}: the merge ratio must be a number in [0, {top:g}] "
            f"for cell={cell[0]}x{cell[1]}; a larger cell allows more"
        )


def check_sparsity(sparsity: float) -> None:
    """`sparsity` in [0, 1).

    Raises:
        UserError: not a number, or outside of that range.

    """
    if not (_is_number(sparsity) and 0 <= sparsity < 1):
        raise UserError(
            f"sparsity={sparsity!r}: the share of keys and values that go, a number in [0, 1)"
        )


def check_finite(key: str, value: float) -> None:
    """`value` a finite number.

    Raises:
        UserError: anything else; the line names `key`.

    """
    if not (_is_number(value) and math.isfinite(value)):
        raise UserError(f"{key}={value!r}: must be a finite number")


def check_switch(key: str, value: bool) -> None:
    """`value` true or false.

    Raises:
        UserError: anything else; the line names `key`.

    """
    if not isinstance(value, bool):
        raise UserError(f"{key}={value!r}: must be true or false")


def check_factor(factor: int) -> None:
    """`factor` an integer >= 1.

    Raises:
        UserError: anything else.

    """
    if not _is_positive_integer(factor):
        raise UserError(f"factor={factor!r}: the downsampling factor must be an integer >= 1")


def check_factor_fits(factor: int, grid: tuple[int, int]) -> None:
    """`factor` below both sides of the token grid, or 1.

    Raises:
        UserError: the grid is too small.

    """
    if factor > 1 and factor >= min(grid):
        raise UserError(
            f"factor={factor}: must be smaller than the sides of the token grid, "
            f"{grid[0]}x{grid[1]}: at most {max(min(grid) - 1, 1)}"
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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
