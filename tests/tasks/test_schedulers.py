"""Against the schedulers that the published pipelines are configured with."""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from bigain.backbones.schedules import alphas_cumprod
from bigain.tasks.sampling import SCHEDULERS, build_scheduler

SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
DIT = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    """To single precision of the largest value: the noise here is random, so values grow."""
    assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


def ours(name: str, settings: dict[str, Any], steps: int = 50) -> Any:
    abar = alphas_cumprod({"num_train_timesteps": 1000, **settings}, "test")
    return build_scheduler(name, abar, steps)


def test_euler_takes_the_timesteps_of_the_protocol() -> None:
    timesteps = ours("euler", SD).timesteps
    assert (len(timesteps), float(timesteps[0]), float(timesteps[-1])) == (50, 999.0, 0.0)
    gaps = timesteps[:-1] - timesteps[1:]
    assert torch.allclose(gaps, torch.tensor(999 / 49), atol=1e-3)


def test_ddim_takes_the_timesteps_of_the_protocol() -> None:
    assert ours("ddim", DIT).timesteps.tolist() == list(range(980, -1, -20))


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
@pytest.mark.parametrize("steps", [1, 7, 50])
def test_a_trajectory_is_that_of_the_published_scheduler(name: str, steps: int) -> None:
    settings = {"euler": SD, "ddim": DIT}[name]
    kinds: dict[str, Any] = {"euler": EulerDiscreteScheduler, "ddim": DDIMScheduler}
    extra = {"ddim": {"clip_sample": False, "set_alpha_to_one": True}, "euler": {}}[name]
    theirs = kinds[name](num_train_timesteps=1000, **settings, **extra)
    theirs.set_timesteps(steps)
    mine = ours(name, settings, steps)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    a, b = x * mine.init_noise_sigma, x * theirs.init_noise_sigma
    for t, u in zip(mine.timesteps, theirs.timesteps, strict=True):
        noise = torch.randn(x.shape, generator=generator)
        assert_close(mine.scale_model_input(a, t), theirs.scale_model_input(b, u))
        a = mine.step(noise, t, a).prev_sample
        b = theirs.step(noise, u, b).prev_sample
    assert_close(a, b)
