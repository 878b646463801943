import pytest

from bigain.backbones.denoisers import build_denoiser
from bigain.backbones.weight_files import DENOISER_MILLIONS, OTHER_MILLIONS, download_bytes
from bigain.config.architectures import ARCHITECTURES


def test_every_published_model_has_a_size() -> None:
    published = {name for name in ARCHITECTURES if not name.startswith("mini_")}
    assert set(DENOISER_MILLIONS) == set(OTHER_MILLIONS) == published


@pytest.mark.parametrize("name", sorted(DENOISER_MILLIONS))
def test_denoisers_are_as_large_as_their_architectures(name: str) -> None:
    denoiser = build_denoiser(name, device="meta")
    counted = sum(parameter.numel() for parameter in denoiser.parameters())
    assert DENOISER_MILLIONS[name] == pytest.approx(counted / 1e6, abs=1)


def test_half_precision_files_are_half_as_large() -> None:
    assert download_bytes("sd20", None) == pytest.approx(5.2e9, rel=0.01)
    assert download_bytes("sd20", "fp16") == download_bytes("sd20", None) / 2
