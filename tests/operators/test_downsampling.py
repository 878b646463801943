from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.operators import IEKVD, AvgPool, ConstantAlpha, Draw, LinearAlpha, Operator, ToDo

KINDS: list[Operator] = [ToDo(16), AvgPool(16), IEKVD(16, 0.9)]


def reduced(
    operator: Operator, x: torch.Tensor, grid: tuple[int, int], draw: Draw | None = None
) -> torch.Tensor:
    return operator.plan(x, grid, draw).reduce(x)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("align", ["reference", "window"])
@pytest.mark.parametrize("alpha", [-0.5, 0.0, 0.3, 0.9, 1.0, 1.2])
def test_ie_kvd_is_its_definition(
    slow: SimpleNamespace, grid: tuple[int, int], factor: int, align: str, alpha: float
) -> None:
    x = torch.randn(2, grid[0] * grid[1], 4, dtype=torch.float64)
    fast = reduced(IEKVD(factor, alpha, align), x, grid)
    for b in range(2):
        near = slow.nearest(x[b].numpy(), *grid, factor, align)
        mean = slow.average(x[b].numpy(), *grid, factor)
        np.testing.assert_allclose(fast[b], alpha * near + (1 - alpha) * mean, atol=1e-12)


def test_alpha_one_is_nearest_and_alpha_zero_is_average() -> None:
    x = torch.randn(2, 63, 4)
    assert torch.equal(reduced(IEKVD(2, 1.0), x, (9, 7)), reduced(ToDo(2), x, (9, 7)))
    assert torch.equal(reduced(IEKVD(2, 0), x, (9, 7)), reduced(AvgPool(2), x, (9, 7)))


def test_each_sample_has_the_alpha_of_its_timestep() -> None:
    x, times = torch.randn(3, 64, 4), [999, 0, 250]
    schedule = LinearAlpha(0.8, 1.2)
    mixed = reduced(IEKVD(2, schedule), x, (8, 8), Draw(timesteps=torch.tensor(times)))
    for b, time in enumerate(times):
        alpha = float(schedule.at(torch.tensor([time]))[0])
        torch.testing.assert_close(mixed[b : b + 1], reduced(IEKVD(2, alpha), x[b : b + 1], (8, 8)))


def test_one_timestep_serves_the_whole_batch() -> None:
    x, operator = torch.randn(3, 64, 4), IEKVD(2, LinearAlpha(0.8, 1.2))
    one = reduced(operator, x, (8, 8), Draw(timesteps=torch.tensor(30)))
    assert torch.equal(one, reduced(operator, x, (8, 8), Draw(timesteps=torch.tensor([30] * 3))))


@pytest.mark.parametrize("draw", [None, Draw(1, "s", None)])
def test_a_schedule_without_time_is_refused(draw: Draw | None) -> None:
    with pytest.raises(UserError, match="alpha=LinearAlpha"):
        IEKVD(2, LinearAlpha(0.8, 1.2)).plan(torch.randn(1, 64, 4), (8, 8), draw)


@pytest.mark.parametrize("operator", KINDS, ids=repr)
def test_a_factor_as_large_as_the_grid_is_refused_at_the_first_plan(operator: Operator) -> None:
    with pytest.raises(UserError, match=r"^factor=16: must be smaller .* 16x16: at most 15"):
        operator.plan(torch.randn(1, 256, 4), (16, 16))
    with pytest.raises(UserError, match="factor=16"):
        operator.kept((16, 40))


@pytest.mark.parametrize("kind", [ToDo, AvgPool, IEKVD])
def test_the_factor_is_an_integer_of_at_least_one(
    kind: type[ToDo] | type[AvgPool] | type[IEKVD],
) -> None:
    with pytest.raises(UserError, match=r"^factor=0"):
        kind(0)
    with pytest.raises(UserError, match=r"^factor=2.5"):
        kind(2.5)  # type: ignore[arg-type]


def test_align_and_alpha_are_checked_at_once() -> None:
    with pytest.raises(UserError, match=r"^align='centre': must be one of reference, window"):
        IEKVD(2, 0.9, "centre")
    with pytest.raises(UserError, match=r"^alpha=nan"):
        IEKVD(2, float("nan"))


def test_restoring_changes_nothing() -> None:
    x = torch.randn(1, 64, 4)
    assert ToDo(2).plan(x, (8, 8)).restore(x) is x


def test_a_plan_from_one_width_serves_another() -> None:
    plan = IEKVD(2, 0.9).plan(torch.randn(2, 64, 4), (8, 8))
    assert plan.reduce(torch.randn(2, 64, 9)).shape == (2, 16, 9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_mixes_in_single(dtype: torch.dtype) -> None:
    x = torch.randn(2, 64, 4).to(dtype)
    mixed = reduced(IEKVD(2, 0.9), x, (8, 8))
    assert torch.equal(mixed, reduced(IEKVD(2, 0.9), x.float(), (8, 8)).to(dtype))


def test_pooling_before_projecting_equals_projecting_first() -> None:
    x, weight = torch.randn(2, 64, 4, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    operator = IEKVD(2, 0.9)
    before, after = reduced(operator, x, (8, 8)) @ weight, reduced(operator, x @ weight, (8, 8))
    torch.testing.assert_close(before, after)


def test_the_default_alpha_is_that_of_classification() -> None:
    assert IEKVD(2).schedule == ConstantAlpha(0.9)
    assert ToDo(2).schedule == ConstantAlpha(1.0)
    assert AvgPool(2).schedule == ConstantAlpha(0.0)


def test_repr_shows_the_settings() -> None:
    assert repr(IEKVD(2, LinearAlpha(0.8, 1.2))) == (
        "IEKVD(factor=2, alpha=LinearAlpha(start=0.8, end=1.2), align='reference')"
    )
    assert repr(ToDo(2)) == "ToDo(factor=2)"
