import pytest
import torch

from bigain.backbones.mini import NULL_CLASS, MiniDiT, MiniUNet, build_mini
from bigain.patching.sites import find_sites

NAMES = ["mini_unet", "mini_dit"]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> MiniUNet | MiniDiT:
    torch.manual_seed(0)
    return build_mini(request.param)


def test_prediction_has_the_shape_of_the_latents(model: MiniUNet | MiniDiT) -> None:
    latents = model.encode(torch.randn(2, 1, 32, 32))
    with torch.inference_mode():
        out = model(latents, torch.tensor([0, 999]), torch.tensor([3, NULL_CLASS]))
    assert out.shape == latents.shape
    assert latents.numel() == 2 * 1024


def test_latents_are_a_lossless_rearrangement(model: MiniUNet | MiniDiT) -> None:
    images = torch.randn(2, 1, 32, 32)
    latents = model.encode(images)
    assert torch.equal(model.decode(latents), images)
    assert torch.equal(latents.flatten().sort().values, images.flatten().sort().values)


def test_model_is_small_enough_to_ship(model: MiniUNet | MiniDiT) -> None:
    assert sum(p.numel() for p in model.parameters()) * 2 < 8_000_000


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
