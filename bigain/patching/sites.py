"""The sites of a diffusers model: its transformer blocks, by stage, level and index.

A *site* is one transformer block: its self-attention `attn1` and, depending on the scope, its
cross-attention `attn2` and MLP `ff`.  Blocks are found by structure, not by class.  A model has
sites if its blocks have a self-attention `attn1`, or a joint attention `attn` of image and text
without rotary places (SD3), and it is built in one of two ways:

* U-Net (`down_blocks`, `mid_block`, `up_blocks`, each with `attentions` of `transformer_blocks`,
  such as `UNet2DConditionModel`): `down_blocks.i` is level i of stage `encoder`, the up blocks
  mirror them as stage `decoder`, the middle is stage `mid` at the last level.  Default: encoder and
  decoder at the highest resolution with attention; for SD-2.0 the five self-attentions at 64x64.
* flat transformer (`transformer_blocks`, such as DiT and PixArt): one stage.  Default: with 28
  blocks those that the paper's released code enables, otherwise (and with `first12`) the first
  12/28, rounded, at least one.

At a joint attention the image tokens are reduced and the text stays as it is.  The second attention
of SD3.5's blocks, of the image alone, keeps all tokens.

The metric tensor of a U-Net block is its input before the norm, that of a flat transformer's block
the input of the self-attention.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from bigain.errors import UserError
from bigain.patching.selection import SiteSelection, default_blocks, first_share

__all__ = ["Site", "find_sites"]

_MODULES = {"self": "attn1", "cross": "attn2", "mlp": "ff"}
_OF_JOINT = {"self": "attn", "mlp": "ff"}


@dataclass(frozen=True, eq=False)
class Site:
    """One transformer block and the modules of it that an operator acts on.

    Attributes:
        name: path of the block inside the model; the site's key for random draws.
        stage, level, index: `encoder`, `mid` or `decoder`, the level, and the position in them; for
            block i of a flat transformer: `transformer`, 0, i.
        block: the transformer block.
        patch: side of the patches that the model cuts its input into; 1 without patches.
        halvings: how often the map was halved (rounded up) before this block.
        metric: `block` (the block's input, before the norm) or `attention` (that of `attn1`).
        parts: the modules of the scope: `self`, then `cross` and `mlp`.
        is_joint: whether its attention is that of image and text together.

    """

    name: str
    stage: str
    level: int
    index: int
    block: nn.Module
    patch: int
    halvings: int
    metric: str
    parts: tuple[str, ...] = ("self",)
    is_joint: bool = False

    @property
    def names(self) -> Mapping[str, str]:
        """Part -> name of its module in the block."""
        return _OF_JOINT if self.is_joint else _MODULES

    @property
    def attention(self) -> nn.Module:
        """The self-attention, or the joint attention."""
        return self.block.get_submodule(self.names["self"])

    @property
    def modules(self) -> tuple[tuple[str, str, nn.Module], ...]:
        """(part, path in the model, module) of each module that the operator acts on."""
        names = [(part, self.names[part]) for part in self.parts]
        return tuple(
            (part, f"{self.name}.{name}", self.block.get_submodule(name)) for part, name in names
        )

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The token grid (h, w) for a model input of (height, width)."""
        return self._side(height), self._side(width)

    def _side(self, side: int) -> int:
        side //= self.patch
        for _ in range(self.halvings):
            side = (side + 1) // 2
        return side


def find_sites(model: nn.Module, selection: SiteSelection | None = None) -> tuple[Site, ...]:
    """The selected sites of `model`, at least one, in the order of the forward pass.

    Raises:
        UserError: the model has no sites, or none that match.

    """
    selection = selection or SiteSelection()
    if hasattr(model, "down_blocks") and hasattr(model, "up_blocks"):
        return _select_unet(list(_unet_sites(model, selection.parts)), selection)
    if hasattr(model, "single_transformer_blocks"):
        raise UserError(
            f"model={type(model).__name__}: turns queries and keys by one table of places for all "
            "samples, and a plan differs by sample; allowed: SD3, DiT, PixArt or a U-Net"
        )
    if hasattr(model, "transformer_blocks"):
        sites = list(_transformer_sites(model, selection.parts))
        if not sites:
            raise UserError(
                f"model={type(model).__name__}: its blocks have no self-attention `attn1`; "
                "allowed: blocks like those of DiT or SD3"
            )
        return _select_transformer(sites, selection)
    raise UserError(
        f"model={type(model).__name__}: has no site; allowed: a diffusers U-Net with attention "
        "(down_blocks, up_blocks) or a transformer (transformer_blocks)"
    )


def _unet_sites(model: nn.Module, parts: tuple[str, ...]) -> Iterator[Site]:
    downs = list(_children(model, "down_blocks"))
    halvings = [0]
    for down in downs:
        halvings.append(halvings[-1] + bool(getattr(down, "downsamplers", None)))
    last = len(downs) - 1
    stages = [(down, f"down_blocks.{i}", "encoder", i) for i, down in enumerate(downs)]
    middle = getattr(model, "mid_block", None)
    if middle is not None:
        stages.append((middle, "mid_block", "mid", last))
    ups = enumerate(_children(model, "up_blocks"))
    stages += [(up, f"up_blocks.{i}", "decoder", last - i) for i, up in ups]
    for parent, path, stage, level in stages:
        for index, (name, block) in enumerate(_blocks(parent, path)):
            if _has_self_attention(block):
                yield Site(name, stage, level, index, block, 1, halvings[level], "block", parts)


def _blocks(parent: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for j, attention in enumerate(_children(parent, "attentions")):
        for k, block in enumerate(_children(attention, "transformer_blocks")):
            yield f"{path}.attentions.{j}.transformer_blocks.{k}", block


def _transformer_sites(model: nn.Module, parts: tuple[str, ...]) -> Iterator[Site]:
    patch = int(getattr(getattr(model, "config", model), "patch_size", None) or 1)
    for i, block in enumerate(_children(model, "transformer_blocks")):
        is_joint = _has_joint_attention(block)
        if is_joint or _has_self_attention(block):
            name = f"transformer_blocks.{i}"
            yield Site(name, "transformer", 0, i, block, patch, 0, "attention", parts, is_joint)


def _children(parent: nn.Module, name: str) -> Iterator[nn.Module]:
    yield from getattr(parent, name, None) or ()


def _has_self_attention(block: nn.Module) -> bool:
    has_attention = isinstance(getattr(block, "attn1", None), nn.Module)
    return has_attention and not getattr(block, "only_cross_attention", False)


def _has_joint_attention(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return getattr(attention, "added_kv_proj_dim", None) is not None


def _select_unet(sites: list[Site], selection: SiteSelection) -> tuple[Site, ...]:
    staged = [site for site in sites if site.stage in selection.stages]
    highest = min((site.level for site in staged), default=0)
    levels = (highest,) if selection.levels is None else selection.levels
    chosen = [site for site in staged if site.level in levels]
    if not chosen:
        places = sorted({f"{site.stage} {site.level}" for site in sites})
        raise UserError(
            f"sites: stages={','.join(selection.stages)} levels={_listed(levels)} match "
            f"no self-attention of this U-Net; it has: {', '.join(places) or 'none'}"
        )
    if isinstance(selection.blocks, str):
        raise UserError(
            f"sites.blocks={selection.blocks}: is for flat transformers; allowed in a U-Net: "
            f"positions in 0..{len(chosen) - 1} of the selected stages and levels"
        )
    blocks = range(len(chosen)) if selection.blocks is None else selection.blocks
    return _with_parts(_picked(chosen, blocks))


def _select_transformer(sites: list[Site], selection: SiteSelection) -> tuple[Site, ...]:
    if selection.stages != SiteSelection().stages or selection.levels not in (None, (0,)):
        levels = "" if selection.levels is None else f" levels={_listed(selection.levels)}"
        raise UserError(
            f"sites: stages={','.join(selection.stages)}{levels} match nothing in a transformer, "
            "which has no stages; select by blocks"
        )
    blocks = selection.blocks
    if blocks is None:
        blocks = default_blocks(len(sites))
    elif isinstance(blocks, str):
        blocks = first_share(len(sites))
    return _with_parts(_picked(sites, blocks))


def _picked(sites: list[Site], blocks: Sequence[int]) -> tuple[Site, ...]:
    """The sites at the positions `blocks`, in the order of the forward pass."""
    wrong = [block for block in blocks if block not in range(len(sites))]
    if wrong or not blocks:
        raise UserError(
            f"sites.blocks={_listed(wrong or blocks)}: must be indices in 0..{len(sites) - 1}, "
            "at least one"
        )
    return tuple(site for position, site in enumerate(sites) if position in blocks)


_MIXING = {
    f"torch.nn.modules.{family}"
    for family in (
        *("batchnorm", "channelshuffle", "conv", "fold", "instancenorm", "padding"),
        *("pixelshuffle", "pooling", "rnn", "upsampling"),
    )
}
"""Layers that mix tokens by their places or by their number: reduced tokens do not fit them."""


def _mixes(layer: nn.Module) -> bool:
    families = {kind.__module__ for kind in type(layer).__mro__}
    return isinstance(layer, nn.GroupNorm) or not families.isdisjoint(_MIXING)


def _with_parts(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """`sites` themselves, after checking that each block has all modules of the scope.

    A module must treat tokens as a set: an attention, or a function of each token alone.
    """
    for site in sites:
        for part in site.parts:
            scope = f"scope={'+'.join(site.parts)}: {site.name}"
            name = site.names.get(part, _MODULES[part])
            module = getattr(site.block, name, None) if part in site.names else None
            if not isinstance(module, nn.Module):
                raise UserError(
                    f"{scope} has no {part} module `{name}`; allowed: a scope without {part}"
                )
            mixing = next((type(m).__name__ for m in module.modules() if _mixes(m)), "")
            if mixing:
                allowed = "a model without it" if part == "self" else f"a scope without {part}"
                raise UserError(
                    f"{scope}.{name} ({type(module).__name__}) has a {mixing}, which "
                    f"mixes neighbouring tokens; allowed: {allowed}"
                )
    return sites


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers)) or "()"
