from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from bigain.backbones.dit import ClassConditionalDiT
from bigain.backbones.pipeline import Caches
from bigain.config import HubBackboneConfig
from bigain.errors import UserError
from bigain.testing.backbones import save_tiny_pipeline

MakeConfig = Callable[..., HubBackboneConfig]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Classes:
    condition_ids: tuple[int, ...] | None = (999, 0, 281)
    prompts: tuple[str, ...] = ("a", "b", "c")


def make(
    config: HubBackboneConfig, caches: Caches, dtype: torch.dtype = torch.float32
) -> ClassConditionalDiT:
    backbone = ClassConditionalDiT(config, CPU, dtype, caches)
    backbone.condition_on(Classes())
    return backbone


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    return latents, torch.tensor([0, 999, 500, 500]), torch.tensor([0, 1, 2, 1])


@torch.inference_mode()
def test_noise_is_the_first_half_of_the_channels_under_the_index_of_the_class(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path]
) -> None:
    cls: Any = diffusers.DiTTransformer2DModel
    model = cls.from_pretrained(pipelines["dit_xl2_512"], subfolder="transformer").eval()
    backbone = make(hub_config("dit_xl2_512"), caches)
    assert backbone.num_classes == 3
    found = backbone.predict_noise(*batch())
    assert found.shape == (4, 4, 8, 8)
    for i, (x, t, c) in enumerate(zip(*batch(), strict=True)):
        label = torch.tensor([(999, 0, 281)[int(c)]])
        expected = model(x[None], timestep=t[None], class_labels=label).sample
        assert expected.shape == (1, 8, 8, 8)
        assert torch.allclose(found[i], expected[0, :4], atol=1e-5)


@torch.inference_mode()
def test_the_null_class_is_the_index_after_the_last(
    hub_config: MakeConfig, caches: Caches, pipelines: dict[str, Path]
) -> None:
    cls: Any = diffusers.DiTTransformer2DModel
    model = cls.from_pretrained(pipelines["dit_xl2_512"], subfolder="transformer").eval()
    backbone = make(hub_config("dit_xl2_512"), caches)
    latents, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    found = backbone.predict_noise(latents, times, torch.tensor([backbone.null_class]))
    expected = model(latents, timestep=times, class_labels=torch.tensor([1000])).sample
    assert backbone.latent_shape == (4, 8, 8)
    assert torch.allclose(found, expected[:, :4], atol=1e-5)


@torch.inference_mode()
def test_every_class_counts_and_none_is_dropped_at_random(
    hub_config: MakeConfig, caches: Caches
) -> None:
    backbone = make(hub_config("dit_xl2_512"), caches)
    latents = torch.randn(1, 4, 8, 8).expand(3, -1, -1, -1)
    arguments = (latents, torch.full((3,), 500), torch.arange(3))
    noise = backbone.predict_noise(*arguments)
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 3
    assert torch.equal(noise, backbone.predict_noise(*arguments))


@torch.inference_mode()
def test_half_precision_runs_on_a_cpu_and_is_close(hub_config: MakeConfig, caches: Caches) -> None:
    full = make(hub_config("dit_xl2_512"), caches).predict_noise(*batch())
    half = make(hub_config("dit_xl2_512"), caches, torch.float16).predict_noise(*batch())
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05)
    assert not torch.equal(half, full)


def test_classes_without_an_index_are_one_line(hub_config: MakeConfig, caches: Caches) -> None:
    backbone = make(hub_config("dit_xl2_512"), caches)
    with pytest.raises(UserError, match=r"^backbone=dit_xl2_512: its condition is a class index"):
        backbone.condition_on(Classes(condition_ids=None))


def test_an_index_that_the_model_does_not_know_is_one_line(
    hub_config: MakeConfig, caches: Caches, tmp_path: Path
) -> None:
    save_tiny_pipeline("dit_xl2_512", tmp_path, classes=10)
    backbone = ClassConditionalDiT(
        hub_config("dit_xl2_512", path=tmp_path), CPU, torch.float32, caches
    )
    backbone.condition_on(Classes(condition_ids=(9, 0)))
    with pytest.raises(UserError, match="class index 10, the model knows 0 to 9"):
        backbone.condition_on(Classes(condition_ids=(10, 0)))


def test_a_backbone_without_classes_says_so(hub_config: MakeConfig, caches: Caches) -> None:
    backbone = ClassConditionalDiT(hub_config("dit_xl2_512"), CPU, torch.float32, caches)
    with pytest.raises(RuntimeError, match="call condition_on first"):
        backbone.predict_noise(*batch())
