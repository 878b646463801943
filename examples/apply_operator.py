"""Put a BiGain operator into a diffusers pipeline, and take it out again.

You learn how `bigain.apply` works on any pipeline with a U-Net or DiT, and what its report says.
"""

import tempfile
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

import bigain
from bigain.testing.backbones import save_tiny_pipeline

with tempfile.TemporaryDirectory() as folder:
    # A tiny pipeline of random weights, so that this runs anywhere.  For a real one, give
    # `from_pretrained` the folder of Stable Diffusion 2, and move it to the GPU with `.to("cuda")`.
    save_tiny_pipeline("sd20", Path(folder))
    pipe = StableDiffusionPipeline.from_pretrained(folder)
pipe.set_progress_bar_config(disable=True)


def draw():
    """The image of a prompt after four steps, (3, H, W); the same noise in every call."""
    noise = torch.Generator().manual_seed(0)
    out = pipe("a photo of a beagle", num_inference_steps=4, generator=noise, output_type="pt")
    return out.images[0]


before = draw()
with bigain.apply(pipe.unet, bigain.operators.LGTM(ratio=0.5)) as report:
    merged = draw()
after = draw()

print(report)
print(f"with the operator, pixels differ by {(merged - before).abs().mean():.4f} on average")
print(f"without it again, by {(after - before).abs().max():.0f}")
