from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bigain.errors import UserError
from bigain.operators.scores import (
    PADDINGS,
    SCORES,
    laplacian,
    laplacian_l1,
    score_flops,
    score_formula,
    score_map,
    token_score,
)


@pytest.mark.parametrize("name", list(SCORES))
def test_every_score_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], name: str
) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, grid[0] * grid[1], 5, dtype=torch.float64)
    for sample, double, single in zip(
        x.numpy(), SCORES[name](x, grid), SCORES[name](x.float(), grid), strict=True
    ):
        expected = slow.score(name, sample, *grid)
        np.testing.assert_allclose(double, expected, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["laplacian_l1", "laplacian_l2"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_beyond_the_border_the_borders_tokens_may_be_repeated(
    slow: SimpleNamespace, grid: tuple[int, int], name: str, dtype: torch.dtype
) -> None:
    torch.manual_seed(2)
    x = torch.randn(2, grid[0] * grid[1], 5, dtype=dtype)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-5
    for sample, scored in zip(x, token_score(name, "replicate")(x, grid), strict=True):
        expected = slow.score(name, sample.double().numpy(), *grid, padding="replicate")
        np.testing.assert_allclose(scored, expected, rtol=tolerance, atol=tolerance)
    assert not torch.equal(token_score(name, "replicate")(x, grid), SCORES[name](x, grid))
    shown = score_map(name, x, grid, "replicate")
    assert torch.equal(shown.flatten(1), token_score(name, "replicate")(x, grid))


def test_a_flat_border_is_smooth_if_its_tokens_are_repeated() -> None:
    flat = torch.rand(2, 1, 48).expand(2, 35, 48)
    assert (token_score("laplacian_l1", "replicate")(flat, (5, 7)) == 0).all()
    assert (token_score("laplacian_l1", "replicate")(flat[:, :1], (1, 1)) == 0).all()


@pytest.mark.parametrize("name", sorted(set(SCORES) - {"laplacian_l1", "laplacian_l2"}))
def test_a_padding_without_a_laplacian_is_refused(name: str) -> None:
    assert token_score(name, "zero") is SCORES[name]
    with pytest.raises(UserError, match=rf"^padding=replicate: allowed: zero with score={name}; "):
        token_score(name, "replicate")


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


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize("batch", [1, 7])
def test_a_score_has_the_same_bits_alone_and_in_a_batch(name: str, batch: int) -> None:
    x, score = torch.randn(14, 13 * 9, 48), SCORES[name]
    together = score(x, (13, 9))
    for start in range(0, 14, batch):
        part = slice(start, start + batch)
        assert torch.equal(score(x[part].clone(), (13, 9)), together[part])


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored_in_single(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 16, 8).to(dtype)
    scores = SCORES[name](x, (4, 4))
    assert scores.dtype == torch.float32
    assert torch.equal(scores, SCORES[name](x.float(), (4, 4)))


@pytest.mark.parametrize("name", list(SCORES))
def test_not_a_number_in_a_token_scores_not_a_number_in_that_sample_only(name: str) -> None:
    x = torch.randn(3, 36, 8)
    x[1, 14, 5] = float("nan")
    scores = SCORES[name](x, (6, 6))
    assert scores[1, 14].isnan()
    assert scores[[0, 2]].isfinite().all()


@pytest.mark.parametrize("name", list(SCORES))
def test_a_score_is_a_map_with_a_formula_and_leaves_its_input_alone(name: str) -> None:
    x = torch.randn(3, 20, 6)
    before = x.clone()
    shown = score_map(name, x, (4, 5))
    assert torch.equal(x, before)
    assert shown.shape == (3, 4, 5)
    assert torch.equal(shown.flatten(1), SCORES[name](x, (4, 5)))
    assert score_formula(name).startswith("F_i = ")
    assert len({score_formula(each) for each in SCORES}) == len(SCORES) == 10


@pytest.mark.parametrize("name", list(SCORES))
def test_the_grid_must_fit(name: str) -> None:
    with pytest.raises(UserError, match="grid=4x5: has 20 tokens, but the tensor has 16"):
        SCORES[name](torch.randn(1, 16, 4), (4, 5))


def test_scores_are_found_by_name() -> None:
    assert token_score("laplacian_l1") is laplacian_l1
    for find in (
        token_score,
        score_formula,
        lambda name: score_flops(name, 1, 1),
        lambda name: score_map(name, torch.ones(1, 1, 1), (1, 1)),
    ):
        with pytest.raises(UserError, match=r"^score=laplace: allowed") as caught:
            find("laplace")
        assert all(name in str(caught.value) for name in SCORES)
        assert "\n" not in str(caught.value)


def test_the_two_sided_centroid_hardly_leaves_the_middle() -> None:
    """Weak by construction: the spectrum of real input is symmetric."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 36, 48, generator=generator) * torch.logspace(-3, 3, 36)[:, None]
    centroids = SCORES["dft_spectral_centroid"](x, (6, 6))
    assert (centroids - 24).abs().max() < 2
    assert SCORES["dft_amplitude"](x, (6, 6)).max() > 1e5 * SCORES["dft_amplitude"](x, (6, 6)).min()


def test_scores_of_a_single_channel_or_token_are_finite() -> None:
    assert (SCORES["channel_variance"](torch.randn(2, 16, 1), (4, 4)) == 0).all()
    assert (SCORES["cosine_neighbors"](torch.randn(2, 1, 3), (1, 1)) == 0).all()
    for score in SCORES.values():
        assert score(torch.zeros(1, 16, 4), (4, 4)).isfinite().all()


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize(("grid", "channels"), [((4, 4), 1), ((9, 7), 48)])
def test_flops_are_those_that_torch_counts(name: str, grid: tuple[int, int], channels: int) -> None:
    for padding in PADDINGS if name.startswith("laplacian") else ("zero",):
        with FlopCounterMode(display=False) as counter:
            x = torch.empty(1, grid[0] * grid[1], channels, device="meta")
            token_score(name, padding)(x, grid)
        assert score_flops(name, grid[0] * grid[1], channels) == counter.get_total_flops()


def test_only_laplacians_cost_flops() -> None:
    costly = {name for name in SCORES if score_flops(name, 4096, 320)}
    assert costly == {"laplacian_l1", "laplacian_l2"}
    assert score_flops("laplacian_l1", 4096, 320) == 18 * 4096 * 320
