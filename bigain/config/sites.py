"""What the settings of all backbones share: a name, sites that exist, images that they know.

The two architectures count their blocks differently (see `bigain.patching.sites`): a U-Net has
stages and levels, a flat transformer indices.  What the models are made of is known without loading
them (`bigain.config.architectures`), so that sites that do not exist, and datasets that a model
cannot classify, are refused before anything is read or written.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bigain.config.architectures import ARCHITECTURES, Architecture, Conditioning
from bigain.config.base import Integer, Settings, not_allowed
from bigain.config.dataset import DatasetConfig, LabelSpace, datasets_with

__all__ = ["AnyBackboneConfig", "SitesConfig"]

_INDICES = "distinct integers >= 0"
_BOTH_ENDS = ("encoder", "decoder")

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


class AnyBackboneConfig(Settings):
    """What all backbones share: a name, sites that exist, and how a class conditions them."""

    name: str
    sites: SitesConfig = Field(description="the settings stages, levels and blocks")

    @property
    def architecture(self) -> Architecture:
        """What the denoiser is made of."""
        return ARCHITECTURES[self.name]

    @property
    def latent_side(self) -> int:
        """Side of the latents."""
        return self.architecture.latent_side

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of the token grid at each level."""
        return self.architecture.grids

    @property
    def is_mini(self) -> bool:
        """Whether the weights come with the package."""
        return self.architecture.conditioning == "fashion_labels"

    def smallest_grid(self) -> int:
        """Side of the smallest token grid among the sites that are selected."""
        grids, levels = self.grids, self._selected_levels()
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


def _are_indices(values: tuple[int, ...], last: int) -> bool:
    """Whether all are different and none is above `last`."""
    return len(set(values)) == len(values) and max(values) <= last
