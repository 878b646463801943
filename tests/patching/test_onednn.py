"""Linear layers through oneDNN: the same numbers, gradients and FLOPs."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.engine.build import build_backbone
from bigain.launch.compose import compose_config
from bigain.patching import onednn
from bigain.patching.onednn import OneDnnLinear, is_faster, use_onednn

Run = Callable[..., Tensor]
INTEL, OTHER = "Intel(R) Xeon(R) Platinum", "AMD EPYC"


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor on which oneDNN is faster."""
    monkeypatch.setattr(onednn, "is_faster", lambda: True)


def switched(layer: nn.Linear) -> nn.Linear:
    """A copy of `layer` that computes with oneDNN."""
    copied = copy.deepcopy(layer)
    use_onednn(copied)
    assert type(copied) is OneDnnLinear
    return copied


@pytest.mark.usefixtures("faster")
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 5), (4, 7, 5), (2, 3, 4, 5), (0, 5)])
def test_equals_the_product_in_double_precision(shape: tuple[int, ...], has_bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 6, bias=has_bias)
    x = torch.randn(shape)
    expected = x.double() @ layer.weight.double().T
    if has_bias:
        expected = expected + layer.bias.double()
    with torch.inference_mode():
        found = switched(layer)(x)
    assert found.shape == (*shape[:-1], 6)
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("faster")
def test_takes_tokens_that_do_not_lie_in_order() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 6)
    x = torch.randn(2, 5, 9).transpose(1, 2)
    with torch.no_grad():
        assert torch.allclose(switched(layer)(x), layer(x), atol=1e-6)
        assert torch.allclose(switched(layer)(x[:, ::2]), layer(x[:, ::2]), atol=1e-6)


@pytest.mark.usefixtures("faster")
def test_calls_onednn_only_without_a_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(5, 6)
    ours, x = switched(layer), torch.randn(3, 5)
    with torch.profiler.profile() as trained:
        ours(x).square().sum().backward()
    layer(x).square().sum().backward()
    assert ours.weight.grad is not None
    assert layer.weight.grad is not None
    assert torch.equal(ours.weight.grad, layer.weight.grad)
    with torch.no_grad(), torch.profiler.profile() as inferred:
        ours(x)
    called = [{each.key for each in run.key_averages()} for run in (trained, inferred)]
    assert ["bigain::linear" in names for names in called] == [False, True]


@pytest.mark.usefixtures("faster")
def test_a_layer_that_is_converted_later_computes_as_any_other() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 6), torch.randn(3, 5)
    ours = switched(layer)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ours(x), layer(x))
            assert ours(x).dtype == torch.bfloat16
        for dtype in (torch.float64, torch.bfloat16):
            assert torch.equal(ours.to(dtype)(x.to(dtype)), layer.to(dtype)(x.to(dtype)))
        assert ours.to("meta")(x.to("meta", torch.bfloat16)).shape == (3, 6)


@pytest.mark.usefixtures("faster")
def test_counts_the_flops_of_a_linear_layer() -> None:
    layer = nn.Linear(5, 6)
    for each in (layer, switched(layer)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            each(torch.randn(4, 7, 5))
        assert counter.get_total_flops() == 2 * 4 * 7 * 5 * 6


@pytest.mark.usefixtures("faster")
def test_a_denoiser_keeps_its_outputs_weights_and_other_layers(tiny_dit: Any, run: Run) -> None:
    before, names = run(tiny_dit), list(tiny_dit.state_dict())
    numbers = {name: type(module) for name, module in tiny_dit.named_modules()}
    use_onednn(tiny_dit)
    switched_names = {
        name for name, module in tiny_dit.named_modules() if type(module) is OneDnnLinear
    }
    assert switched_names == {name for name, kind in numbers.items() if kind is nn.Linear}
    assert switched_names
    assert list(tiny_dit.state_dict()) == names
    assert torch.allclose(run(tiny_dit), before, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("faster")
def test_compiles_to_the_same_numbers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 2, bias=False))
    x = torch.randn(3, 7, 5)
    with torch.inference_mode():
        expected = network(x)
        use_onednn(network)
        compiled = torch.compile(network, fullgraph=True)
        assert torch.allclose(compiled(x), expected, rtol=1e-5, atol=1e-6)
    torch.compiler.reset()


class OwnLinear(nn.Linear):
    """A layer whose forward is its own affair."""


@pytest.mark.usefixtures("faster")
@pytest.mark.parametrize(
    "layer", [nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2, device="meta"), OwnLinear(2, 2)]
)
def test_other_layers_stay(layer: nn.Linear) -> None:
    kind = type(layer)
    use_onednn(layer)
    assert type(layer) is kind


@pytest.mark.parametrize(
    ("processor", "capability", "expected"),
    [
        (OTHER, "AVX512", True),
        (INTEL, "AVX512", False),
        (None, "AVX512", False),
        (OTHER, "AVX2", False),
    ],
)
def test_where_onednn_is_faster(
    processor: str | None, capability: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(onednn, "cpu_model", lambda: processor)
    assert is_faster() is expected
    layer = nn.Linear(2, 2)
    use_onednn(layer)
    assert (type(layer) is OneDnnLinear) is expected


@pytest.mark.parametrize("missing", ["mkl", "mkldnn"])
def test_stays_where_torch_lacks_a_library(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(onednn, "cpu_model", lambda: OTHER)
    monkeypatch.setattr(getattr(torch.backends, missing), "is_available", lambda: False)
    assert not is_faster()


@pytest.mark.usefixtures("faster")
@pytest.mark.parametrize("name", ["mini_unet", "mini_dit"])
def test_the_denoiser_of_a_run_uses_it(name: str) -> None:
    backbone = build_backbone(
        compose_config([f"backbone={name}"]).backbone, torch.device("cpu"), "float32"
    )
    kinds = {type(module) for module in backbone.denoiser.modules()}
    assert OneDnnLinear in kinds
    assert nn.Linear not in kinds
