"""Operators under `torch.compile`: one graph, the same bits, and no stale code."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bigain
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    KVSelect,
    LinearAlpha,
    Operator,
    SiTo,
    ToDo,
    ToMe,
)

Run = Callable[..., Tensor]
MERGES: list[Operator] = [
    *(ToMe(0.6), LGTM(0.6), CachedAssignment(0.6), ABM(0.6), SiTo(0.6)),
    SiTo(0.6, draws="per_forward"),
]
KEYS: list[Operator] = [
    *(ToDo(2), AvgPool(3), IEKVD(2, LinearAlpha(0.8, 1.2)), KVSelect(0.6)),
]
CASES: list[tuple[str, Compression, str]] = [
    *[("dit", operator, "self+mlp") for operator in MERGES],
    ("unet", CachedAssignment(0.6), "self+cross+mlp"),
    *[("dit", operator, "self") for operator in KEYS],
    ("unet", ByStage(LGTM(0.6), IEKVD(2)), "self"),
]


class Graphs:
    """A backend of `torch.compile` that counts the graphs and runs them as they are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        del inputs
        self.count += 1
        return graph.forward


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing compiled before; no trace of it in the log, which pytest would format."""
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def tiny_unet() -> nn.Module:
    """One level: one site in the encoder, two in the decoder."""
    from diffusers import UNet2DConditionModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock2D",),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    return model.eval()


@pytest.fixture
def tiny_dit() -> nn.Module:
    """Two blocks on 8x8 tokens, the first of them a site."""
    from diffusers import DiTTransformer2DModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = DiTTransformer2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        patch_size=2,
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=6,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return model.eval()


@pytest.mark.parametrize(("name", "operator", "scope"), CASES, ids=str)
def test_a_model_with_an_operator_is_one_graph_for_all_timesteps(
    request: pytest.FixtureRequest, run: Run, name: str, operator: Compression, scope: str
) -> None:
    model: nn.Module = request.getfixturevalue(f"tiny_{name}")
    sites = bigain.SiteSelection(scope=scope)
    times = [torch.tensor([9, 300, 40]), torch.tensor([1, 2, 999]), torch.tensor([500] * 3)]
    with bigain.apply(model, operator, sites=sites):
        expected = [run(model, timesteps=time) for time in times]
    graphs = Graphs()
    compiled = torch.compile(model, backend=graphs)
    with bigain.apply(model, operator, sites=sites) as report:
        for time, output in zip(times, expected, strict=True):
            assert torch.equal(run(compiled, timesteps=time), output)
    assert graphs.count == 1
    assert report.forwards == 3
    assert all(site.calls == 3 for site in report.sites)


def test_an_operator_applied_to_a_model_that_ran_compiled_takes_effect(
    tiny_dit: nn.Module, run: Run
) -> None:
    graphs = Graphs()
    compiled = torch.compile(tiny_dit, backend=graphs)
    bare = run(compiled)
    with bigain.apply(tiny_dit, LGTM(0.6)):
        expected = run(tiny_dit)
    with bigain.apply(compiled, LGTM(0.6)) as report:
        accelerated = run(compiled)
    assert not torch.equal(accelerated, bare)
    assert torch.equal(accelerated, expected)
    assert report.calls
    assert report.forwards == 1
    assert torch.equal(run(compiled), bare)
    assert report.forwards == 1
    assert graphs.count == 3


@pytest.mark.slow
@pytest.mark.parametrize("operator", [ToMe(0.6), SiTo(0.6), IEKVD(2, 0.9)], ids=repr)
def test_the_default_backend_gives_the_same_numbers(
    tiny_unet: nn.Module, run: Run, operator: Operator
) -> None:
    compiled = torch.compile(tiny_unet)
    with bigain.apply(tiny_unet, operator) as report:
        expected = run(tiny_unet)
        torch.testing.assert_close(run(compiled), expected, rtol=1e-3, atol=1e-4)
    assert report.forwards == 2
