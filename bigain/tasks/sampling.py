"""From noise to latents, with classifier-free guidance; what shares a batch changes no bit.

    eps = eps(x_t, null) + w (eps(x_t, c) - eps(x_t, null))

Both predictions come from one forward of 2 k rows; at w = 1, where the null class cancels, k rows
are enough.  A network rounds differently for batches of another size, and fifty steps turn the last
bit into a pixel.  So the number k of images per forward is a setting of its own and part of a run's
name, and a last batch with fewer images is filled up with copies.

The samplers are the paper's, as diffusers implements them, on the schedule of any backbone.  Both
are deterministic, so an image's initial noise decides all of it:

    euler   Euler steps over sigma = sqrt((1 - abar) / abar), timesteps from 999 to 0 in equal
            steps, not all integers (Stable Diffusion in the reference)
    ddim    DDIM without noise (eta 0) at 980, 960, ..., 0 for 50 steps (DiT)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.errors import UserError
from bigain.patching.sharing import grouped_rows
from bigain.tasks.batches import MicroBatches, keyed_noise

__all__ = ["SCHEDULERS", "Sampler", "build_scheduler"]


class Sampler:
    """Draws latents of `backbone` under its conditions.

    Args:
        backbone: The denoiser, with its conditions; an operator may be applied to it.
        scheduler: `euler` or `ddim`.
        steps: Denoising steps.
        guidance_scale: w >= 0; 1 is no guidance.
        seed: Seed of the initial noise.
        images_per_forward: k >= 1.
        device: Where the backbone is.

    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        scheduler: str,
        steps: int,
        guidance_scale: float,
        seed: int,
        images_per_forward: int,
        device: torch.device,
    ) -> None:
        self._backbone = backbone
        self._scheduler = scheduler
        self._steps = steps
        self._guidance_scale = guidance_scale
        self._seed = seed
        self._batches = MicroBatches(images_per_forward, "task.images_per_forward")
        self._device = device

    @property
    def images_per_forward(self) -> int:
        """Images per forward now: as set, or less after memory ran out."""
        return self._batches.size

    @torch.inference_mode()
    def sample(self, indices: Tensor, conditions: Tensor) -> Tensor:
        """Clean latents (B, C, H, W), fp32, on the CPU.

        Args:
            indices: Number of each sample, (B,); with the seed it determines the initial noise.
            conditions: Number of its condition, (B,), see `Backbone`.

        Raises:
            UserError: latents are not finite, or a single image does not fit the memory.

        """
        pairs = torch.stack([indices, conditions], dim=1)
        return torch.cat([latents for _, latents in self._batches.run(pairs, self._filled_up)])

    def _filled_up(self, pairs: Tensor) -> Tensor:
        """Latents of some pairs (index, condition), computed in a batch of the full size."""
        lacking = self._batches.size - len(pairs)
        filled = torch.cat([pairs, pairs[:1].expand(lacking, -1)])
        latents = self._denoise(*filled.unbind(1))[: len(pairs)].cpu()
        for (index, _), own in zip(pairs.tolist(), latents, strict=True):
            if not own.isfinite().all():
                raise UserError(
                    f"sample {index}: the latents are not finite; the network overflows in this "
                    "precision, allowed: dtype=float32 or bfloat16"
                )
        return latents

    def _denoise(self, indices: Tensor, conditions: Tensor) -> Tensor:
        scheduler = build_scheduler(
            self._scheduler, self._backbone.schedule.alphas_cumprod, self._steps
        )
        latents: Tensor = self.initial_noise(indices).to(self._device) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep)
            noise = self._guided_noise(scaled, timestep, conditions.to(self._device))
            latents = scheduler.step(noise, timestep, latents, return_dict=False)[0]
        return latents

    def initial_noise(self, indices: Tensor) -> Tensor:
        """Standard normal noise (B, C, H, W), row b a pure function of seed and `indices[b]`."""
        shape = self._backbone.latent_shape
        draws = (keyed_noise(self._seed, "generation", i, shape=shape) for i in indices.tolist())
        return torch.stack(list(draws))

    def _guided_noise(self, latents: Tensor, timestep: Tensor, conditions: Tensor) -> Tensor:
        predict, scale = self._backbone.predict_noise, self._guidance_scale
        times = timestep.to(self._device).expand(len(latents))
        if scale == 1.0:
            return predict(latents, times, conditions)
        nothing = torch.full_like(conditions, self._backbone.null_class)
        halves = tuple((row, row + len(latents)) for row in range(len(latents)))
        with grouped_rows(self._backbone.denoiser, halves):
            both = predict(
                latents.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([conditions, nothing])
            )
        given, null = both.chunk(2)
        return null + scale * (given - null)


def build_scheduler(name: str, alphas_cumprod: Tensor, steps: int) -> Any:
    """A diffusers scheduler with its timesteps set, for one batch.

    Args:
        name: `euler` or `ddim`.
        alphas_cumprod: abar_t, float64, shape (T,), as a backbone has it.
        steps: Denoising steps, 1..T.

    """
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    scheduler = SCHEDULERS[name]((1 - alphas_cumprod / before).numpy())
    scheduler.set_timesteps(steps)
    return scheduler


def _euler(betas: Any) -> Any:
    return EulerDiscreteScheduler(trained_betas=betas, timestep_spacing="linspace")


def _ddim(betas: Any) -> Any:
    return DDIMScheduler(trained_betas=betas, clip_sample=False, timestep_spacing="leading")


SCHEDULERS: Mapping[str, Callable[[Any], Any]] = {"euler": _euler, "ddim": _ddim}
"""Name -> scheduler of given betas."""
