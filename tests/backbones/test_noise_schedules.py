import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bigain.backbones.noise_schedules import (
    SCORES,
    NoiseSchedule,
    Predicts,
    Score,
    straight,
    variance_preserving,
)
from bigain.backbones.schedules import alphas_cumprod

STABLE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}
ABAR = alphas_cumprod(STABLE, "file")
LEVELS = torch.arange(1000, dtype=torch.float64) / 1000
SCHEDULES = {
    "noise": variance_preserving(ABAR),
    "v": variance_preserving(ABAR, "velocity"),
    "flow": straight(LEVELS),
}


def drawn(seed: int, shape: tuple[int, ...] = (5, 2, 4, 4)) -> tuple[Tensor, Tensor, Tensor]:
    """x0, eps and something that a network may have given, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator).double() for _ in range(3))  # type: ignore[return-value]


def errors(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().flatten(1).mean(dim=1)


@pytest.mark.parametrize("name", SCHEDULES)
@given(seed=st.integers(0, 10**6), times=st.lists(st.integers(0, 999), min_size=5, max_size=5))
def test_the_truth_has_no_error_in_any_score(name: str, seed: int, times: list[int]) -> None:
    schedule, timesteps = SCHEDULES[name], torch.tensor(times)
    x0, eps, _ = drawn(seed)
    x = schedule.add_noise(x0, eps, timesteps)
    truth = schedule.target(schedule.predicts, x0, eps, timesteps)
    assert schedule.target("noise", x0, eps, timesteps) is eps
    assert torch.equal(schedule.target("x0", x0, eps, timesteps), x0)
    for score in SCORES:
        target = schedule.target(score, x0, eps, timesteps)
        assert torch.allclose(
            schedule.as_score(score, truth, x, timesteps), target, rtol=0, atol=1e-11
        )


@pytest.mark.parametrize("name", ["v", "flow"])
@given(seed=st.integers(0, 10**6), times=st.lists(st.integers(0, 999), min_size=5, max_size=5))
def test_velocity_to_noise_and_clean_and_back_is_the_velocity(
    name: str, seed: int, times: list[int]
) -> None:
    schedule, timesteps = SCHEDULES[name], torch.tensor(times)
    x, _, v = drawn(seed)
    noise = schedule.as_score("noise", v, x, timesteps)
    clean = schedule.as_score("x0", v, x, timesteps)
    assert torch.allclose(schedule.target("velocity", clean, noise, timesteps), v, atol=1e-12)
    assert torch.allclose(schedule.add_noise(clean, noise, timesteps), x, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("t", [1, 125, 525, 925, 999])
def test_scores_of_the_same_network_differ_by_a_weight_of_the_timestep(name: str, t: int) -> None:
    """The error of eps is a^2 times, that of x_0 b^2 times that of v (rivals.md 3.1)."""
    schedule, timesteps = SCHEDULES[name], torch.full((5,), t)
    x0, eps, output = drawn(t)
    x = schedule.add_noise(x0, eps, timesteps)
    found = {
        score: errors(
            schedule.as_score(score, output, x, timesteps),
            schedule.target(score, x0, eps, timesteps),
        )
        for score in SCORES
    }
    a, b = float(schedule.a[t]), float(schedule.b[t])
    if name == "flow":
        assert (a, b) == (1 - t / 1000, t / 1000)
    else:
        assert (a**2, b**2) == pytest.approx((float(ABAR[t]), 1 - float(ABAR[t])))
    assert torch.allclose(found["noise"], a**2 * found["velocity"], rtol=1e-9, atol=0)
    assert torch.allclose(found["x0"], b**2 * found["velocity"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("predicts", ["noise", "velocity"])
def test_fractions_of_timesteps_are_between_their_neighbours(predicts: Predicts) -> None:
    schedule = variance_preserving(ABAR, predicts)
    x, _, output = drawn(3, (1, 1, 2, 2))

    def at(t: float) -> Tensor:
        return schedule.as_score("x0", output, x, torch.tensor([t]))

    def whole(t: int) -> Tensor:
        return schedule.as_score("x0", output, x, torch.tensor([t]))

    for t in (0, 500, 999):
        assert torch.allclose(at(float(t)), whole(t), atol=1e-12)
    low, middle, high = whole(500), at(500.5), whole(501)
    assert bool(((middle - low) * (high - middle) >= 0).all())
    assert not torch.equal(low, middle)


def test_fractions_along_a_straight_path_have_levels_between_their_neighbours() -> None:
    """Levels of a shift, which are not proportional to t: s is a line between two of them."""
    u = torch.arange(1000, dtype=torch.float64) / 1000
    levels = 3 * u / (1 + 2 * u)
    flow = straight(levels)
    x, _, v = drawn(3, (1, 1, 2, 2))
    for t, fraction in ((0, 0.5), (500, 0.25), (998, 0.9)):
        at = torch.tensor([t + fraction], dtype=torch.float64)
        s = float((1 - fraction) * levels[t] + fraction * levels[t + 1])
        expected = {"velocity": v, "x0": x - s * v, "noise": x + (1 - s) * v}
        for score in SCORES:
            assert torch.allclose(flow.as_score(score, v, x, at), expected[score], atol=1e-12)
        for score in SCORES:
            whole = flow.as_score(score, v, x, torch.tensor([t]))
            assert torch.allclose(flow.as_score(score, v, x, torch.tensor([float(t)])), whole)
    clean, eps, _ = drawn(4, (1, 1, 2, 2))
    noisy = flow.add_noise(clean, eps, torch.tensor([700.5]))
    velocity = flow.target("velocity", clean, eps, torch.tensor([700.5]))
    assert torch.allclose(velocity, eps - clean)
    assert torch.allclose(
        flow.as_score("x0", velocity, noisy, torch.tensor([700.5])), clean, atol=1e-6
    )


def test_the_networks_own_score_is_its_output_bit_for_bit() -> None:
    x, _, output = (each.float() for each in drawn(1))
    own: list[tuple[str, Score]] = [("noise", "noise"), ("v", "velocity"), ("flow", "velocity")]
    for name, score in own:
        assert SCHEDULES[name].as_score(score, output, x, torch.arange(5)) is output


def test_noisy_latents_are_those_of_equation_1_in_single_precision() -> None:
    x0, eps, _ = (each.float() for each in drawn(2))
    t = torch.tensor([0, 25, 500, 975, 999])
    abar = ABAR[t].view(-1, 1, 1, 1)
    expected = abar.sqrt().float() * x0 + (1 - abar).sqrt().float() * eps
    assert torch.equal(SCHEDULES["noise"].add_noise(x0, eps, t), expected)


def test_a_straight_path_has_the_ratio_of_signal_to_noise_that_its_abar_says() -> None:
    flow: NoiseSchedule = SCHEDULES["flow"]
    ratio = flow.alphas_cumprod / (1 - flow.alphas_cumprod)
    assert torch.allclose(ratio[1:], ((1 - LEVELS) / LEVELS)[1:].square())
    assert len(flow) == 1000
