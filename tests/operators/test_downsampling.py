"""Key/value downsampling, pooling and schedules of alpha."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigain.errors import UserError
from bigain.operators import (
    IEKVD,
    UNCHANGED,
    AvgPool,
    ConstantAlpha,
    LinearAlpha,
    Operator,
    RandomKey,
    ToDo,
)
from bigain.operators.downsampling import (
    average_pool,
    nearest_pool,
    nearest_tokens,
    pooled_grid,
    pooling_window,
)

KINDS: list[Operator] = [ToDo(16), AvgPool(16), IEKVD(16, 0.9)]


def reduced(
    operator: Operator, x: Tensor, grid: tuple[int, int], draw: RandomKey | None = None
) -> Tensor:
    return operator.plan(x, grid, draw).reduce(x)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("align", ["reference", "window"])
@pytest.mark.parametrize("alpha", [-0.5, 0.9, 1.0, 1.2])
def test_ie_kvd_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int, align: str, alpha: float
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 4, dtype=torch.float64)
    expected = definition(slow, x, grid, factor, align, [alpha, alpha])
    np.testing.assert_allclose(reduced(IEKVD(factor, alpha, align), x, grid), expected, atol=1e-12)
    single = reduced(IEKVD(factor, alpha, align), x.float(), grid)
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 3])
def test_todo_and_average_pooling_are_their_definitions(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 4, dtype=torch.float64)
    nearest = [slow.nearest(sample, *grid, factor) for sample in x.numpy()]
    average = [slow.average(sample, *grid, factor) for sample in x.numpy()]
    assert ToDo(factor).plan(x, grid).restore(x) is x
    np.testing.assert_array_equal(reduced(ToDo(factor), x, grid), np.array(nearest))
    np.testing.assert_allclose(reduced(AvgPool(factor), x, grid), np.array(average), atol=1e-12)


@pytest.mark.parametrize("align", ["reference", "window"])
def test_a_schedule_is_its_definition_for_every_sample(
    slow: SimpleNamespace, grid: tuple[int, int], align: str
) -> None:
    """alpha(t) = a_start * t/999 + a_end * (1 - t/999)."""
    x, times = torch.randn(4, grid[0] * grid[1], 3, dtype=torch.float64), [999, 0, 250, 1]
    operator = IEKVD(3, LinearAlpha(0.8, 1.2), align)
    alphas = [0.8 * t / 999 + 1.2 * (1 - t / 999) for t in times]
    fast = reduced(operator, x, grid, RandomKey(timesteps=torch.tensor(times)))
    expected = definition(slow, x, grid, 3, align, alphas)
    np.testing.assert_allclose(fast, expected, rtol=1e-5, atol=1e-6)


def definition(
    slow: SimpleNamespace,
    x: Tensor,
    grid: tuple[int, int],
    factor: int,
    align: str,
    alphas: list[float],
) -> NDArray[np.float64]:
    rows = []
    for sample, alpha in zip(x.numpy(), alphas, strict=True):
        near = slow.nearest(sample, *grid, factor, align)
        rows.append(alpha * near + (1 - alpha) * slow.average(sample, *grid, factor, align))
    return np.array(rows)


def test_alpha_one_is_nearest_and_alpha_zero_is_average() -> None:
    x = torch.randn(2, 63, 4)
    assert torch.equal(reduced(IEKVD(2, 1.0), x, (9, 7)), reduced(ToDo(2), x, (9, 7)))
    assert torch.equal(reduced(IEKVD(2, 0), x, (9, 7)), reduced(AvgPool(2), x, (9, 7)))


def test_one_timestep_serves_the_whole_batch() -> None:
    x, operator = torch.randn(3, 64, 4), IEKVD(2, LinearAlpha(0.8, 1.2))
    one = reduced(operator, x, (8, 8), RandomKey(timesteps=torch.tensor(30)))
    assert torch.equal(
        one, reduced(operator, x, (8, 8), RandomKey(timesteps=torch.tensor([30] * 3)))
    )


@pytest.mark.parametrize("draw", [None, RandomKey(1, "s", None)])
def test_a_schedule_without_time_is_refused(draw: RandomKey | None) -> None:
    with pytest.raises(UserError, match="alpha=LinearAlpha"):
        IEKVD(2, LinearAlpha(0.8, 1.2)).plan(torch.randn(1, 64, 4), (8, 8), draw)


@pytest.mark.parametrize("operator", KINDS, ids=repr)
def test_a_factor_as_large_as_the_grid_is_refused_at_the_first_plan(operator: Operator) -> None:
    with pytest.raises(UserError, match=r"^factor=16: allowed: an integer from 1 to 15, .* 16x16"):
        operator.plan(torch.randn(1, 256, 4), (16, 16))
    with pytest.raises(UserError, match="factor=16"):
        operator.num_kept((16, 40))


@pytest.mark.parametrize("kind", [ToDo, AvgPool, IEKVD])
def test_the_factor_is_an_integer_of_at_least_one(
    kind: type[ToDo] | type[AvgPool] | type[IEKVD],
) -> None:
    with pytest.raises(UserError, match=r"^factor=0"):
        kind(0)
    with pytest.raises(UserError, match=r"^factor=2.5"):
        kind(2.5)  # type: ignore[arg-type]


def test_align_and_alpha_are_checked_at_once() -> None:
    with pytest.raises(UserError, match=r"^align=centre: allowed: reference, window"):
        IEKVD(2, 0.9, "centre")
    with pytest.raises(UserError, match=r"^alpha=nan"):
        IEKVD(2, float("nan"))


def test_pooling_before_projecting_equals_projecting_first() -> None:
    x, weight = torch.randn(2, 64, 4, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    operator = IEKVD(2, 0.9)
    before, after = reduced(operator, x, (8, 8)) @ weight, reduced(operator, x @ weight, (8, 8))
    torch.testing.assert_close(before, after)


def test_the_default_alpha_is_that_of_classification() -> None:
    assert IEKVD(2).schedule == ConstantAlpha(0.9)
    assert ToDo(2).schedule == ConstantAlpha(1.0)
    assert AvgPool(2).schedule == ConstantAlpha(0.0)


Downsampler = ToDo | AvgPool | IEKVD
SKIPPING: list[Downsampler] = [
    ToDo(2, skip_final_step=True),
    AvgPool(2, skip_final_step=True),
    IEKVD(2, skip_final_step=True),
]


@pytest.mark.parametrize("operator", SKIPPING, ids=repr)
@pytest.mark.parametrize("times", [torch.tensor(0), torch.zeros(3)])
def test_the_final_step_keeps_all_keys_when_asked_to(operator: Downsampler, times: Tensor) -> None:
    for batch in {len(times.reshape(-1)), 3}:
        x = torch.randn(batch, 64, 4)
        draw = RandomKey(timesteps=times)
        assert operator.plan(x, (8, 8), draw) is UNCHANGED
        always = dataclasses.replace(operator, skip_final_step=False)
        assert reduced(always, x, (8, 8), draw).shape == (batch, 16, 4)


@pytest.mark.parametrize("operator", SKIPPING, ids=repr)
@pytest.mark.parametrize("times", [torch.tensor(1), torch.tensor([20, 999, 1])])
def test_other_steps_do_not_change_by_it(operator: Downsampler, times: Tensor) -> None:
    x, draw = torch.randn(3, 64, 4), RandomKey(timesteps=times)
    always = dataclasses.replace(operator, skip_final_step=False)
    assert torch.equal(reduced(operator, x, (8, 8), draw), reduced(always, x, (8, 8), draw))


@pytest.mark.parametrize("operator", SKIPPING, ids=repr)
def test_a_final_step_among_others_is_refused(operator: Operator) -> None:
    x = torch.randn(3, 64, 4)
    with pytest.raises(UserError, match=r"^skip_final_step=True: a batch mixes timestep 0"):
        operator.plan(x, (8, 8), RandomKey(timesteps=torch.tensor([0, 0, 40])))
    for draw in (None, RandomKey()):
        with pytest.raises(UserError, match=r"^skip_final_step=True: depends on the timestep"):
            operator.plan(x, (8, 8), draw)


def test_skipping_is_a_switch() -> None:
    with pytest.raises(UserError, match=r"^skip_final_step=1: allowed: true or false"):
        ToDo(2, skip_final_step=1)  # type: ignore[arg-type]


def test_on_the_meta_device_no_step_is_the_final_one() -> None:
    """FLOPs are counted there, of a step that is accelerated."""
    x = torch.empty(2, 64, 4, device="meta")
    draw = RandomKey(timesteps=torch.zeros(2, dtype=torch.int64, device="meta"))
    assert reduced(ToDo(2, skip_final_step=True), x, (8, 8), draw).shape == (2, 16, 4)


CPU = torch.device("cpu")


@pytest.mark.parametrize(("side", "factor"), [(16, 2), (64, 3), (64, 5), (17, 4)])
def test_nearest_is_torchs_nearest_exact(side: int, factor: int) -> None:
    x = torch.randn(1, side * side, 2)
    image = x.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(
        image, size=(side // factor, side // factor), mode="nearest-exact"
    )
    assert torch.equal(nearest_pool(x, (side, side), factor), small.flatten(2).transpose(1, 2))


def test_a_factor_of_two_takes_the_bottom_right_token() -> None:
    assert nearest_tokens((4, 4), 2, "reference", CPU).tolist() == [5, 7, 13, 15]


def test_alignments_differ_when_the_factor_does_not_divide() -> None:
    assert nearest_tokens((1, 8), 1, "reference", CPU).tolist() == list(range(8))
    assert nearest_tokens((8, 8), 3, "reference", CPU).tolist() == [18, 22, 50, 54]
    assert nearest_tokens((8, 8), 3, "window", CPU).tolist() == [9, 12, 33, 36]
    assert torch.equal(
        nearest_tokens((9, 6), 3, "window", CPU), nearest_tokens((9, 6), 3, "reference", CPU)
    )


@pytest.mark.parametrize(
    ("grid", "factor", "window"),
    [((32, 32), 7, (8, 8)), ((16, 16), 6, (8, 8)), ((16, 13), 6, (8, 6)), ((11, 9), 4, (5, 4))],
)
def test_the_reference_pools_windows_that_fill_the_grid(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int, window: tuple[int, int]
) -> None:
    assert pooling_window(grid, factor) == window
    assert pooling_window(grid, factor, "window") == (factor, factor)
    x = torch.randn(2, grid[0] * grid[1], 3, dtype=torch.float64)
    image = x.unflatten(1, grid).permute(0, 3, 1, 2)
    expected = torch.nn.functional.avg_pool2d(image, window).flatten(2).transpose(1, 2)
    assert expected.shape[1] == AvgPool(factor).num_kept(grid)
    torch.testing.assert_close(reduced(AvgPool(factor), x, grid), expected)
    for align in ("reference", "window"):
        ours = reduced(IEKVD(factor, 0.4, align), x, grid)
        np.testing.assert_allclose(ours, definition(slow, x, grid, factor, align, [0.4] * 2))


@pytest.mark.parametrize("side", [64, 32])
def test_the_papers_factors_have_windows_of_their_size(side: int) -> None:
    factors = range(2, 9 if side == 64 else 5)
    assert [pooling_window((side, side), f) for f in factors] == [(f, f) for f in factors]


def test_trailing_rows_and_columns_are_dropped() -> None:
    assert pooled_grid((13, 9), 4) == (3, 2)
    x = torch.randn(1, 13 * 9, 2)
    changed = x.clone().unflatten(1, (13, 9))
    changed[:, 12:] = 100
    changed[:, :, 8:] = 100
    assert torch.equal(average_pool(changed.flatten(1, 2), (13, 9), 4), average_pool(x, (13, 9), 4))


def test_a_constant_needs_no_time() -> None:
    assert ConstantAlpha(0.9).at(None) == 0.9
    assert ConstantAlpha(1).at(torch.tensor([3, 4])) == 1.0


def test_linear_runs_from_start_at_noise_to_end_at_the_image() -> None:
    alpha = LinearAlpha(0.8, 1.2).at(torch.tensor([999, 0, 500]))
    expected = [0.8, 1.2, 0.8 * 500 / 999 + 1.2 * (1 - 500 / 999)]
    torch.testing.assert_close(alpha, torch.tensor(expected))
    assert torch.equal(alpha, LinearAlpha(0.8, 1.2).at(torch.tensor([999.0, 0.0, 500.0])))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.9", None])
def test_alpha_is_a_finite_number(value: float) -> None:
    with pytest.raises(UserError, match=r"^alpha=.*finite number"):
        ConstantAlpha(value)
    with pytest.raises(UserError, match=r"^alpha\.start=.*finite number"):
        LinearAlpha(value, 1.0)
    with pytest.raises(UserError, match=r"^alpha\.end=.*finite number"):
        LinearAlpha(1.0, value)
