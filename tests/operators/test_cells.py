"""Cells, index tensors that are kept, and the choice of destinations."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from bigain.operators.cells import (
    DESTINATIONS,
    cell_count,
    cell_tokens,
    constant,
    lowest_score,
    lowest_score_of_strip,
    random_position,
    top_left,
)
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import laplacian_l1

CPU = torch.device("cpu")


@pytest.mark.parametrize("cell", [(1, 1), (2, 2), (2, 3), (4, 1), (4, 4)])
def test_cells_are_those_of_the_definition(
    slow: SimpleNamespace, grid: tuple[int, int], cell: tuple[int, int]
) -> None:
    expected = slow.cells(*grid, *cell)
    assert cell_tokens(grid, cell, CPU).tolist() == expected
    assert cell_count(grid, cell) == len(expected)


def test_a_cell_larger_than_the_grid_gives_none() -> None:
    assert cell_count((3, 3), (4, 1)) == 0
    assert cell_tokens((3, 3), (4, 1), CPU).shape == (0, 4)


def test_a_constant_is_made_once_for_each_argument() -> None:
    made: list[int] = []

    @constant
    def numbers(count: int) -> torch.Tensor:
        """Count up."""
        made.append(count)
        return torch.arange(count)

    assert numbers(3) is numbers(3)
    assert numbers(2).tolist() == [0, 1]
    assert numbers(3).tolist() == [0, 1, 2]
    assert made == [3, 2]
    assert (numbers.__name__, numbers.__doc__) == ("numbers", "Count up.")


def test_a_constant_first_made_in_inference_mode_serves_training() -> None:
    @constant
    def ones(count: int) -> torch.Tensor:
        return torch.ones(count)

    with torch.inference_mode():
        assert not ones(2).is_inference()
    weight = torch.ones(2, requires_grad=True)
    (weight * ones(2)).sum().backward()
    assert weight.grad is not None


def test_under_compilation_it_is_part_of_the_graph() -> None:
    """A tensor from outside would be an input of the graph, kept alive by it."""
    graphs: list[torch.fx.GraphModule] = []

    @constant
    def numbers(count: int) -> torch.Tensor:
        return torch.arange(count)

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        assert len(inputs) == 1
        return graph.forward

    torch.compiler.reset()
    double = torch.compile(lambda x: x + numbers(4), backend=backend)
    assert double(torch.ones(4)).tolist() == [1, 2, 3, 4]
    assert "arange" in graphs[0].code
    torch.compiler.reset()


def test_what_a_dispatch_mode_makes_is_not_kept() -> None:
    """A plan under fake tensors must not leave fake indices to real plans."""

    @constant
    def numbers(count: int) -> Tensor:
        return torch.arange(count)

    with FakeTensorMode():
        assert isinstance(numbers(5), FakeTensor)
    assert not isinstance(numbers(5), FakeTensor)
    assert torch.equal(numbers(5) + torch.ones(5, dtype=torch.long), torch.arange(1, 6))


def test_top_left_is_the_first_token_of_each_cell(
    slow: SimpleNamespace, grid: tuple[int, int]
) -> None:
    chosen = top_left(torch.randn(2, grid[0] * grid[1], 3), grid, (2, 2))
    assert chosen.tolist() == [[cell[0] for cell in slow.cells(*grid, 2, 2)]] * 2


def test_random_positions_stay_in_their_cells(slow: SimpleNamespace, grid: tuple[int, int]) -> None:
    metric = torch.randn(4, grid[0] * grid[1], 3)
    draw = RandomKey(timesteps=torch.tensor([1, 2, 3, 1]))
    chosen = random_position(metric, grid, (2, 2), draw)
    for sample in chosen.tolist():
        for token, cell in zip(sample, slow.cells(*grid, 2, 2), strict=True):
            assert token in cell
    assert torch.equal(chosen[0], chosen[3])
    assert len(slow.cells(*grid, 2, 2)) < 4 or not torch.equal(chosen[0], chosen[1])


def test_random_positions_follow_the_draw() -> None:
    metric = torch.randn(1, 64, 3)
    draw = RandomKey(5, "s", torch.tensor(9))
    positions = draw.integers(16, 4, metric)[0].tolist()
    chosen = random_position(metric, (8, 8), (2, 2), draw)[0].tolist()
    for cell, (position, token) in enumerate(zip(positions, chosen, strict=True)):
        row, column = 2 * (cell // 4) + position // 2, 2 * (cell % 4) + position % 2
        assert token == row * 8 + column


def test_lowest_score_is_its_definition(slow: SimpleNamespace, grid: tuple[int, int]) -> None:
    metric = torch.randn(3, grid[0] * grid[1], 4, dtype=torch.float64)
    for cell in ((2, 2), (3, 2)):
        chosen = lowest_score(laplacian_l1(metric, grid), grid, cell)
        for sample, tokens in zip(metric.numpy(), chosen.tolist(), strict=True):
            scores = slow.score("laplacian_l1", sample, *grid)
            assert tokens == slow.lowest_of_each_cell(scores, slow.cells(*grid, *cell))


def test_of_equal_scores_the_first_wins() -> None:
    first = top_left(torch.zeros(1, 36, 3), (6, 6), (2, 2))
    for rule in DESTINATIONS.values():
        assert torch.equal(rule(torch.zeros(1, 36), (6, 6), (2, 2)), first)


def test_not_a_number_still_chooses_a_token_of_the_cell() -> None:
    scores = torch.full((2, 36), float("nan"))
    for rule in DESTINATIONS.values():
        chosen = rule(scores, (6, 6), (2, 2))
        assert ((chosen >= 0) & (chosen < 36)).all()


def test_the_released_code_misses_the_only_smooth_token_of_4x4() -> None:
    scores = torch.full((1, 16), 9.0)
    scores[0, 3] = 0
    eq7, released = (DESTINATIONS[name](scores, (4, 4), (2, 2)) for name in ("eq7", "as_released"))
    assert sorted(eq7[0].tolist()) == [0, 3, 8, 10]
    assert sorted(released[0].tolist()) == [2, 5, 8, 10]


@pytest.mark.parametrize("cell", [(2, 2), (3, 2), (1, 3), (4, 4)])
@pytest.mark.parametrize("sides", [(8, 8), (16, 16), (5, 9), (13, 11), (33, 18)])
def test_destinations_as_released_are_the_loops_of_the_description(
    slow: SimpleNamespace, sides: tuple[int, int], cell: tuple[int, int]
) -> None:
    torch.manual_seed(sides[0])
    scores = torch.rand(3, sides[0] * sides[1], dtype=torch.float64)
    chosen = lowest_score_of_strip(scores, sides, cell)
    assert chosen.tolist() == [slow.as_released(own, *sides, *cell) for own in scores.tolist()]
    for tokens in chosen.tolist():
        pairs = zip(tokens, slow.cells(*sides, *cell), strict=True)
        assert all(token in members for token, members in pairs)


@pytest.mark.parametrize(
    ("side", "maps", "percent"), [(16, 1600, 31), (32, 400, 28), (64, 100, 27)]
)
def test_how_often_the_released_code_takes_the_smoothest_token(
    side: int, maps: int, percent: int
) -> None:
    """On random maps; the numbers stand in docs/operators.md and docs/decomposition.md."""
    torch.manual_seed(0)
    scores = laplacian_l1(torch.randn(maps, side * side, 8), (side, side))
    released, eq7 = (
        rule(scores, (side, side), (2, 2)) for rule in (lowest_score_of_strip, lowest_score)
    )
    assert round(100 * (released == eq7).double().mean().item()) == percent
