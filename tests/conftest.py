"""Models small enough for a forward in milliseconds, built as diffusers builds the large ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

Run = Callable[..., Tensor]


@pytest.fixture
def tiny_unet() -> nn.Module:
    """Levels 8x8 and 4x4 (on 8x8 latents), with attention at both and in the middle."""
    from diffusers import UNet2DConditionModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    return model.eval()


@pytest.fixture
def tiny_dit() -> nn.Module:
    """Four blocks on 8x8 tokens (16x16 images in patches of 2x2)."""
    from diffusers import DiTTransformer2DModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = DiTTransformer2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        patch_size=2,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=6,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return model.eval()


@pytest.fixture(params=["unet", "dit"])
def tiny_model(request: pytest.FixtureRequest) -> nn.Module:
    model: nn.Module = request.getfixturevalue(f"tiny_{request.param}")
    return model


@pytest.fixture
def run() -> Run:
    """Run either model on a seeded batch, or on a `part` of it."""

    def forward(
        model: Any,
        batch: int = 3,
        timesteps: Tensor | float | None = None,
        size: tuple[int, int] | None = None,
        part: slice = slice(None),
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        is_unet = hasattr(model, "down_blocks")
        height, width = size or ((8, 8) if is_unet else (16, 16))
        channels = 2 if is_unet else 1
        sample = torch.randn(batch, channels, height, width, generator=generator)[part].to(dtype)
        context = torch.randn(batch, 3, 6, generator=generator)[part].to(dtype)
        labels = torch.arange(batch)[part]
        times = (torch.arange(batch) * 300) if timesteps is None else timesteps
        if isinstance(times, Tensor) and times.ndim:
            times = times[part]
        with torch.no_grad():
            if is_unet:
                output: Tensor = model(sample, times, encoder_hidden_states=context).sample
            else:
                output = model(sample, timestep=times, class_labels=labels).sample
        return output

    return forward


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytorch-fid's network with seeded random weights: the published ones cannot be had here.

    It lies where torch hub would have put the published file, below a folder for TORCH_HOME.
    """

    from pytorch_fid import inception as pytorch_fid_inception  # noqa: PLC0415 - dear to import

    def leave(*_: Any, **__: Any) -> None:
        """Load nothing."""

    torch.manual_seed(0)
    with (
        patch.object(pytorch_fid_inception, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(nn.Module, "load_state_dict", leave),
    ):
        network = pytorch_fid_inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # the default ones let activations vanish
    name = str(pytorch_fid_inception.FID_WEIGHTS_URL).rpartition("/")[2]
    path: Path = tmp_path_factory.mktemp("torch_home") / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path
