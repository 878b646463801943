from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators.scores import SCORES, laplacian, laplacian_l1, token_score


def test_laplacian_l1_is_its_definition(slow: SimpleNamespace, grid: tuple[int, int]) -> None:
    x = torch.randn(3, grid[0] * grid[1], 5, dtype=torch.float64)
    fast = laplacian_l1(x, grid)
    for sample, scores in zip(x.numpy(), fast, strict=True):
        np.testing.assert_allclose(scores, slow.laplacian_l1(sample, *grid), rtol=1e-12)


def test_a_single_bright_token_answers_with_the_kernel() -> None:
    x = torch.zeros(1, 25, 1)
    x[0, 12] = 1
    expected = [[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, -4, 1, 0], [0, 0, 1, 0, 0], [0] * 5]
    assert laplacian(x, (5, 5))[0, :, :, 0].tolist() == expected


def test_beyond_the_border_is_zero() -> None:
    assert laplacian_l1(torch.ones(1, 9, 2), (3, 3)).tolist() == [[4, 2, 4, 2, 0, 2, 4, 2, 4]]


def test_flat_areas_score_exactly_zero() -> None:
    flat = torch.rand(2, 1, 48).expand(2, 64, 48)
    inside = laplacian_l1(flat, (8, 8)).unflatten(1, (8, 8))[:, 1:-1, 1:-1]
    assert (inside == 0).all()


@pytest.mark.parametrize("batch", [1, 7])
def test_a_score_has_the_same_bits_alone_and_in_a_batch(batch: int) -> None:
    x = torch.randn(14, 13 * 9, 48)
    together = laplacian_l1(x, (13, 9))
    for start in range(0, 14, batch):
        part = slice(start, start + batch)
        assert torch.equal(laplacian_l1(x[part].clone(), (13, 9)), together[part])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_single(dtype: torch.dtype) -> None:
    x = torch.randn(2, 16, 8).to(dtype)
    scores = laplacian_l1(x, (4, 4))
    assert scores.dtype == torch.float32
    assert torch.equal(scores, laplacian_l1(x.float(), (4, 4)))


def test_scores_do_not_change_their_input() -> None:
    x = torch.randn(1, 16, 4)
    before = x.clone()
    laplacian_l1(x, (4, 4))
    assert torch.equal(x, before)


def test_the_grid_must_fit() -> None:
    with pytest.raises(UserError, match="grid=4x5"):
        laplacian_l1(torch.randn(1, 16, 4), (4, 5))


def test_scores_are_found_by_name() -> None:
    assert token_score("laplacian_l1") is laplacian_l1
    with pytest.raises(UserError, match=r"^score='laplace': .* one of .*laplacian_l1"):
        token_score("laplace")


@pytest.mark.parametrize("name", list(SCORES))
def test_every_score_gives_one_finite_number_per_token(name: str) -> None:
    scores = SCORES[name](torch.randn(3, 20, 6), (4, 5))
    assert scores.shape == (3, 20)
    assert scores.isfinite().all()
