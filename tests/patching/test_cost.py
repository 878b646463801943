from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bigain.patching.cost import AttentionCost, MLPCost, cost_of
from bigain.patching.selection import SiteSelection
from bigain.patching.sites import find_sites


@pytest.mark.parametrize(("queries", "keys"), [(4096, 4096), (1229, 1229), (4096, 1024)])
def test_a_self_attention_is_the_closed_form(queries: int, keys: int) -> None:
    """SA = 4 q k C + 4 q C^2 + 4 k C^2."""
    width = 320
    expected = 4 * queries * keys * width + 4 * (queries + keys) * width**2
    assert AttentionCost(width, width, width, width).flops(queries, keys) == expected


def test_a_cross_attention_reads_tokens_of_another_width() -> None:
    q, k, width, text = 4096, 77, 320, 1024
    expected = 2 * q * width**2 + 4 * k * text * width + 4 * q * k * width + 2 * q * width**2
    assert AttentionCost(width, text, width, width).flops(q, k) == expected


def test_an_mlp_pays_per_token_and_weight() -> None:
    assert MLPCost(320 * 2560 + 1280 * 320).flops(4096, 7) == 2 * 4096 * (320 * 2560 + 1280 * 320)
    assert MLPCost(10).flops(0, 5) == 0


@pytest.mark.parametrize("scope", ["self+cross+mlp"])
@pytest.mark.parametrize("tokens", [64, 19])
def test_the_modules_of_a_unet_cost_what_torch_counts(
    tiny_unet: nn.Module, scope: str, tokens: int
) -> None:
    model = tiny_unet.to("meta")
    for site in find_sites(model, SiteSelection(levels=(0, 1), scope=scope)):
        for part, _, module in site.modules:
            check(part, module, tokens, 3 if part == "cross" else tokens)


@pytest.mark.parametrize("keys", [64, 16])
def test_the_modules_of_a_dit_cost_what_torch_counts(tiny_dit: nn.Module, keys: int) -> None:
    for site in find_sites(tiny_dit.to("meta"), SiteSelection(scope="self+mlp")):
        for part, _, module in site.modules:
            check(part, module, 64, keys)


def check(part: str, module: Any, queries: int, keys: int) -> None:
    x = torch.empty(1, queries, cost_width(module, "to_q", "net.0.proj"), device="meta")
    context = {}
    if part != "mlp":
        width = module.to_k.weight.shape[1]
        context = {"encoder_hidden_states": torch.empty(1, keys, width, device="meta")}
    with FlopCounterMode(display=False) as counter:
        module(x, **context)
    cost = cost_of(part, module)
    assert cost is not None
    assert cost.flops(queries, keys) == counter.get_total_flops()


def cost_width(module: nn.Module, *names: str) -> int:
    """Width of the tokens that enter the module."""
    layer = next(m for name, m in module.named_modules() if name in names)
    return int(layer.get_parameter("weight").shape[1])
