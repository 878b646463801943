"""How large the published models are, known without them: for what to download, and what fits.

Millions of parameters.  The denoisers are counted from their architectures (a test does it again);
the others are those of OpenCLIP ViT-H's text encoder (340), CLIP ViT-L's (123), OpenCLIP bigG's
(695) and Stable Diffusion's VAE (84).
"""

from collections.abc import Mapping

__all__ = ["DENOISER_MILLIONS", "OTHER_MILLIONS", "download_bytes"]

DENOISER_MILLIONS: Mapping[str, int] = {
    "sd20": 866,
    "sd15": 860,
    "sdxl": 2567,
    "dit_xl2_512": 750,
}
_VAE = 84
OTHER_MILLIONS: Mapping[str, int] = {
    "sd20": 340 + _VAE,
    "sd15": 123 + _VAE,
    "sdxl": 123 + 695 + _VAE,
    "dit_xl2_512": _VAE,
}
"""VAE and text encoders."""


def download_bytes(name: str, variant: str | None) -> float:
    """About how many bytes the weights of a published backbone are."""
    return (DENOISER_MILLIONS[name] + OTHER_MILLIONS[name]) * 1e6 * (2 if variant else 4)
