import hashlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain.backbones import mini
from bigain.backbones.base import Backbone
from bigain.backbones.mini import (
    MEAN,
    NULL_CLASS,
    STD,
    MiniBackbone,
    MiniDiT,
    MiniUNet,
    build_mini,
    crop_and_quantise,
    load_mini,
    pad_and_standardise,
)
from bigain.backbones.weight_files import weights_path
from bigain.data.fashion_mnist import FashionMNIST
from bigain.engine import build
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.patching.sites import find_sites
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
    abar = shipped(name).schedule.alphas_cumprod
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
        abar = backbone.schedule.alphas_cumprod[525].float()
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


@pytest.mark.parametrize("name", NAMES)
def test_each_mini_backbone_offers_the_whole_protocol(name: str) -> None:
    config = compose_config([f"backbone={name}"])
    backbone = build.build_backbone(config.backbone, CPU, "float32")
    for attribute in Backbone.__annotations__:
        assert hasattr(backbone, attribute), attribute
    for method in ("encode", "predict_noise"):
        expected = list(inspect.signature(getattr(Backbone, method)).parameters)[1:]
        assert list(inspect.signature(getattr(backbone, method)).parameters) == expected
    assert isinstance(backbone.denoiser, torch.nn.Module)
    assert not backbone.denoiser.training
    assert all(not p.requires_grad for p in backbone.denoiser.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_deterministic_and_predictions_have_its_shape(name: str) -> None:
    config = compose_config([f"backbone={name}"])
    backbone = build.build_backbone(config.backbone, CPU, "float32")
    image = build.build_dataset(config.dataset)[0].image
    latents = backbone.encode(image)
    assert torch.equal(latents, backbone.encode(image))
    with torch.inference_mode():
        noise = backbone.predict_noise(latents, torch.tensor([500]), torch.tensor([0]))
    assert noise.shape == latents.shape
    assert noise.dtype == torch.float32


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> MiniUNet | MiniDiT:
    torch.manual_seed(0)
    return build_mini(request.param)


def test_latents_are_a_lossless_rearrangement(model: MiniUNet | MiniDiT) -> None:
    images = torch.randn(2, 1, 32, 32)
    latents = model.encode(images)
    assert torch.equal(model.decode(latents), images)
    assert torch.equal(latents.flatten().sort().values, images.flatten().sort().values)


def test_training_mode_drops_no_class_by_itself(model: MiniUNet | MiniDiT) -> None:
    torch.nn.init.normal_(next(iter(model.denoiser.parameters())), std=0.1)
    latents = model.encode(torch.randn(8, 1, 32, 32))
    times, labels = torch.full((8,), 500), torch.arange(8)
    model.train()
    with torch.no_grad():
        first, second = model(latents, times, labels), model(latents, times, labels)
    assert torch.equal(first, second)


def test_noise_schedule_is_the_one_of_its_family() -> None:
    unet, dit = build_mini("mini_unet").scheduler, build_mini("mini_dit").scheduler
    assert float(unet.betas[0]) == pytest.approx(0.00085)
    assert float(unet.betas[-1]) == pytest.approx(0.012)
    assert float(unet.betas.sqrt().diff().std()) < 1e-6
    assert float(dit.betas[0]) == pytest.approx(1e-4)
    assert float(dit.betas[-1]) == pytest.approx(0.02)
    assert float(dit.betas.diff().std()) < 1e-7


def test_class_embeddings_of_the_dit_start_at_unit_scale() -> None:
    for block in build_mini("mini_dit").denoiser.transformer_blocks:
        table = block.norm1.emb.class_embedder.embedding_table.weight
        assert table.shape[0] == NULL_CLASS + 1
        assert 0.8 < float(table.detach().std()) < 1.2


def test_operators_find_sites_of_256_tokens_in_both() -> None:
    assert [s.stage for s in find_sites(build_mini("mini_unet").denoiser)] == [
        "encoder",
        "decoder",
        "decoder",
    ]
    assert [s.index for s in find_sites(build_mini("mini_dit").denoiser)] == [0, 1]


def test_padding_is_black_and_two_pixels_wide() -> None:
    images = np.full((2, 28, 28), 255, dtype=np.uint8)
    out = pad_and_standardise(images)
    assert out.shape == (2, 1, 32, 32)
    assert out.dtype == np.float32
    black, white = np.float32((0 - MEAN) / STD), np.float32((1 - MEAN) / STD)
    assert np.allclose(out[:, :, 2:-2, 2:-2], white)
    inside = np.zeros((32, 32), dtype=bool)
    inside[2:-2, 2:-2] = True
    assert np.allclose(out[:, 0][:, ~inside], black)


def test_black_and_white_land_at_the_standardised_values() -> None:
    ramp = np.tile(np.arange(28, dtype=np.uint8) * 9, (1, 28, 1))
    out = pad_and_standardise(ramp)[0, 0, 2, 2:-2]
    assert np.allclose(out * STD + MEAN, np.arange(28) * 9 / 255, atol=1e-6)


def test_going_back_gives_the_very_same_bytes() -> None:
    images = np.arange(2 * 28 * 28, dtype=np.int64).reshape(2, 28, 28).astype(np.uint8)
    assert np.array_equal(crop_and_quantise(pad_and_standardise(images)), images)


def test_what_is_beyond_black_and_white_is_clipped() -> None:
    images = np.full((1, 1, 32, 32), 9.0, dtype=np.float32)
    images[:, :, :16] = -9.0
    out = crop_and_quantise(images)[0]
    assert out.dtype == np.uint8
    assert (out[:14] == 0).all()
    assert (out[14:] == 255).all()
