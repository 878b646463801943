"""Where an operator acts: the transformer blocks of a diffusers model, by stage, level and index.

A *site* is one attention of one transformer block.  It is found by structure, not by class, so any
model that is built in one of these two ways, of blocks with a self-attention `attn1`, has sites:

* U-Net (`down_blocks`, `mid_block`, `up_blocks`, each with `attentions` of `transformer_blocks`, as
  `UNet2DConditionModel`): `down_blocks.i` is level i of stage `encoder`, the up blocks mirror them
  as stage `decoder`, the middle is stage `mid` at the last level.  Default: level 0 of encoder and
  decoder; for SD-2.0 these are its five self-attentions at 64x64.
* flat transformer (`transformer_blocks`, as `DiTTransformer2DModel`): one stage, `blocks` selects
  by index.  Default: of 28 blocks those that the paper's reference code enables, else (and as
  `first12`) the first 12/28 of them, rounded, at least one.

The metric tensor of a U-Net site is the block's input before its norm; of a flat transformer's site
it is what enters the attention.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from bigain.errors import UserError

__all__ = ["STAGES", "Site", "SiteSelection", "default_blocks", "find_sites"]

STAGES = ("encoder", "mid", "decoder")
_DEFAULT_STAGES = ("encoder", "decoder")
_REFERENCE_DEPTH = 28
_REFERENCE_SHARE = 12
_REFERENCE_BLOCKS = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)


@dataclass(frozen=True)
class SiteSelection:
    """Which sites to take.

    Args:
        stages: of a U-Net: any of `encoder`, `mid`, `decoder`.
        levels: of a U-Net: 0 is the highest resolution.
        blocks: of a flat transformer: indices, `first12` (the first 12/28), or None: the default.
        scope: `self`, the self-attentions.

    Raises:
        UserError: an unknown stage or scope, a negative level, or an unknown name of blocks.

    """

    stages: tuple[str, ...] = _DEFAULT_STAGES
    levels: tuple[int, ...] = (0,)
    blocks: tuple[int, ...] | str | None = None
    scope: str = "self"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "levels", tuple(self.levels))
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if unknown:
            raise UserError(f"sites.stages={unknown[0]!r}: must be among {', '.join(STAGES)}")
        if any(level < 0 for level in self.levels):
            raise UserError(f"sites.levels={self.levels}: must be integers >= 0")
        if isinstance(self.blocks, str) and self.blocks != "first12":
            raise UserError(f"sites.blocks={self.blocks!r}: must be indices or 'first12'")
        if self.scope != "self":
            raise UserError(f"sites.scope={self.scope!r}: must be 'self'")


@dataclass(frozen=True, eq=False)
class Site:
    """One attention of one transformer block.

    Attributes:
        name: path of the block inside the model; the site's key for random draws.
        stage, level, index: `transformer`, 0, i for block i of a flat transformer.
        block: the transformer block; its self-attention is `block.attn1`.
        patch: side of the patches that the model cuts its input into.
        halvings: how often the map was halved (rounding up) before it came here.
        metric: `block` (its input, before the norm) or `attention` (what enters it).

    """

    name: str
    stage: str
    level: int
    index: int
    block: nn.Module
    patch: int
    halvings: int
    metric: str

    @property
    def attention(self) -> nn.Module:
        """The self-attention of the block."""
        return self.block.get_submodule("attn1")

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Token grid (h, w) for a model input of `height` x `width`."""
        return self._side(height), self._side(width)

    def _side(self, side: int) -> int:
        side //= self.patch
        for _ in range(self.halvings):
            side = (side + 1) // 2
        return side


def find_sites(model: nn.Module, selection: SiteSelection | None = None) -> tuple[Site, ...]:
    """The selected sites of `model`, in the order of the forward pass; at least one.

    Raises:
        UserError: the model has no site at all, or none that is selected.

    """
    selection = selection or SiteSelection()
    if hasattr(model, "down_blocks") and hasattr(model, "up_blocks"):
        return _select_unet(list(_unet_sites(model)), selection)
    if hasattr(model, "transformer_blocks"):
        sites = list(_transformer_sites(model))
        if not sites:
            raise UserError(
                f"model={type(model).__name__}: its blocks have no self-attention `attn1`; "
                "allowed: blocks as those of DiT (SD3 and Flux attend to image and text jointly)"
            )
        return _select_transformer(sites, selection)
    raise UserError(
        f"model={type(model).__name__}: has no site to act on; needs a diffusers U-Net with "
        "attention (down_blocks, up_blocks) or a transformer (transformer_blocks)"
    )


def default_blocks(depth: int) -> tuple[int, ...]:
    """The default blocks of a flat transformer of `depth` blocks."""
    return _REFERENCE_BLOCKS if depth == _REFERENCE_DEPTH else _first_share(depth)


def _first_share(depth: int) -> tuple[int, ...]:
    return tuple(range(max(1, round(_REFERENCE_SHARE * depth / _REFERENCE_DEPTH))))


def _unet_sites(model: nn.Module) -> Iterator[Site]:
    downs = list(_children(model, "down_blocks"))
    halvings = [0]
    for down in downs:
        halvings.append(halvings[-1] + bool(getattr(down, "downsamplers", None)))
    last = len(downs) - 1
    for level, down in enumerate(downs):
        yield from _stage_sites(down, f"down_blocks.{level}", "encoder", level, halvings[level])
    middle = getattr(model, "mid_block", None)
    if middle is not None:
        yield from _stage_sites(middle, "mid_block", "mid", last, halvings[-1])
    for i, up in enumerate(_children(model, "up_blocks")):
        yield from _stage_sites(up, f"up_blocks.{i}", "decoder", last - i, halvings[last - i])


def _stage_sites(
    parent: nn.Module, path: str, stage: str, level: int, halvings: int
) -> Iterator[Site]:
    index = 0
    for j, attention in enumerate(_children(parent, "attentions")):
        for k, block in enumerate(_children(attention, "transformer_blocks")):
            name = f"{path}.attentions.{j}.transformer_blocks.{k}"
            if _has_self_attention(block):
                yield Site(name, stage, level, index, block, 1, halvings, "block")
            index += 1


def _transformer_sites(model: nn.Module) -> Iterator[Site]:
    patch = int(getattr(getattr(model, "config", model), "patch_size", None) or 1)
    for i, block in enumerate(_children(model, "transformer_blocks")):
        if _has_self_attention(block):
            name = f"transformer_blocks.{i}"
            yield Site(name, "transformer", 0, i, block, patch, 0, "attention")


def _children(parent: nn.Module, name: str) -> Iterator[nn.Module]:
    yield from getattr(parent, name, None) or ()


def _has_self_attention(block: nn.Module) -> bool:
    has_attention = isinstance(getattr(block, "attn1", None), nn.Module)
    return has_attention and not getattr(block, "only_cross_attention", False)


def _select_unet(sites: list[Site], selection: SiteSelection) -> tuple[Site, ...]:
    if selection.blocks is not None:
        raise UserError(f"sites.blocks={selection.blocks}: a U-Net has stages and levels instead")
    chosen = tuple(
        site for site in sites if site.stage in selection.stages and site.level in selection.levels
    )
    if not chosen:
        places = sorted({f"{site.stage} {site.level}" for site in sites})
        raise UserError(
            f"sites: stages={','.join(selection.stages)} levels={_listed(selection.levels)} match "
            f"no self-attention of this U-Net; it has: {', '.join(places) or 'none'}"
        )
    return chosen


def _select_transformer(sites: list[Site], selection: SiteSelection) -> tuple[Site, ...]:
    if selection.stages != _DEFAULT_STAGES or selection.levels != (0,):
        raise UserError(
            f"sites: stages={','.join(selection.stages)} levels={_listed(selection.levels)} match "
            "nothing in a transformer without stages; select by blocks"
        )
    blocks = _wanted_blocks(selection.blocks, len(sites))
    wrong = [block for block in blocks if block not in range(len(sites))]
    if wrong or not blocks:
        raise UserError(
            f"sites.blocks={_listed(wrong or blocks)}: must be indices in 0..{len(sites) - 1}, "
            "at least one"
        )
    return tuple(site for site in sites if site.index in blocks)


def _wanted_blocks(blocks: tuple[int, ...] | str | None, depth: int) -> tuple[int, ...]:
    if blocks is None:
        return default_blocks(depth)
    return _first_share(depth) if isinstance(blocks, str) else blocks


def _listed(numbers: list[int] | tuple[int, ...]) -> str:
    return ",".join(map(str, numbers)) or "()"
