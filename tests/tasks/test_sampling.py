from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import Tensor

from bigain.backbones.schedules import alphas_cumprod
from bigain.errors import UserError
from bigain.tasks.batches import keyed_noise
from bigain.tasks.sampling import SCHEDULERS, Sampler, build_scheduler

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
CPU = torch.device("cpu")
ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000).double(), 0)


def sampler_of(backbone: Any, **changes: Any) -> Sampler:
    settings: dict[str, Any] = {
        "scheduler": "ddim",
        "steps": 5,
        "guidance_scale": 3.0,
        "seed": 0,
        "images_per_forward": 4,
        **changes,
    }
    return Sampler(backbone, device=CPU, **settings)


def plain_ddim(backbone: Any, index: int, condition: int, scale: float, seed: int = 0) -> Tensor:
    """Guided DDIM for one sample as one reads it in a paper, five steps."""
    x = keyed_noise(seed, "generation", index, shape=(1, 8, 8))[None].double()
    for t in (800, 600, 400, 200, 0):
        time = torch.tensor([t])
        given, null = (
            backbone.predict_noise(x.float(), time, torch.tensor([c])).double()
            for c in (condition, 10)
        )
        noise = null + scale * (given - null)
        now, after = ABAR[t], ABAR[t - 200] if t else torch.tensor(1.0).double()
        clean = (x - (1 - now).sqrt() * noise) / now.sqrt()
        x = after.sqrt() * clean + (1 - after).sqrt() * noise
    return x


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_it_is_guided_ddim(backbone: Any, scale: float) -> None:
    indices, conditions = torch.tensor([3, 0, 7]), torch.tensor([9, 2, 2])
    latents = sampler_of(backbone, guidance_scale=scale).sample(indices, conditions)
    pairs = zip(indices.tolist(), conditions.tolist(), strict=True)
    plain = torch.cat([plain_ddim(backbone, index, c, scale) for index, c in pairs])
    assert latents.shape == (3, 1, 8, 8)
    assert torch.allclose(latents, plain.float(), rtol=1e-4, atol=1e-4)


def test_the_first_noise_is_of_seed_and_index_alone(backbone: Any) -> None:
    noise = sampler_of(backbone).initial_noise(torch.tensor([5, 2, 5]))
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(noise[0], keyed_noise(0, "generation", 5, shape=(1, 8, 8)))
    assert not torch.equal(noise[0], noise[1])
    other = sampler_of(backbone, seed=1).initial_noise(torch.tensor([5]))
    assert not torch.equal(noise[0], other[0])


def rows_of(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    predict: Predict = backbone.predict_noise

    def noted(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        assert len(latents) == len(timesteps) == len(classes)
        seen.append(len(latents))
        return predict(latents, timesteps, classes)

    monkeypatch.setattr(backbone, "predict_noise", noted)
    return seen


@pytest.mark.parametrize(("scale", "rows"), [(3.0, 8), (1.0, 4)])
def test_every_forward_has_the_same_number_of_rows(
    backbone: Any, monkeypatch: pytest.MonkeyPatch, scale: float, rows: int
) -> None:
    seen = rows_of(backbone, monkeypatch)
    latents = sampler_of(backbone, guidance_scale=scale).sample(
        torch.arange(6), torch.zeros(6, dtype=torch.long)
    )
    assert len(latents) == 6
    assert set(seen) == {rows}, "guidance in one batch, the last one filled up"
    assert len(seen) == 2 * 5


def test_what_shares_a_batch_changes_no_bit(backbone: Any) -> None:
    sampler = sampler_of(backbone)
    together = sampler.sample(torch.arange(7), torch.arange(7))
    alone = [sampler.sample(torch.tensor([i]), torch.tensor([i])) for i in range(7)]
    assert torch.equal(together, torch.cat(alone))
    turned = sampler.sample(torch.arange(7).flip(0), torch.arange(7).flip(0))
    assert torch.equal(together, turned.flip(0))


def test_memory_that_runs_out_halves_the_batch(
    backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sampler_of(backbone).sample(torch.arange(6), torch.arange(6))
    predict: Predict = backbone.predict_noise

    def small(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        if len(latents) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(latents, timesteps, classes)

    monkeypatch.setattr(backbone, "predict_noise", small)
    sampler = sampler_of(backbone)
    latents = sampler.sample(torch.arange(6), torch.arange(6))
    assert sampler.images_per_forward == 2
    assert torch.allclose(latents, expected, atol=1e-5)


def test_an_overflow_names_the_sample(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    predict: Predict = backbone.predict_noise

    def overflow(latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        return torch.where(
            classes.view(-1, 1, 1, 1) == 4, torch.inf, predict(latents, timesteps, classes)
        )

    monkeypatch.setattr(backbone, "predict_noise", overflow)
    with pytest.raises(UserError, match=r"sample 12: .* dtype=float32 or bfloat16"):
        sampler_of(backbone).sample(torch.tensor([11, 12]), torch.tensor([3, 4]))


# Schedulers, against those of the published pipelines.

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
