"""The noise schedule of a published model, from the settings of its scheduler.

    beta_t = linear in t from beta_start to beta_end       (`linear`, DiT)
    beta_t = (linear in t from their square roots)^2       (`scaled_linear`, Stable Diffusion)
    abar_t = prod over s <= t of (1 - beta_s)              (Eq. 1)

in double precision.  In single precision, abar of SD-2.0 has a relative error of up to 1e-6; in
half precision, 1 - abar vanishes at small t.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bigain.backbones.noise_schedules import NoiseSchedule, variance_preserving
from bigain.config.architectures import ARCHITECTURES, Prediction
from bigain.errors import UserError

__all__ = ["alphas_cumprod", "read_schedule"]

_STEPS = 1000


def read_schedule(settings: Mapping[str, Any], name: str, place: str) -> NoiseSchedule:
    """The schedule of backbone `name`, with what its network predicts.

    Args:
        settings: The content of `scheduler_config.json`.
        name: The backbone.
        place: The file, for messages.

    Raises:
        UserError: as `alphas_cumprod`; the network predicts something else than that of `name`.

    """
    prediction = ARCHITECTURES[name].prediction
    abar = alphas_cumprod(settings, place, prediction)
    return variance_preserving(abar, "noise" if prediction == "epsilon" else "velocity")


def alphas_cumprod(
    settings: Mapping[str, Any], place: str, prediction: Prediction = "epsilon"
) -> Tensor:
    """abar_t for t = 0..T-1, float64, shape (T,).

    Args:
        settings: The content of `scheduler_config.json`.
        place: The file, for messages.
        prediction: What the network must predict.

    Raises:
        UserError: a schedule or prediction type is not implemented, or a number is missing.

    """
    _check(settings, place, prediction)
    start, end = float(settings["beta_start"]), float(settings["beta_end"])
    steps = int(settings["num_train_timesteps"])
    if settings["beta_schedule"] == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    else:
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def _check(settings: Mapping[str, Any], place: str, prediction: Prediction) -> None:
    absent = (None,) if prediction == "epsilon" else ()  # in the files of older versions
    allowed: dict[str, tuple[Any, ...]] = {
        "beta_schedule": ("linear", "scaled_linear"),
        "prediction_type": (prediction, *absent),
        "trained_betas": (None,),
        "rescale_betas_zero_snr": (False, None),
        "num_train_timesteps": (_STEPS,),
    }
    for key, values in allowed.items():
        if settings.get(key) not in values:
            named = " or ".join(str(value) for value in values if value is not None) or "null"
            raise UserError(f"{place}: {key}={settings.get(key)}; allowed: {named}")
    for key in ("beta_start", "beta_end"):
        value = settings.get(key)
        if not isinstance(value, float | int) or not 0 < value < 1:
            raise UserError(f"{place}: {key}={value}; allowed: a number between 0 and 1")
