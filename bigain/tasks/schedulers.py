"""The samplers of the paper, as diffusers implements them, on the schedule of any backbone.

    euler   Euler steps over sigma = sqrt((1 - abar) / abar), timesteps spaced 999 ... 0 evenly, not
            all integers (Stable Diffusion in the reference)
    ddim    DDIM without noise (eta 0) at 980, 960, ..., 0 for 50 steps (DiT)

Both are deterministic: all that is random of an image is its initial noise.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler
from torch import Tensor

__all__ = ["SCHEDULERS", "build_scheduler"]


def build_scheduler(name: str, alphas_cumprod: Tensor, steps: int) -> Any:
    """A diffusers scheduler with its timesteps set; it serves one batch, once.

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
