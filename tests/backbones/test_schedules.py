from typing import Any

import diffusers
import pytest
import torch

from bigain.backbones.schedules import alphas_cumprod
from bigain.errors import UserError

STABLE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
}
DIT = {**STABLE, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}


@pytest.mark.parametrize("settings", [STABLE, DIT])
def test_equals_the_schedulers_own_in_double_precision(settings: dict[str, Any]) -> None:
    abar = alphas_cumprod(settings, "file")
    own = diffusers.DDIMScheduler(**settings).alphas_cumprod
    assert abar.dtype == torch.float64
    assert abar.shape == (1000,)
    assert torch.allclose(abar.float(), own, rtol=2e-5, atol=0)
    assert bool((abar.diff() < 0).all())


def test_the_ends_of_the_schedules() -> None:
    assert float(alphas_cumprod(STABLE, "file")[0]) == pytest.approx(1 - 0.00085, abs=1e-12)
    assert float(alphas_cumprod(DIT, "file")[0]) == pytest.approx(1 - 1e-4, abs=1e-12)
    assert float(alphas_cumprod(STABLE, "file")[-1]) == pytest.approx(0.0047, abs=1e-4)


def test_settings_that_older_files_lack_are_the_usual_ones() -> None:
    older = {key: value for key, value in STABLE.items() if key != "prediction_type"}
    assert torch.equal(alphas_cumprod(older, "file"), alphas_cumprod(STABLE, "file"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"prediction_type": "v_prediction"}, "prediction_type=v_prediction; allowed: epsilon"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "allowed: linear or scaled_linear"),
        ({"trained_betas": [0.1]}, r"trained_betas=\[0\.1\]; allowed: null"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr=True; allowed: False"),
        ({"num_train_timesteps": 100}, "num_train_timesteps=100; allowed: 1000"),
        ({"beta_start": None}, "beta_start=None; allowed: a number between 0 and 1"),
        ({"beta_end": 2}, "beta_end=2; allowed: a number between 0 and 1"),
    ],
)
def test_a_schedule_that_is_not_implemented_is_one_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=f"^here/scheduler_config.json: .*{told}"):
        alphas_cumprod({**STABLE, **change}, "here/scheduler_config.json")
