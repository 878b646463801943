"""Settings of the backbones: which denoiser, which weights, and where the operator acts in it."""

from typing import Annotated, Literal

from pydantic import Field

from bigain.config.base import Folder, Integer, Number
from bigain.config.sites import AnyBackboneConfig

__all__ = [
    "BACKBONE_TITLES",
    "BackboneConfig",
    "DiTXL2Config",
    "FlowConfig",
    "FluxDevConfig",
    "HubBackboneConfig",
    "MiniBackboneConfig",
    "MiniDiTConfig",
    "MiniUNetConfig",
    "SD3MediumConfig",
    "SD15Config",
    "SD20Config",
    "SD21Config",
    "SD35MediumConfig",
    "SDXLConfig",
]

BACKBONE_TITLES = {"mini_unet": "mini U-Net", "mini_dit": "mini DiT", "sd20": "SD-2.0"}
"""Backbones as pages and figures call them; others go by their names."""

_REPOSITORY = r"[\w.-]+/[\w.-]+"

Repository = Annotated[str, Field(pattern=f"^{_REPOSITORY}$")]
Mirror = Annotated[str, Field(pattern=rf"^{_REPOSITORY}(@[\w./-]+)?$")]


class MiniBackboneConfig(AnyBackboneConfig):
    """A denoiser whose weights come with the package."""

    revision: str = Field(
        pattern="^[0-9a-f]{12}$",
        description="12 hex digits in quotes, the beginning of the sha256 of the weights file",
    )


class MiniUNetConfig(MiniBackboneConfig):
    """`UNet2DConditionModel` on Fashion-MNIST."""

    name: Literal["mini_unet"]


class MiniDiTConfig(MiniBackboneConfig):
    """`DiTTransformer2DModel` on Fashion-MNIST."""

    name: Literal["mini_dit"]


class HubBackboneConfig(AnyBackboneConfig):
    """A published model: where its files are found, in the order path, repository, mirrors."""

    repository: Repository = Field(description="OWNER/NAME, a model repository of the hub")
    revision: str = Field(
        min_length=1, description="a branch, tag or commit of the repository, such as main"
    )
    mirrors: tuple[Mirror, ...] = Field(
        description="a list of OWNER/NAME or OWNER/NAME@REVISION, tried in order when the "
        "repository has no such model"
    )
    path: Folder | None = Field(
        description="null (the hub's cache, or the hub) or a folder in the hub's layout"
    )
    variant: Literal["fp16"] | None = Field(
        description="null or fp16 (files of half precision, half the download)"
    )
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{12}$")] | None = Field(
        description="null (any weights) or the 12 hex digits in quotes that the weights must have"
    )
    attention: Literal["sdpa", "eager"] = Field(
        description="sdpa (torch's fused kernels) or eager (the attention matrix is materialised)"
    )


class SD20Config(HubBackboneConfig):
    """Stable Diffusion 2.0 base, 512 px."""

    name: Literal["sd20"]


class SD21Config(HubBackboneConfig):
    """Stable Diffusion 2.1, 768 px, which predicts the velocity."""

    name: Literal["sd21"]


class SD15Config(HubBackboneConfig):
    """Stable Diffusion 1.5, 512 px."""

    name: Literal["sd15"]


class SDXLConfig(HubBackboneConfig):
    """Stable Diffusion XL base 1.0, 1024 px."""

    name: Literal["sdxl"]


class DiTXL2Config(HubBackboneConfig):
    """DiT-XL/2, 512 px, ImageNet classes."""

    name: Literal["dit_xl2_512"]


class FlowConfig(HubBackboneConfig):
    """A transformer with joint attention that predicts the velocity of flow matching."""

    attention: Literal["sdpa"] = Field(
        description="sdpa, because joint attention has no eager form here"
    )
    image_side: Annotated[Integer, Field(ge=64, le=1024, multiple_of=16)] = Field(
        description="a multiple of 16 from 64 to 1024, the side of the images in pixels"
    )
    schedule: Literal["shifted", "uniform", "ddim"] = Field(
        description="shifted (the model's own), uniform or ddim, the noise level of each timestep"
    )

    @property
    def latent_side(self) -> int:
        """Side of the latents, of which each is 8 pixels wide."""
        return self.image_side // 8

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of the token grid; a token is 2 latents wide."""
        return (self.latent_side // self.architecture.patch,)


class SD3MediumConfig(FlowConfig):
    """Stable Diffusion 3 medium."""

    name: Literal["sd3_medium"]


class SD35MediumConfig(FlowConfig):
    """Stable Diffusion 3.5 medium."""

    name: Literal["sd35_medium"]


class FluxDevConfig(FlowConfig):
    """FLUX.1-dev, whose guidance is an input of the network."""

    name: Literal["flux_dev"]
    guidance: Number = Field(ge=0, description="a number >= 0; the model's own default is 3.5")


BackboneConfig = Annotated[
    MiniUNetConfig
    | MiniDiTConfig
    | SD20Config
    | SD21Config
    | SD15Config
    | SDXLConfig
    | DiTXL2Config
    | SD3MediumConfig
    | SD35MediumConfig
    | FluxDevConfig,
    Field(
        discriminator="name",
        description="mini_unet, mini_dit, sd20, sd21, sd15, sdxl, dit_xl2_512, sd3_medium, "
        "sd35_medium or flux_dev",
    ),
]
