"""Settings of the backbones: which denoiser, which weights, and where the operator acts in it.

The two architectures count their blocks differently (see `bigain.sites`): a U-Net has stages and
levels, a flat transformer indices.  What the shipped models are made of is known here without
loading them, so that sites that do not exist are refused before anything is read or written.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bigain.config.base import Integer, Settings, not_allowed

__all__ = ["BLOCKS", "GRIDS", "BackboneConfig", "SitesConfig"]

GRIDS: dict[str, tuple[int, ...]] = {"mini_unet": (16, 8), "mini_dit": (16,)}
"""Side of the token grid at each level; a U-Net's middle is at the last level."""

BLOCKS: dict[str, int] = {"mini_dit": 4}
"""Number of blocks of each flat transformer."""

_INDICES = "distinct integers >= 0"
_BOTH_ENDS = ("encoder", "decoder")
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


class BackboneConfig(Settings):
    """A denoiser and its weights."""

    name: Literal["mini_unet", "mini_dit"] = Field(description="mini_unet or mini_dit")
    revision: str = Field(
        pattern="^[0-9a-f]{12}$",
        description="12 hex digits in quotes, the beginning of the sha256 of the weights file",
    )
    sites: SitesConfig = Field(description="the settings stages, levels and blocks")

    @model_validator(mode="after")
    def _sites_exist(self) -> Self:
        if self.name in BLOCKS:
            self._check_blocks(BLOCKS[self.name])
        else:
            self._check_levels(len(GRIDS[self.name]) - 1)
        return self

    def smallest_grid(self) -> int:
        """Side of the smallest token grid among the levels that are selected."""
        return min(GRIDS[self.name][level] for level in self.sites.levels)

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
        """A U-Net: levels 0..last, the middle at the last, and no blocks."""
        if self.sites.blocks is not None:
            because = f"because backbone={self.name} is selected by stages and levels"
            raise self._refused("blocks", f"null, {because}")
        if not _are_indices(self.sites.levels, last):
            allowed = f"a list of distinct integers from 0 to {last}"
            raise self._refused("levels", f"{allowed}, the levels of backbone={self.name}")
        if set(self.sites.stages) == {"mid"} and last not in self.sites.levels:
            because = f"because the middle of backbone={self.name} is there"
            raise self._refused("levels", f"a list with {last}, {because}")

    def _refused(self, setting: str, allowed: str) -> Exception:
        value = getattr(self.sites, setting)
        shown = f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value
        return not_allowed(f"backbone.sites.{setting}", shown, allowed)


def _are_indices(values: tuple[int, ...], last: int) -> bool:
    """Whether all are different and none is above `last`."""
    return len(set(values)) == len(values) and max(values) <= last
