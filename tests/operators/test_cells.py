from types import SimpleNamespace

import pytest
import torch

from bigain.operators.cells import cell_count, cell_tokens

CPU = torch.device("cpu")


@pytest.mark.parametrize("cell", [(1, 1), (2, 2), (2, 3), (4, 1), (4, 4)])
def test_cells_are_those_of_the_definition(
    slow: SimpleNamespace, grid: tuple[int, int], cell: tuple[int, int]
) -> None:
    expected = slow.cells(*grid, *cell)
    assert cell_tokens(grid, cell, CPU).tolist() == expected
    assert cell_count(grid, cell) == len(expected)


def test_leftover_rows_and_columns_belong_to_no_cell() -> None:
    assert cell_tokens((3, 5), (2, 2), CPU).tolist() == [[0, 1, 5, 6], [2, 3, 7, 8]]


def test_a_cell_larger_than_the_grid_gives_none() -> None:
    assert cell_count((3, 3), (4, 1)) == 0
    assert cell_tokens((3, 3), (4, 1), CPU).shape == (0, 4)


def test_cells_first_cut_in_inference_mode_serve_training() -> None:
    with torch.inference_mode():
        cell_tokens((6, 2), (3, 2), CPU)
    assert not cell_tokens((6, 2), (3, 2), CPU).is_inference()
