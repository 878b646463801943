from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from bigain.backbones.cache import TensorCache
from bigain.backbones.pipeline import Caches
from bigain.backbones.stable_diffusion import StableDiffusion
from bigain.config import HubBackboneConfig
from bigain.patching import projections
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.generation import Captions
from bigain.tasks.protocol import StagedProtocol

MakeConfig = Callable[..., HubBackboneConfig]
CPU = torch.device("cpu")
NAMES = ["sd20", "sd15", "sdxl"]


@dataclass(frozen=True)
class Animals:
    prompts: tuple[str, ...] = ("a photo of a dog.", "a photo of a cat.", "a photo of a beagle.")
    condition_ids: tuple[int, ...] | None = None


def make(
    config: HubBackboneConfig, caches: Caches, dtype: torch.dtype = torch.float32
) -> StableDiffusion:
    backbone = StableDiffusion(config, CPU, dtype, caches)
    backbone.condition_on(Animals())
    return backbone


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents, torch.tensor([0, 999, 500, 500, 25]), torch.tensor([0, 1, 2, 1, 0])


@pytest.mark.parametrize("name", ["sd20", "sd15"])
@torch.inference_mode()
def test_noise_is_the_u_nets_under_the_prompt_of_the_class(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path], name: str
) -> None:
    cls: Any = diffusers.StableDiffusionPipeline
    pipeline = cls.from_pretrained(pipelines[name], use_safetensors=True)
    context, _ = pipeline.encode_prompt(list(Animals().prompts), CPU, 1, False)
    found = make(hub_config(name), caches).predict_noise(*batch())
    for i, (x, t, c) in enumerate(zip(*batch(), strict=True)):
        expected = pipeline.unet(x[None], t, encoder_hidden_states=context[c][None]).sample
        assert torch.allclose(found[i], expected[0], atol=1e-5)


@torch.inference_mode()
def test_sdxl_also_gets_the_pooled_prompt_and_the_size_of_the_image(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path]
) -> None:
    cls: Any = diffusers.StableDiffusionXLPipeline
    pipeline = cls.from_pretrained(pipelines["sdxl"], use_safetensors=True)
    context, _, pooled, _ = pipeline.encode_prompt(
        list(Animals().prompts), device=CPU, do_classifier_free_guidance=False
    )
    sizes = pipeline._get_add_time_ids((16, 16), (0, 0), (16, 16), torch.float32, 16)
    found = make(hub_config("sdxl"), caches).predict_noise(*batch())
    for i, (x, t, c) in enumerate(zip(*batch(), strict=True)):
        added = {"text_embeds": pooled[c][None], "time_ids": sizes}
        expected = pipeline.unet(
            x[None], t, encoder_hidden_states=context[c][None], added_cond_kwargs=added
        ).sample
        assert torch.allclose(found[i], expected[0], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_null_class_is_the_empty_prompt(
    hub_config: MakeConfig, caches: Caches, name: str
) -> None:
    backbone = make(hub_config(name), caches)
    nothing = StableDiffusion(hub_config(name), CPU, torch.float32, caches)
    nothing.condition_on(Captions(("",)))
    latents, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    found = backbone.predict_noise(latents, times, torch.tensor([backbone.null_class]))
    assert backbone.latent_shape == (4, 8, 8)
    assert torch.allclose(found, nothing.predict_noise(latents, times, torch.tensor([0])))
    assert not torch.equal(found, backbone.predict_noise(latents, times, torch.tensor([0])))


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_every_class_and_every_pixel_counts(
    hub_config: MakeConfig, caches: Caches, name: str
) -> None:
    backbone = make(hub_config(name), caches)
    assert backbone.num_classes == 3
    latents = torch.randn(1, 4, 8, 8).expand(3, -1, -1, -1)
    noise = backbone.predict_noise(latents, torch.full((3,), 500), torch.arange(3))
    assert noise.shape == (3, 4, 8, 8)
    assert noise.dtype == torch.float32
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_half_precision_runs_on_a_cpu_and_is_close(
    hub_config: MakeConfig, caches: Caches, dtype: torch.dtype
) -> None:
    full = make(hub_config("sdxl"), caches).predict_noise(*batch())
    half = make(hub_config("sdxl"), caches, dtype).predict_noise(*batch())
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05)
    assert not torch.equal(half, full)


@pytest.mark.parametrize("name", ["sd20", "sdxl"])
def test_prompts_are_encoded_once_for_all_runs(
    hub_config: MakeConfig, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = Caches(TensorCache(None, 0), TensorCache(tmp_path, 1))
    first = make(hub_config(name), caches)
    monkeypatch.setattr(StableDiffusion, "encoder", None)
    second = make(hub_config(name), caches)
    assert (caches.prompts.hits, caches.prompts.misses) == (2, 2), "prompts, and the empty one"
    with torch.inference_mode():
        assert torch.equal(first.predict_noise(*batch()), second.predict_noise(*batch()))


def test_prompts_of_another_model_are_not_taken(hub_config: MakeConfig, tmp_path: Path) -> None:
    caches = Caches(TensorCache(None, 0), TensorCache(tmp_path, 1))
    for name in NAMES:
        make(hub_config(name), caches)
    assert (caches.prompts.hits, caches.prompts.misses) == (0, 6)


def test_images_are_encoded_by_the_models_vae(hub_config: MakeConfig, caches: Caches) -> None:
    image = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)
    backbone = make(hub_config("sd20"), caches)
    assert backbone.encode(image).shape == (1, 4, 8, 8)
    assert torch.equal(backbone.encode(image), backbone.encode(image))


def test_a_backbone_without_classes_says_so(hub_config: MakeConfig, caches: Caches) -> None:
    backbone = StableDiffusion(hub_config("sd20"), CPU, torch.float32, caches)
    with pytest.raises(RuntimeError, match="call condition_on first"):
        backbone.predict_noise(*batch())


@pytest.mark.parametrize("name", NAMES)
def test_a_classification_projects_each_prompt_once(
    hub_config: MakeConfig, caches: Caches, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    backbone = make(hub_config(name), caches)
    blocks: list[Any] = [m for m in backbone.denoiser.modules() if hasattr(m, "attn2")]
    attentions = [block.attn2 for block in blocks]
    rows: list[int] = []
    for attention in attentions:
        attention.to_k.register_forward_hook(lambda _m, args, _out: rows.append(len(args[0])))

    def errors() -> torch.Tensor:
        classifier = DiffusionClassifier(
            backbone,
            StagedProtocol((2, 4), (2, 1)),
            LOSSES["l2"],
            seed=0,
            batch_size=4,
            device=CPU,
        )
        images = [(i, torch.full((1, *backbone.latent_shape), float(i))) for i in range(3)]
        return torch.stack([found.errors for found in classifier.classify(images)])

    kept = errors()
    assert rows == [4] * len(attentions), "three prompts and the empty one"
    monkeypatch.setattr(projections, "_cross_attentions", lambda _model: [])
    plain = errors()
    assert len(rows) > 2 * len(attentions)
    assert torch.allclose(kept, plain, rtol=1e-6, atol=0, equal_nan=True)
