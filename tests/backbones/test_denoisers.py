from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.denoisers import PROMPT_TOKENS, build_denoiser, example_inputs
from bigain.backbones.mini import build_mini
from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError

GFLOPS = {"sd20": 804.2575, "dit_xl2_512": 1049.1674}
"""Of one forward of one image, as the paper prints them (Table 7, Sec. 4)."""


def forward(name: str, device: str, batch: int = 1) -> Any:
    model = build_denoiser(name, device)
    with torch.no_grad():
        return model(**example_inputs(name, batch, device), return_dict=False)[0]


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_one_forward_of_every_denoiser_on_the_meta_device(name: str) -> None:
    model = build_denoiser(name, "meta")
    assert {p.device.type for p in model.parameters()} == {"meta"}
    architecture = ARCHITECTURES[name]
    settings, side = architecture.settings, architecture.latent_side
    out = forward(name, "meta", batch=2)
    channels = settings.get("out_channels", settings["in_channels"])
    assert out.shape == ((2, 1024, 64) if name == "flux_dev" else (2, channels, side, side))


@pytest.mark.parametrize(("name", "gflops"), GFLOPS.items())
def test_flops_of_one_forward_are_the_published_ones(name: str, gflops: float) -> None:
    with FlopCounterMode(display=False) as counter:
        forward(name, "meta")
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=5e-5)


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit"])
def test_a_mini_denoiser_is_the_one_that_ships(name: str) -> None:
    model = build_denoiser(name)
    shipped = build_mini(name).denoiser
    model.load_state_dict(shipped.state_dict())
    assert not model.training
    assert all(not p.requires_grad for p in model.parameters())
    shipped.eval()
    inputs = example_inputs(name, 2)
    with torch.no_grad():
        assert torch.equal(model(**inputs).sample, shipped(**inputs).sample)


def test_inputs_are_of_the_published_shapes() -> None:
    inputs = example_inputs("sd20", 3, dtype=torch.float16)
    assert inputs["sample"].shape == (3, 4, 64, 64)
    assert inputs["sample"].dtype == torch.float16
    assert inputs["encoder_hidden_states"].shape == (3, PROMPT_TOKENS, 1024)
    assert inputs["timestep"].tolist() == [999, 999, 999]
    added = example_inputs("sdxl", 2)["added_cond_kwargs"]
    assert added["text_embeds"].shape == (2, 1280)
    assert added["time_ids"].tolist() == [[1024, 1024, 0, 0, 1024, 1024]] * 2
    assert example_inputs("dit_xl2_512", 2)["class_labels"].shape == (2,)


def test_inputs_are_the_same_every_time() -> None:
    torch.manual_seed(0)
    first = example_inputs("mini_dit")["hidden_states"]
    state = torch.get_rng_state()
    assert torch.equal(first, example_inputs("mini_dit")["hidden_states"])
    assert torch.equal(state, torch.get_rng_state())
    assert float(first.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("function", [build_denoiser, example_inputs])
def test_an_unknown_name_is_one_line(function: Any) -> None:
    with pytest.raises(UserError, match=r"^backbone=sd3: allowed: mini_unet, .*flux_dev$"):
        function("sd3")
