import pytest
import torch

from bigain.errors import UserError
from bigain.operators.schedules import AlphaSchedule, ConstantAlpha, LinearAlpha


def test_a_constant_needs_no_time() -> None:
    assert ConstantAlpha(0.9).at(None) == 0.9
    assert ConstantAlpha(1).at(torch.tensor([3, 4])) == 1.0


def test_linear_runs_from_start_at_noise_to_end_at_the_image() -> None:
    alpha = LinearAlpha(0.8, 1.2).at(torch.tensor([999, 0, 500]))
    expected = [0.8, 1.2, 0.8 * 500 / 999 + 1.2 * (1 - 500 / 999)]
    torch.testing.assert_close(alpha, torch.tensor(expected))


def test_each_sample_has_its_own_alpha() -> None:
    schedule = LinearAlpha(0.0, 1.0)
    together = schedule.at(torch.tensor([10, 700, 10]))
    assert together[0] == together[2] != together[1]
    assert torch.equal(schedule.at(torch.tensor([700])), together[1:2])


def test_integer_and_float_timesteps_agree() -> None:
    schedule = LinearAlpha(0.8, 1.2)
    assert torch.equal(schedule.at(torch.tensor([37])), schedule.at(torch.tensor([37.0])))


def test_linear_without_time_is_refused() -> None:
    with pytest.raises(UserError, match=r"^alpha=LinearAlpha\(start=0.8, end=1.2\).*timestep"):
        LinearAlpha(0.8, 1.2).at(None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.9", None])
def test_alpha_is_a_finite_number(value: float) -> None:
    with pytest.raises(UserError, match=r"^alpha=.*finite number"):
        ConstantAlpha(value)
    with pytest.raises(UserError, match=r"^alpha\.start=.*finite number"):
        LinearAlpha(value, 1.0)
    with pytest.raises(UserError, match=r"^alpha\.end=.*finite number"):
        LinearAlpha(1.0, value)


def test_schedules_compare_by_value() -> None:
    assert LinearAlpha(0.8, 1.2) == LinearAlpha(0.8, 1.2) != LinearAlpha(0.8, 1.1)
    assert issubclass(ConstantAlpha, AlphaSchedule)
