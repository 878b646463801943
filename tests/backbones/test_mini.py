import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain.backbones import mini
from bigain.backbones.mini import MiniBackbone, load_mini
from bigain.backbones.weight_files import weights_path
from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.tasks.batches import keyed_noise

NAMES = ["mini_unet", "mini_dit"]
CPU = torch.device("cpu")


def shipped(name: str) -> MiniBackbone:
    revision = compose_config([f"backbone={name}"]).backbone.revision
    return load_mini(name, revision, CPU, torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_the_configured_revision_and_small(name: str) -> None:
    path = weights_path(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert compose_config([f"backbone={name}"]).backbone.revision == digest[:12]
    assert shipped(name).hashes == {f"{name}/model.safetensors": digest}
    assert path.stat().st_size < 8_000_000
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}


@pytest.mark.parametrize("name", NAMES)
def test_another_revision_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"backbone\.revision=0123456789ab"):
        load_mini(name, "0123456789ab", CPU, torch.float32)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"x": torch.zeros(1)}, "0 are missing, 1 not wanted and 0 of another shape, such as x"),
        ({"denoiser.proj_out_2.bias": None}, "1 are missing, 0 not wanted and 0 of another shape"),
        (
            {"denoiser.proj_out_2.bias": torch.zeros(5)},
            r"and 1 of another shape, such as denoiser\.proj_out_2\.bias",
        ),
    ],
)
def test_weights_of_another_architecture_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, torch.Tensor | None],
    complaint: str,
) -> None:
    changed = {**load_file(weights_path("mini_dit")), **changes}
    path = tmp_path / "model.safetensors"
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, path)
    monkeypatch.setattr(mini, "weights_path", lambda _: path)
    revision = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    with pytest.raises(UserError, match=f"backbone=mini_dit: .*{complaint}"):
        load_mini("mini_dit", revision, CPU, torch.float32)


@pytest.mark.parametrize("name", NAMES)
def test_schedule_is_cumulative_double_precision_and_falling(name: str) -> None:
    abar = shipped(name).alphas_cumprod
    assert abar.dtype == torch.float64
    assert abar.shape == (1000,)
    assert bool((abar.diff() < 0).all())
    assert 0 < float(abar[-1]) < 0.01
    assert 0.99 < float(abar[0]) < 1


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_true_class_explains_the_noise_better_than_the_others(name: str) -> None:
    backbone, dataset = shipped(name), FashionMNIST(limit=10)
    wins = []
    for position in range(len(dataset)):
        sample = dataset[position]
        latents = backbone.encode(sample.image)
        noise = keyed_noise(0, sample.image_id, shape=tuple(latents.shape))
        abar = backbone.alphas_cumprod[525].float()
        noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
        prediction = backbone.predict_noise(
            noisy.expand(10, *noisy.shape[1:]), torch.full((10,), 525), torch.arange(10)
        )
        errors = (prediction - noise).square().flatten(1).mean(1)
        wins.append(float((errors[sample.label] <= errors).float().mean()))
    assert sum(wins) / len(wins) > 0.8


@torch.inference_mode()
def test_network_precision_is_not_the_precision_of_the_result() -> None:
    revision = compose_config(["backbone=mini_dit"]).backbone.revision
    half = load_mini("mini_dit", revision, CPU, torch.bfloat16)
    latents = half.encode(FashionMNIST(limit=1)[0].image)
    assert latents.dtype == torch.float32
    out = half.predict_noise(latents, torch.tensor([500]), torch.tensor([1]))
    full = shipped("mini_dit").predict_noise(latents, torch.tensor([500]), torch.tensor([1]))
    assert out.dtype == torch.float32
    assert torch.allclose(out, full, atol=0.2)
    assert not torch.equal(out, full)


@pytest.mark.parametrize("name", NAMES)
def test_decoding_gives_back_what_was_encoded(name: str) -> None:
    backbone = shipped(name)
    image = FashionMNIST(1)[0].image
    latents = backbone.encode(image)
    assert latents.shape == (1, *backbone.latent_shape)
    assert (backbone.decode(latents) == image).all()


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_the_null_class_is_none_of_the_ten(name: str) -> None:
    backbone = shipped(name)
    assert backbone.null_class == backbone.num_classes == 10
    latents = keyed_noise(0, "null", shape=(1, *backbone.latent_shape)).expand(11, -1, -1, -1)
    noise = backbone.predict_noise(latents, torch.full((11,), 500), torch.arange(11))
    assert len({tuple(row.flatten().tolist()) for row in noise}) == 11
