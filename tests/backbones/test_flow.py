import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from bigain.backbones.flow import Flux, StableDiffusion3
from bigain.backbones.flow_levels import flow_levels, shift_of
from bigain.backbones.packed_latents import packed, token_places, unpacked
from bigain.backbones.pipeline import Caches
from bigain.backbones.schedules import alphas_cumprod
from bigain.backbones.stable_diffusion import StableDiffusion
from bigain.config import HubBackboneConfig
from bigain.errors import UserError

MakeConfig = Callable[..., HubBackboneConfig]
CPU = torch.device("cpu")
CLASSES = {"sd3_medium": StableDiffusion3, "sd35_medium": StableDiffusion3, "flux_dev": Flux}
SD3 = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
}
FLUX = {
    **SD3,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}
FIRST_STAGE = [125, 325, 525, 725, 925]
STABLE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}


@dataclass(frozen=True)
class Animals:
    prompts: tuple[str, ...] = ("a photo of a dog.", "a photo of a cat, a type of pet.")
    condition_ids: tuple[int, ...] | None = None


def make(config: HubBackboneConfig, caches: Caches) -> Any:
    backbone = CLASSES[config.name](config, CPU, torch.float32, caches)  # type: ignore[arg-type]
    backbone.condition_on(Animals())
    return backbone


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents, torch.tensor([25, 975, 525]), torch.tensor([0, 1, 2])


def test_levels_of_the_first_stage_are_those_of_the_shift() -> None:
    """rivals.md 3.2: shift 3 of SD3, and none."""
    shifted = flow_levels(SD3, "file", "shifted", 1024)[FIRST_STAGE]
    assert [round(each, 3) for each in shifted.tolist()] == [0.3, 0.591, 0.768, 0.888, 0.974]
    uniform = flow_levels(SD3, "file", "uniform", 1024)[FIRST_STAGE]
    assert uniform.tolist() == [0.125, 0.325, 0.525, 0.725, 0.925]


@pytest.mark.parametrize("tokens", [256, 1024, 4096])
def test_the_shift_of_flux_depends_on_the_resolution(tokens: int) -> None:
    """The scheduler's own time shift, e^mu / (e^mu + 1/u - 1)."""
    scheduler: Any = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    mu = 0.5 + 0.65 * (tokens - 256) / (4096 - 256)
    u = torch.arange(1, 1000, dtype=torch.float64) / 1000
    own = scheduler.time_shift(mu, 1.0, u)
    assert torch.allclose(flow_levels(FLUX, "file", "shifted", tokens)[1:], own, atol=1e-12)
    assert shift_of(FLUX, 1024) == pytest.approx(np.exp(0.63))


def test_the_ddim_map_gives_the_latents_of_stable_diffusion_divided_by_their_scale() -> None:
    """At every t, x_s = x_t / k with k = sqrt(abar) + sqrt(1 - abar)."""
    levels, abar = flow_levels(FLUX, "file", "ddim", 1024), alphas_cumprod(STABLE, "file")
    generator = torch.Generator().manual_seed(2)
    x0, eps = (torch.randn(1000, 6, generator=generator).double() for _ in range(2))
    a, b, s = (each[:, None] for each in (abar.sqrt(), (1 - abar).sqrt(), levels))
    assert torch.allclose((1 - s) * x0 + s * eps, (a * x0 + b * eps) / (a + b), atol=1e-14)
    assert [round(each, 3) for each in levels[FIRST_STAGE].tolist()] == [
        *(0.286, 0.476, 0.638, 0.787, 0.905)
    ]
    weights = (1 - levels[FIRST_STAGE]).square().tolist()
    assert weights == pytest.approx([0.510, 0.275, 0.131, 0.045, 0.009], abs=1e-3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"_class_name": "DDIMScheduler"}, "_class_name=DDIMScheduler; allowed: FlowMatch"),
        ({"num_train_timesteps": 100}, "num_train_timesteps=100; allowed: 1000"),
        ({"shift_terminal": 0.02}, "shift_terminal=0.02; allowed: None"),
        ({"time_shift_type": "linear"}, "time_shift_type=linear; allowed: exponential"),
        ({"shift": None}, "shift=None; allowed: a number > 0"),
        ({"use_dynamic_shifting": True}, "base_shift=None; allowed: a number > 0"),
    ],
)
def test_a_schedule_that_is_not_implemented_is_one_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=f"^here: {told}"):
        flow_levels({**SD3, **change}, "here", "shifted", 1024)


def test_a_pipeline_of_another_kind_is_refused_before_its_model_is_loaded(
    hub_config: MakeConfig,
    caches: Caches,
    pipelines: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bigain.backbones.pipeline.load_component", None)
    for name, other in (("sd3_medium", "sd20"), ("sd20", "sd3_medium")):
        shutil.copytree(pipelines[name], tmp_path / name)
        file = "scheduler/scheduler_config.json"
        shutil.copyfile(pipelines[other] / file, tmp_path / name / file)
    flow = hub_config("sd3_medium", image_side=64, path=tmp_path / "sd3_medium")
    with pytest.raises(UserError, match="_class_name=DDIMScheduler; allowed: FlowMatchEuler"):
        make(flow, caches)
    stable = hub_config("sd20", path=tmp_path / "sd20")
    with pytest.raises(UserError, match="beta_schedule=None; allowed: linear or scaled_linear"):
        StableDiffusion(stable, CPU, torch.float32, caches)


def test_latents_are_packed_as_the_pipeline_packs_them() -> None:
    latents = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(3))
    cls: Any = diffusers.FluxPipeline
    assert torch.equal(packed(latents), cls._pack_latents(latents, 2, 4, 6, 8))
    assert torch.equal(unpacked(packed(latents), 8), latents)
    own = cls._prepare_latent_image_ids(1, 4, 4, CPU, torch.float32)
    assert torch.equal(token_places(4), own)


@pytest.mark.parametrize("name", ["sd3_medium", "sd35_medium"])
@torch.inference_mode()
def test_sd3_predicts_what_the_transformer_says_of_the_encoded_prompt(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path], name: str
) -> None:
    cls: Any = diffusers.StableDiffusion3Pipeline
    pipeline = cls.from_pretrained(pipelines[name], use_safetensors=True)
    prompts = [*Animals().prompts, ""]
    context, _, pooled, _ = pipeline.encode_prompt(
        prompts, prompts, prompts, device=CPU, do_classifier_free_guidance=False
    )
    backbone = make(hub_config(name, image_side=64), caches)
    found = backbone.predict(*batch())
    assert backbone.schedule.predicts == "velocity"
    assert context.shape == (3, 77 + 256, 32)
    for i, (x, t, c) in enumerate(zip(*batch(), strict=True)):
        u = float(t) / 1000
        expected = pipeline.transformer(
            hidden_states=x[None],
            timestep=torch.tensor([1000 * 3 * u / (1 + 2 * u)]),
            encoder_hidden_states=context[c][None],
            pooled_projections=pooled[c][None],
        ).sample
        assert torch.allclose(found[i], expected[0], atol=1e-4)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_files_in_full_precision_are_used_in_half(
    hub_config: MakeConfig, caches: Caches, name: str, dtype: torch.dtype
) -> None:
    config = hub_config(name, image_side=64)
    half: Any = CLASSES[name](config, CPU, dtype, caches)  # type: ignore[arg-type]
    half.condition_on(Animals())
    assert {each.dtype for each in half.denoiser.parameters()} == {dtype}
    found, expected = half.predict(*batch()), make(config, caches).predict(*batch())
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@torch.inference_mode()
def test_flux_is_told_the_level_the_guidance_and_the_places(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path], guidance: float
) -> None:
    cls: Any = diffusers.FluxPipeline
    pipeline = cls.from_pretrained(pipelines["flux_dev"], use_safetensors=True)
    prompts = [*Animals().prompts, ""]
    context, pooled, words = pipeline.encode_prompt(prompts, prompts, device=CPU)
    config = hub_config("flux_dev", image_side=64, guidance=guidance, schedule="uniform")
    found = make(config, caches).predict(*batch())
    places = cls._prepare_latent_image_ids(1, 4, 4, CPU, torch.float32)
    assert context.shape == (3, 512, 32)
    for i, (x, t, c) in enumerate(zip(*batch(), strict=True)):
        tokens = pipeline.transformer(
            hidden_states=cls._pack_latents(x[None], 1, 4, 8, 8),
            timestep=t[None] / 1000,
            guidance=torch.tensor([guidance]),
            pooled_projections=pooled[c][None],
            encoder_hidden_states=context[c][None],
            txt_ids=words,
            img_ids=places,
        ).sample
        expected = cls._unpack_latents(tokens, 64, 64, 8)
        assert torch.allclose(found[i], expected[0], atol=1e-4)


def test_the_guidance_changes_what_flux_says(hub_config: MakeConfig, caches: Caches) -> None:
    one, more = (
        make(hub_config("flux_dev", image_side=64, guidance=g), caches).predict(*batch())
        for g in (1.0, 3.5)
    )
    assert not torch.allclose(one, more)


def test_latents_are_shifted_and_scaled(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path]
) -> None:
    backbone = make(hub_config("sd3_medium", image_side=64), caches)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    vae: Any = diffusers.AutoencoderKL.from_pretrained(pipelines["sd3_medium"], subfolder="vae")
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        expected = (vae.encode(pixels).latent_dist.mean - 0.0609) * 1.5305
        decoded = vae.decode(expected / 1.5305 + 0.0609).sample[0].permute(1, 2, 0)
    latents = backbone.encode(image)
    assert latents.shape == (1, *backbone.latent_shape) == (1, 4, 8, 8)
    assert torch.allclose(latents, expected, atol=1e-5)
    own = backbone.decode(latents).astype(float)
    assert np.abs(own - (decoded / 2 + 0.5).clamp(0, 1).numpy() * 255).max() <= 1.01


@pytest.mark.parametrize("name", ["sd3_medium", "flux_dev"])
def test_an_autoencoder_with_latents_of_another_width_is_named_with_what_it_has(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "own"
    shutil.copytree(pipelines[name], folder)
    file = folder / "vae" / "config.json"
    settings = json.loads(file.read_text("utf-8"))
    narrow = {k: v[:3] if isinstance(v, list) else v for k, v in settings.items()}
    diffusers.AutoencoderKL.from_config(narrow).save_pretrained(folder / "vae")
    with pytest.raises(UserError) as refused:
        make(hub_config(name, image_side=64, path=folder), caches)
    line = str(refused.value)
    assert line.startswith(f"{file}: block_out_channels=[8, 8, 8]; allowed: four numbers")
    assert f"backbone={name} is 8 pixels wide, not 4" in line
    assert "\n" not in line


def test_another_size_of_image_has_other_latents_and_another_shift(
    hub_config: MakeConfig, caches: Caches
) -> None:
    small, large = (make(hub_config("flux_dev", image_side=side), caches) for side in (64, 128))
    assert large.latent_shape == (4, 16, 16)
    assert float(large.schedule.b[500]) > float(small.schedule.b[500])
    assert large.predict(torch.zeros(1, 4, 16, 16), *(each[:1] for each in batch()[1:])).shape == (
        *(1, 4, 16, 16),
    )
