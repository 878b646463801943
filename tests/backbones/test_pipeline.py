import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from bigain.backbones.pipeline import Caches, Pipeline
from bigain.backbones.schedules import alphas_cumprod
from bigain.config import HubBackboneConfig
from bigain.config.architectures import ARCHITECTURES
from bigain.devices import attention_backend
from bigain.errors import UserError

MakeConfig = Callable[..., HubBackboneConfig]
CPU = torch.device("cpu")
NAMES = ["sd20", "sdxl", "dit_xl2_512"]


def load(config: HubBackboneConfig, caches: Caches) -> Pipeline:
    return Pipeline(config, CPU, torch.float32, caches)


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_can_say_what_was_loaded(
    hub_config: MakeConfig, caches: Caches, name: str
) -> None:
    config = hub_config(name)
    pipeline = load(config, caches)
    assert json.loads(json.dumps(pipeline.source)) == pipeline.source
    assert pipeline.source["place"] == "path"
    assert pipeline.source["folder"] == str(config.path)
    assert len(pipeline.source["fingerprint"]) == 12
    assert pipeline.source["differs_from_published"]["sample_size"] == 8
    assert {name.partition("/")[0] for name in pipeline.hashes} >= {"vae"}
    assert all(len(digest) == 64 for digest in pipeline.hashes.values())


def test_a_fingerprint_that_is_named_must_be_that_of_the_weights(
    hub_config: MakeConfig, caches: Caches
) -> None:
    found = load(hub_config("sd20"), caches).source["fingerprint"]
    assert load(hub_config("sd20", fingerprint=found), caches).source["fingerprint"] == found
    with pytest.raises(UserError, match=f"set backbone.fingerprint={found} if you mean them"):
        load(hub_config("sd20", fingerprint="0" * 12), caches)


def test_a_model_that_is_not_as_published_is_told(
    hub_config: MakeConfig, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load(hub_config("dit_xl2_512"), caches)
    assert "backbone=dit_xl2_512: is not as published, it has sample_size=8" in caplog.text


def test_the_model_of_another_backbone_is_refused(
    hub_config: MakeConfig, caches: Caches, tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(pipelines["sd15"], folder)
    file = folder / "unet" / "config.json"
    published = dict(ARCHITECTURES["sd15"].settings)
    file.write_text(json.dumps({**json.loads(file.read_text()), **published}))
    with pytest.raises(UserError, match=r"^backbone=sd20: .* holds the denoiser of backbone=sd15"):
        load(hub_config("sd20", path=folder), caches)


@pytest.mark.parametrize(
    ("attention", "processor"), [("sdpa", "AttnProcessor2_0"), ("eager", "AttnProcessor")]
)
def test_attention_is_as_configured(
    hub_config: MakeConfig, caches: Caches, attention: str, processor: str
) -> None:
    for name in NAMES:
        pipeline = load(hub_config(name, attention=attention), caches)
        assert attention_backend(pipeline.denoiser).startswith(f"{processor}; ")


def test_the_schedule_is_the_models_own(
    hub_config: MakeConfig, caches: Caches, tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    for name, first in (("sd20", 1 - 0.00085), ("dit_xl2_512", 0.9999)):
        schedule = load(hub_config(name), caches).schedule
        assert float(schedule.alphas_cumprod[0]) == pytest.approx(first)
        assert schedule.predicts == "noise"
    folder = tmp_path / "velocity"
    shutil.copytree(pipelines["sd20"], folder)
    file = folder / "scheduler" / "scheduler_config.json"
    velocity = {**json.loads(file.read_text()), "prediction_type": "v_prediction"}
    file.write_text(json.dumps(velocity))
    with pytest.raises(UserError, match="prediction_type=v_prediction; allowed: epsilon"):
        load(hub_config("sd20", path=folder), caches)
    with pytest.raises(UserError, match=r"prediction_type=epsilon; allowed: v_prediction$"):
        load(hub_config("sd21", path=pipelines["sd20"]), caches)
    assert load(hub_config("sd21", path=folder), caches).schedule.predicts == "velocity"


def test_half_precision_files_are_found_by_their_variant(
    hub_config: MakeConfig, caches: Caches, tmp_path: Path, pipelines: dict[str, Path]
) -> None:
    folder = tmp_path / "half"
    shutil.copytree(pipelines["sd20"], folder)
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_suffix(f".fp16{path.suffix}"))
    half = load(hub_config("sd20", path=folder, variant="fp16"), caches)
    assert half.source["variant"] == "fp16"
    weights = [name for name in half.hashes if name.endswith(".safetensors")]
    assert weights
    assert all(".fp16." in name for name in weights)
    with pytest.raises(UserError, match=r"set backbone\.variant=fp16"):
        load(hub_config("sd20", path=folder), caches)


def test_the_denoiser_has_the_precision_that_is_asked_for_and_learns_nothing(
    hub_config: MakeConfig, caches: Caches
) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        pipeline = Pipeline(hub_config("sd20"), CPU, dtype, caches)
        assert {p.dtype for p in pipeline.denoiser.parameters()} == {dtype}
        assert not pipeline.denoiser.training
        assert not any(p.requires_grad for p in pipeline.denoiser.parameters())


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
