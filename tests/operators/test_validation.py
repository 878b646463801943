import pytest

from bigain.errors import UserError
from bigain.operators.validation import (
    check_cell,
    check_factor,
    check_factor_fits,
    check_ratio,
    check_tokens,
)


@pytest.mark.parametrize("cell", [(1, 1), (2, 2), (4, 3)])
def test_cells_of_positive_integers_pass(cell: tuple[int, int]) -> None:
    assert check_cell(cell) == cell


def test_a_list_from_a_configuration_file_becomes_a_tuple() -> None:
    assert check_cell([2, 3]) == (2, 3)


@pytest.mark.parametrize("cell", [2, (2,), (2, 2, 2), (0, 2), (2, -1), (2.0, 2), (True, 2), "22"])
def test_other_cells_are_refused_in_one_line(cell: object) -> None:
    with pytest.raises(UserError, match=r"^cell=.*two integers >= 1") as caught:
        check_cell(cell)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ratio", "cell"), [(0, (2, 2)), (0.75, (2, 2)), (0.9375, (4, 4)), (0.0, (1, 1)), (0.5, (1, 2))]
)
def test_ratios_up_to_the_clamp_pass(ratio: float, cell: tuple[int, int]) -> None:
    check_ratio(ratio, cell)


@pytest.mark.parametrize(
    ("ratio", "cell"),
    [
        (0.76, (2, 2)),
        (-0.1, (2, 2)),
        (float("nan"), (2, 2)),
        (float("inf"), (2, 2)),
        (0.1, (1, 1)),
        (0.94, (4, 4)),
        (True, (2, 2)),
        ("0.5", (2, 2)),
    ],
)
def test_other_ratios_are_refused(ratio: float, cell: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=r"^ratio="):
        check_ratio(ratio, cell)


def test_the_message_names_the_clamp_of_the_cell() -> None:
    with pytest.raises(UserError, match=r"ratio=0.8: allowed: .* 0 to 0.75 = .* cell of 2x2"):
        check_ratio(0.8, (2, 2))


@pytest.mark.parametrize("factor", [1, 2, 16])
def test_factors_of_at_least_one_pass(factor: int) -> None:
    check_factor(factor)


@pytest.mark.parametrize("factor", [0, -2, 2.0, True, "2", None])
def test_other_factors_are_refused(factor: int) -> None:
    with pytest.raises(UserError, match=r"^factor=.*integer >= 1"):
        check_factor(factor)


@pytest.mark.parametrize(("factor", "grid"), [(1, (1, 1)), (3, (4, 9)), (8, (9, 9))])
def test_factors_below_both_sides_fit(factor: int, grid: tuple[int, int]) -> None:
    check_factor_fits(factor, grid)


@pytest.mark.parametrize(("factor", "grid"), [(4, (4, 9)), (9, (4, 9)), (2, (1, 8))])
def test_larger_factors_do_not_fit(factor: int, grid: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=rf"^factor={factor}: .* {grid[0]}x{grid[1]}"):
        check_factor_fits(factor, grid)


def test_the_sequence_has_the_area_of_the_grid() -> None:
    check_tokens(12, (3, 4))
    with pytest.raises(UserError, match=r"^grid=3x4: has 12 tokens, but the tensor has 13"):
        check_tokens(13, (3, 4))
