"""Settings of the backbones: which denoiser, which weights, and where the operator acts in it.

The two architectures count their blocks differently (see `bigain.patching.sites`): a U-Net has
stages and levels, a flat transformer indices.  What the models are made of is known without loading
them (`bigain.config.architectures`), so that sites that do not exist, and datasets that a model
cannot classify, are refused before anything is read or written.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bigain.config.architectures import ARCHITECTURES, Architecture, Conditioning
from bigain.config.base import Folder, Integer, Settings, not_allowed
from bigain.config.dataset import DatasetConfig, LabelSpace, datasets_with

__all__ = [
    "BackboneConfig",
    "DiTXL2Config",
    "HubBackboneConfig",
    "MiniBackboneConfig",
    "MiniDiTConfig",
    "MiniUNetConfig",
    "SD15Config",
    "SD20Config",
    "SD21Config",
    "SDXLConfig",
    "SitesConfig",
]

_INDICES = "distinct integers >= 0"
_BOTH_ENDS = ("encoder", "decoder")
_REPOSITORY = r"[\w.-]+/[\w.-]+"

_CONDITIONS: Mapping[Conditioning, tuple[tuple[LabelSpace, ...], str, str]] = {
    "fashion_labels": (
        ("fashion",),
        "knows the classes of Fashion-MNIST only",
        "whose classes are the ten of Fashion-MNIST by name",
    ),
    "prompts": (
        ("imagenet", "open"),
        "knows photographs (for Fashion-MNIST: backbone=mini_unet)",
        "of any classes",
    ),
    "imagenet_classes": (
        ("imagenet",),
        "has class-index conditioning: it knows ImageNet's classes and no text",
        "with a class index of ImageNet for each class in dataset.prompts",
    ),
}
"""The label spaces that each conditioning covers, why no others, and images of the user's own."""

Index = Annotated[Integer, Field(ge=0)]
Repository = Annotated[str, Field(pattern=f"^{_REPOSITORY}$")]
Mirror = Annotated[str, Field(pattern=rf"^{_REPOSITORY}(@[\w./-]+)?$")]


class SitesConfig(Settings):
    """Where the operator acts: which attention modules of the backbone."""

    stages: tuple[Literal["encoder", "mid", "decoder"], ...] = Field(
        min_length=1, description="a list of encoder, mid, decoder"
    )
    levels: tuple[Index, ...] = Field(
        min_length=1, description=f"{_INDICES}; 0 is the level with the most tokens, such as [0]"
    )
    blocks: tuple[Index, ...] | Literal["first12"] | None = Field(
        description=f"null (the backbone's default), {_INDICES} such as [0,1], or first12"
    )


class _Backbone(Settings):
    """What all backbones share: a name, sites that exist, and how a class conditions them."""

    name: str
    sites: SitesConfig = Field(description="the settings stages, levels and blocks")

    @property
    def architecture(self) -> Architecture:
        """What the denoiser is made of."""
        return ARCHITECTURES[self.name]

    @property
    def is_mini(self) -> bool:
        """Whether the weights come with the package."""
        return self.architecture.conditioning == "fashion_labels"

    def smallest_grid(self) -> int:
        """Side of the smallest token grid among the sites that are selected."""
        grids, levels = self.architecture.grids, self._selected_levels()
        if isinstance(self.sites.blocks, tuple) and levels:
            levels = [levels[position] for position in self.sites.blocks]
        return min(grids[level] for level in levels or self.sites.levels)

    def check_dataset(self, dataset: DatasetConfig) -> None:
        """Raise the error of a validator if this backbone has no condition for its classes."""
        spaces, why, own = _CONDITIONS[self.architecture.conditioning]
        if not set(dataset.label_spaces) & set(spaces):
            folder = [f"a folder {own}"] if dataset.kind.is_own else []
            *names, last = [*datasets_with(*spaces), *folder]
            allowed = f"{', '.join(names)} or {last}, because backbone={self.name} {why}"
            raise not_allowed("dataset", dataset.name, allowed)

    @model_validator(mode="after")
    def _sites_exist(self) -> Self:
        depth = self.architecture.blocks
        if depth is None:
            self._check_levels(len(self.architecture.grids) - 1)
        else:
            self._check_blocks(depth)
        return self

    def _selected_levels(self) -> list[int]:
        """Level of each self-attention of a U-Net in the selected stages and levels, in order."""
        chosen = self.sites
        return [
            level
            for stage, level in self.architecture.sites
            if stage in chosen.stages and level in chosen.levels
        ]

    def _check_blocks(self, depth: int) -> None:
        """A flat transformer: blocks 0..depth-1, and nothing but the default of the rest."""
        because = f"because backbone={self.name} is selected by blocks"
        if self.sites.stages != _BOTH_ENDS:
            raise self._refused("stages", f"[encoder, decoder], {because}")
        if self.sites.levels != (0,):
            raise self._refused("levels", f"[0], {because}")
        blocks = self.sites.blocks
        if isinstance(blocks, tuple) and not (blocks and _are_indices(blocks, depth - 1)):
            allowed = f"null, first12 or a list of distinct integers from 0 to {depth - 1}"
            raise self._refused("blocks", f"{allowed}, the blocks of backbone={self.name}")

    def _check_levels(self, last: int) -> None:
        """A U-Net: levels 0..last, at least one with self-attention, blocks as positions there."""
        if not _are_indices(self.sites.levels, last):
            allowed = f"a list of distinct integers from 0 to {last}"
            raise self._refused("levels", f"{allowed}, the levels of backbone={self.name}")
        if not self._selected_levels():
            stages = set(self.sites.stages)
            there = {level for stage, level in self.architecture.sites if stage in stages}
            levels = " or ".join(map(str, sorted(there)))
            stages_named = ",".join(self.sites.stages)
            allowed = f"a list with {levels}, where backbone={self.name} has self-attention in"
            raise self._refused("levels", f"{allowed} stages=[{stages_named}]")
        self._check_positions()

    def _check_positions(self) -> None:
        """Blocks of a U-Net count the self-attentions of the selected stages and levels."""
        blocks, last = self.sites.blocks, len(self._selected_levels()) - 1
        if blocks is None or (isinstance(blocks, tuple) and blocks and _are_indices(blocks, last)):
            return
        allowed = f"null or a list of distinct integers from 0 to {last}, positions among the"
        raise self._refused("blocks", f"{allowed} selected stages and levels of {self.name}")

    def _refused(self, setting: str, allowed: str) -> Exception:
        value = getattr(self.sites, setting)
        shown = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value
        return not_allowed(f"backbone.sites.{setting}", shown, allowed)


class MiniBackboneConfig(_Backbone):
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


class HubBackboneConfig(_Backbone):
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


BackboneConfig = Annotated[
    MiniUNetConfig
    | MiniDiTConfig
    | SD20Config
    | SD21Config
    | SD15Config
    | SDXLConfig
    | DiTXL2Config,
    Field(
        discriminator="name",
        description="mini_unet, mini_dit, sd20, sd21, sd15, sdxl or dit_xl2_512",
    ),
]


def _are_indices(values: tuple[int, ...], last: int) -> bool:
    """Whether all are different and none is above `last`."""
    return len(set(values)) == len(values) and max(values) <= last
