"""The exact make of every denoiser, as diffusers' constructors take it, and what follows from it.

`ARCHITECTURES[name].settings` are the values of the published `config.json` of the denoiser (or our
own for the two mini models); all others are diffusers' defaults.  Which token grids and which
self-attentions there are follows from them, so sites that do not exist are refused before anything
is loaded.  This module imports no torch.

A U-Net has a level per down block; each but the last halves the map, rounding up.  Its encoder and
decoder have self-attention where a block is of type `CrossAttn...`, its middle is at the last
level.  A flat transformer (DiT, SD3, FLUX) has one level and a number of blocks.

SD3 and FLUX are made for images of several sizes; here they classify images of 512 pixels, as the
paper's backbones do, unless `backbone.image_side` says otherwise.  FLUX takes latents whose 2 x 2
neighbours are packed into the channels of one token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["ARCHITECTURES", "Architecture", "Conditioning", "Model", "Prediction"]

Conditioning = Literal["fashion_labels", "prompts", "imagenet_classes"]
"""What names a class: learned Fashion-MNIST labels, a text, or an index of ImageNet-1K."""

Prediction = Literal["epsilon", "v_prediction", "flow_matching"]
"""What a network predicts: the first two as diffusers' schedulers name them."""

Model = Literal[
    "UNet2DConditionModel",
    "DiTTransformer2DModel",
    "SD3Transformer2DModel",
    "FluxTransformer2DModel",
]
"""A denoiser's class in diffusers."""


@dataclass(frozen=True)
class Architecture:
    """A denoiser without its weights.

    Attributes:
        model: The class of diffusers.
        conditioning: How a class reaches the model.
        settings: What the class is built with.
        prediction: What the network predicts.
        side: Side of the latents; None: the `sample_size` of the settings.

    """

    model: Model
    conditioning: Conditioning
    settings: Mapping[str, Any]
    prediction: Prediction = "epsilon"
    side: int | None = None

    @property
    def latent_side(self) -> int:
        """Side of the latents of an image."""
        return self.side or int(self.settings["sample_size"])

    @property
    def latent_channels(self) -> int:
        """Channels of the latents of an image; FLUX has them times 4 after packing."""
        return int(self.settings["in_channels"]) // (self.patch**2 if self.is_packed else 1)

    @property
    def is_joint(self) -> bool:
        """Whether its blocks attend to image and text jointly."""
        return self.model in ("SD3Transformer2DModel", "FluxTransformer2DModel")

    @property
    def is_packed(self) -> bool:
        """Whether it takes a sequence of packed latents, not an image of them."""
        return self.model == "FluxTransformer2DModel"

    @property
    def is_flow(self) -> bool:
        """Whether its network predicts the velocity of flow matching."""
        return self.prediction == "flow_matching"

    @property
    def patch(self) -> int:
        """Side of the square of latents that is one token of a flat transformer."""
        return 2 if self.is_packed else int(self.settings["patch_size"])

    @property
    def grids(self) -> tuple[int, ...]:
        """Side of the token grid at each level; a U-Net's middle is at the last level."""
        side = self.latent_side
        if self.blocks is not None:
            return (side // self.patch,)
        sides = [side]
        for _ in self.settings["down_block_types"][1:]:
            sides.append((sides[-1] + 1) // 2)
        return tuple(sides)

    @property
    def blocks(self) -> int | None:
        """Number of blocks of a flat transformer; None for a U-Net."""
        if self.model == "UNet2DConditionModel":
            return None
        return int(self.settings["num_layers"]) + int(self.settings.get("num_single_layers", 0))

    @property
    def has_cross_attention(self) -> bool:
        """Whether its blocks attend to a text, or what replaces it, apart from the image."""
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
_SD3_MEDIUM = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
_SD35_MEDIUM = {
    **_SD3_MEDIUM,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
_FLUX_DEV = {
    "patch_size": 1,  # of latents that are packed 2 x 2 already
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}

ARCHITECTURES: Mapping[str, Architecture] = {
    "mini_unet": Architecture("UNet2DConditionModel", "fashion_labels", _MINI_UNET),
    "mini_dit": Architecture("DiTTransformer2DModel", "fashion_labels", _MINI_DIT),
    "sd20": Architecture("UNet2DConditionModel", "prompts", _SD20),
    "sd21": Architecture("UNet2DConditionModel", "prompts", _SD21, "v_prediction"),
    "sd15": Architecture("UNet2DConditionModel", "prompts", _SD15),
    "sdxl": Architecture("UNet2DConditionModel", "prompts", _SDXL),
    "dit_xl2_512": Architecture("DiTTransformer2DModel", "imagenet_classes", _DIT_XL2_512),
    "sd3_medium": Architecture(
        "SD3Transformer2DModel", "prompts", _SD3_MEDIUM, "flow_matching", side=64
    ),
    "sd35_medium": Architecture(
        "SD3Transformer2DModel", "prompts", _SD35_MEDIUM, "flow_matching", side=64
    ),
    "flux_dev": Architecture(
        "FluxTransformer2DModel", "prompts", _FLUX_DEV, "flow_matching", side=64
    ),
}
"""Every backbone by its name in the configuration."""
