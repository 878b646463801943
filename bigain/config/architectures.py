"""The exact make of every denoiser, as diffusers' constructors take it, and what follows from it.

`ARCHITECTURES[name].settings` are the values of the published `config.json` of the denoiser (or our
own for the two mini models); all others are diffusers' defaults.  Which token grids and which
self-attentions there are follows from them, so sites that do not exist are refused before anything
is loaded.  This module imports no torch.

A U-Net has a level per down block; each but the last halves the map, rounding up.  Its encoder and
decoder have self-attention where a block is of type `CrossAttn...`, its middle is at the last
level.  A flat transformer (DiT) has one level and a number of blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ARCHITECTURES", "Architecture", "Conditioning", "Prediction"]

Conditioning = Literal["fashion_labels", "prompts", "imagenet_classes"]
"""What names a class: learned Fashion-MNIST labels, a text, or an index of ImageNet-1K."""

Prediction = Literal["epsilon", "v_prediction"]
"""What a network predicts, as the schedulers of diffusers name it."""


@dataclass(frozen=True)
class Architecture:
    """A denoiser without its weights.

    Attributes:
        model: The class of diffusers, `UNet2DConditionModel` or `DiTTransformer2DModel`.
        conditioning: How a class reaches the model.
        settings: What the class is built with.
        prediction: What the network predicts.

    """

    model: Literal["UNet2DConditionModel", "DiTTransformer2DModel"]
    conditioning: Conditioning
    settings: Mapping[str, Any]
    prediction: Prediction = "epsilon"

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of the token grid at each level; a U-Net's middle is at the last level."""
        side = int(self.settings["sample_size"])
        if self.blocks is not None:
            return (side // int(self.settings["patch_size"]),)
        sides = [side]
        for _ in self.settings["down_block_types"][1:]:
            sides.append((sides[-1] + 1) // 2)
        return tuple(sides)

    @property
    def blocks(self) -> int | None:
        """Number of blocks of a flat transformer; None for a U-Net."""
        is_flat = self.model == "DiTTransformer2DModel"
        return int(self.settings["num_layers"]) if is_flat else None

    @property
    def has_cross_attention(self) -> bool:
        """Whether its blocks attend to a text, or something in its place."""
        return self.blocks is None

    @property
    def sites(self) -> tuple[tuple[str, int], ...]:
        """(stage, level) of each self-attention of a U-Net, in the order of the forward pass."""
        if self.blocks is not None:
            return ()
        down, up = self.settings["down_block_types"], self.settings["up_block_types"]
        last, layers = len(down) - 1, int(self.settings["layers_per_block"])
        counted = [("encoder", i, layers) for i, k in enumerate(down) if k.startswith("CrossAttn")]
        counted.append(("mid", last, 1))
        ups = [last - i for i, kind in enumerate(up) if kind.startswith("CrossAttn")]
        counted += [("decoder", level, layers + 1) for level in ups]
        return tuple(
            (stage, level)
            for stage, level, attentions in counted
            for _ in range(attentions * self._depth(level))
        )

    def _depth(self, level: int) -> int:
        """Transformer blocks behind one another in each attention of a level."""
        depths = self.settings.get("transformer_layers_per_block", 1)
        return int(depths if isinstance(depths, int) else depths[level])


_MINI_UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (48, 64),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "cross_attention_dim": 48,
    "attention_head_dim": 2,
}
_MINI_DIT = {
    "sample_size": 32,
    "in_channels": 1,
    "out_channels": 1,
    "patch_size": 2,
    "num_layers": 4,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_embeds_ada_norm": 10,
    "norm_num_groups": 16,
    "activation_fn": "gelu",
}
# diffusers calls the number of heads of a U-Net `attention_head_dim`: 8 heads at every level in
# SD-1, heads of 64 channels in SD-2 and SDXL.
_SD15 = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SD20 = {
    **_SD15,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
_SD21 = {**_SD20, "sample_size": 96}
_SDXL = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
    "up_block_types": (*("CrossAttnUpBlock2D",) * 2, "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_DIT_XL2_512 = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 8,  # the noise, then what the variance is made of
    "patch_size": 2,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_zero",
    "activation_fn": "gelu-approximate",
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "mini_unet": Architecture("UNet2DConditionModel", "fashion_labels", _MINI_UNET),
    "mini_dit": Architecture("DiTTransformer2DModel", "fashion_labels", _MINI_DIT),
    "sd20": Architecture("UNet2DConditionModel", "prompts", _SD20),
    "sd21": Architecture("UNet2DConditionModel", "prompts", _SD21, "v_prediction"),
    "sd15": Architecture("UNet2DConditionModel", "prompts", _SD15),
    "sdxl": Architecture("UNet2DConditionModel", "prompts", _SDXL),
    "dit_xl2_512": Architecture("DiTTransformer2DModel", "imagenet_classes", _DIT_XL2_512),
}
"""Every backbone by its name in the configuration."""
