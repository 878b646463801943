"""The noise level s of every timestep of a flow-matching model, from its scheduler's settings.

The classifier's grid has integer timesteps t = 0..999, and u = t / 1000 is the level of a model
without a shift.  With m trials, m a divisor of 500, the grid is u_j = (j + 1/2) / m.

    uniform    s = u
    shifted    s = k u / (1 + (k - 1) u)                       (SD3: k = 3)
               the same with k = e^mu, mu linear in the number of image tokens        (FLUX)
    ddim       s = sqrt(1 - abar_t) / (sqrt(abar_t) + sqrt(1 - abar_t))

`ddim` gives each timestep the ratio of signal to noise that it has in Stable Diffusion's schedule:
x_t of that schedule, divided by sqrt(abar_t) + sqrt(1 - abar_t), is x_s.

Levels are computed here and not asked from diffusers' scheduler: that looks levels up in a list of
its own, and shifts an end point again that is shifted already.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bigain.backbones.schedules import alphas_cumprod
from bigain.errors import UserError

__all__ = ["STABLE_DIFFUSION", "flow_levels", "shift_of"]

_STEPS = 1000
_SCHEDULER = "FlowMatchEulerDiscreteScheduler"
STABLE_DIFFUSION: Mapping[str, Any] = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": _STEPS,
}
"""The schedule of Stable Diffusion, whose ratio of signal to noise `ddim` has."""


def flow_levels(settings: Mapping[str, Any], place: str, schedule: str, tokens: int) -> Tensor:
    """s_t for t = 0..999, float64, shape (1000,), in [0, 1).

    Args:
        settings: The content of `scheduler_config.json`.
        place: The file, for messages.
        schedule: `shifted`, `uniform` or `ddim`.
        tokens: Image tokens of the model, on which the shift may depend.

    Raises:
        UserError: this is no scheduler of flow matching, or one that is not implemented.

    """
    _check(settings, place)
    if schedule == "ddim":
        abar = alphas_cumprod(STABLE_DIFFUSION, place)
        return (1 - abar).sqrt() / (abar.sqrt() + (1 - abar).sqrt())
    u = torch.arange(_STEPS, dtype=torch.float64) / _STEPS
    shift = shift_of(settings, tokens) if schedule == "shifted" else 1.0
    return shift * u / (1 + (shift - 1) * u)


def shift_of(settings: Mapping[str, Any], tokens: int) -> float:
    """K of `shifted`; with `use_dynamic_shifting` it depends on the number of image tokens."""
    if not settings.get("use_dynamic_shifting"):
        return float(settings["shift"])
    first, last = settings["base_image_seq_len"], settings["max_image_seq_len"]
    low, high = settings["base_shift"], settings["max_shift"]
    return math.exp(low + (high - low) * (tokens - first) / (last - first))


def _check(settings: Mapping[str, Any], place: str) -> None:
    found = settings.get("_class_name")
    if found != _SCHEDULER:
        raise UserError(
            f"{place}: _class_name={found}; allowed: {_SCHEDULER}, because the backbone predicts "
            "the velocity of flow matching"
        )
    allowed: dict[str, tuple[Any, ...]] = {
        "num_train_timesteps": (_STEPS,),
        "time_shift_type": ("exponential", None),
        "shift_terminal": (None,),
        "invert_sigmas": (False, None),
    }
    for key, values in allowed.items():
        if settings.get(key) not in values:
            raise UserError(f"{place}: {key}={settings.get(key)}; allowed: {values[0]}")
    dynamic = ("base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len")
    for key in dynamic if settings.get("use_dynamic_shifting") else ("shift",):
        value = settings.get(key)
        if isinstance(value, bool) or not isinstance(value, float | int) or not value > 0:
            raise UserError(f"{place}: {key}={value}; allowed: a number > 0")
