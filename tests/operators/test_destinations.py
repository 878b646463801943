from types import SimpleNamespace

import torch

from bigain.operators.destinations import lowest_score, random_position, top_left
from bigain.operators.random_key import RandomKey
from bigain.operators.scores import laplacian_l1


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
        chosen = lowest_score(metric, grid, cell, laplacian_l1)
        for sample, tokens in zip(metric.numpy(), chosen.tolist(), strict=True):
            scores = slow.score("laplacian_l1", sample, *grid)
            assert tokens == slow.lowest_of_each_cell(scores, slow.cells(*grid, *cell))


def test_of_equal_scores_the_first_wins() -> None:
    flat = torch.full((1, 36, 3), 0.3)
    chosen = lowest_score(flat, (6, 6), (2, 2), lambda x, _: torch.zeros(x.shape[:2]))
    assert torch.equal(chosen, top_left(flat, (6, 6), (2, 2)))


def test_not_a_number_still_chooses_a_token_of_the_cell() -> None:
    metric = torch.full((2, 36, 3), float("nan"))
    chosen = lowest_score(metric, (6, 6), (2, 2), laplacian_l1)
    assert ((chosen >= 0) & (chosen < 36)).all()
