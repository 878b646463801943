"""Operators under `torch.compile`: one graph, the same bits, and no stale code."""

import copy
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from diffusers import DiTTransformer2DModel, UNet2DConditionModel
from diffusers.models import upsampling
from diffusers.utils import is_torch_version
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir

import bigain
from bigain.errors import UserError
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
    SharedPlan,
    SiTo,
    ToDo,
    ToMe,
)
from bigain.patching.compiling import Compiled, require_compiler
from bigain.patching.sharing import Sharing

Run = Callable[..., Tensor]
MERGES: list[Operator] = [
    *(ToMe(0.6), LGTM(0.6), CachedAssignment(0.6), ABM(0.6), SiTo(0.6)),
    *(SiTo(0.6, draws="per_forward"), ToMe(0.6, draws="per_sample")),
    LGTM(0.6, padding="replicate"),
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
    """Nothing compiled before; no trace of it in the log, which pytest would format.

    Nor does torch warn, as it does where it traces a function with a cache.
    """
    said: list[str] = []
    monkeypatch.setattr("torch._dynamo.utils.warn_once", lambda message, *_: said.append(message))
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    torch.compiler.reset()
    yield
    torch.compiler.reset()
    assert not said


@pytest.fixture
def tiny_unet() -> nn.Module:
    """One level: one site in the encoder, two in the decoder."""
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
@pytest.mark.parametrize(
    "operator",
    [ToMe(0.6), ToMe(0.6, draws="per_sample"), SiTo(0.6), IEKVD(2, 0.9), SharedPlan(LGTM(0.6))],
    ids=repr,
)
def test_the_default_backend_gives_the_same_numbers(
    tiny_unet: nn.Module, run: Run, operator: Operator
) -> None:
    compiled = torch.compile(tiny_unet)
    with bigain.apply(tiny_unet, operator) as report:
        expected = run(tiny_unet)
        torch.testing.assert_close(run(compiled), expected, rtol=1e-3, atol=1e-4)
    assert report.forwards == 2


# `compile=true`

GROUPS = [torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2])]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Graphs:
    """What a `Compiled` compiles, run as it is."""
    backend = Graphs()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    return backend


def times(groups: Tensor, seed: int) -> Tensor:
    return torch.tensor([25, 475, 800])[groups] + seed


@torch.inference_mode()
def predict(model: Any, groups: Tensor, seed: int) -> Tensor:
    """Noise of rows of which those of a group differ in the class alone."""
    generator = torch.Generator().manual_seed(seed)
    if not hasattr(model, "down_blocks"):
        latents = torch.randn(3, 1, 16, 16, generator=generator)[groups]
        predicted: Tensor = model(
            latents, timestep=times(groups, seed), class_labels=torch.arange(6)
        )[0]
        return predicted
    context = torch.randn(6, 5, 6, generator=generator)
    latents = torch.randn(3, 2, 8, 8, generator=generator)[groups]
    predicted = model(latents, times(groups, seed), encoder_hidden_states=context)[0]
    return predicted  # noqa: RET504 - has a type


def shared(model: nn.Module, seeds: int = 3) -> list[Tensor]:
    """For each seed a batch with two groups and one with three."""
    found = []
    with Sharing(model) as sharing:
        for seed in range(seeds):
            for groups in GROUPS:
                with torch.inference_mode(), sharing.rows(groups, times(groups, seed)):
                    found.append(predict(model, groups, seed))
    return found


@pytest.mark.parametrize(
    ("name", "operator", "scope"),
    [
        ("unet", None, "self"),
        ("unet", ByStage(LGTM(0.6), IEKVD(2)), "self"),
        ("unet", CachedAssignment(0.6), "self+cross+mlp"),
        ("dit", ToMe(0.6, draws="per_forward"), "self+mlp"),
        ("unet", ToMe(0.6, draws="per_sample"), "self"),
        ("unet", SharedPlan(LGTM(0.6)), "self"),
    ],
    ids=str,
)
def test_a_compiled_denoiser_has_one_graph_for_each_size_of_a_batch(
    request: pytest.FixtureRequest,
    graphs: Graphs,
    tmp_path: Path,
    name: str,
    operator: Compression | None,
    scope: str,
) -> None:
    model: nn.Module = request.getfixturevalue(f"tiny_{name}")
    if operator is not None:
        bigain.apply(model, operator, sites=bigain.SiteSelection(scope=scope))
    expected = shared(model)
    with Compiled(model, tmp_path, by_block=False) as compiled:
        found = shared(model)
    assert all(map(torch.equal, found, expected))
    sizes = 2 if name == "unet" else 1  # a DiT knows the class from its first layer on
    assert graphs.count == compiled.graphs == sizes
    assert compiled.facts["compiled"]["seconds"] > 0
    assert all(map(torch.equal, shared(model), expected))
    assert graphs.count == sizes


def test_equal_blocks_share_their_code(tiny_dit: nn.Module, graphs: Graphs, tmp_path: Path) -> None:
    blocks = tiny_dit.get_submodule("transformer_blocks")
    assert isinstance(blocks, nn.ModuleList)
    blocks.extend(copy.deepcopy(blocks[0]) for _ in range(3))
    expected = shared(tiny_dit)
    with Compiled(tiny_dit, tmp_path, by_block=True) as compiled:
        assert all(map(torch.equal, shared(tiny_dit), expected))
    # The tokens of the first of the five blocks have another layout in memory.
    assert compiled.graphs == graphs.count == 2


def test_blocks_of_a_unet_are_compiled_where_they_are(
    tiny_unet: nn.Module, graphs: Graphs, tmp_path: Path
) -> None:
    bigain.apply(tiny_unet, CachedAssignment(0.6))
    expected = shared(tiny_unet)
    with Compiled(tiny_unet, tmp_path, by_block=True):
        assert all(map(torch.equal, shared(tiny_unet), expected))
    assert graphs.count > 2


def test_a_denoiser_without_repeated_blocks_is_compiled_as_a_whole(
    graphs: Graphs, tmp_path: Path
) -> None:
    layer = nn.Linear(3, 2)
    given = torch.randn(4, 3)
    with torch.inference_mode(), Compiled(layer, tmp_path, by_block=True) as compiled:
        assert torch.equal(layer(given), nn.functional.linear(given, layer.weight, layer.bias))
    assert compiled.graphs == graphs.count == 1


@pytest.mark.parametrize("by_block", [False, True])
def test_upsampling_in_bfloat16_is_traced_without_a_warning(
    graphs: Graphs, tmp_path: Path, by_block: bool
) -> None:
    """diffusers asks for torch's version there; its function has a cache again afterwards."""
    model: nn.Module = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    model.eval().to(torch.bfloat16)
    given = torch.randn(1, 2, 8, 8).bfloat16(), 5, torch.randn(1, 3, 6).bfloat16()
    with torch.inference_mode():
        expected = model(*given)[0]
        with Compiled(model, tmp_path, by_block=by_block):
            assert torch.equal(model(*given)[0], expected)
    assert graphs.count
    assert upsampling.is_torch_version is is_torch_version


def test_a_second_use_never_sees_the_hooks_of_the_first(
    tiny_unet: nn.Module, graphs: Graphs, tmp_path: Path
) -> None:
    expected = shared(tiny_unet, 1)
    with Compiled(tiny_unet, tmp_path, by_block=True):
        assert all(map(torch.equal, shared(tiny_unet, 1), expected))
        assert torch.equal(predict(tiny_unet, GROUPS[0], 0), expected[0])
        assert all(map(torch.equal, shared(tiny_unet, 1), expected))


def test_a_broken_compiler_is_one_line(tiny_dit: nn.Module, tmp_path: Path) -> None:
    def broken(graph: object, inputs: object) -> Any:
        raise OSError("g++ crashed")

    with (
        pytest.raises(UserError, match=r"^compile=true: the compiler failed .*g\+\+ crashed"),
        patch.object(torch, "compile", partial(torch.compile, backend=broken)),
        Compiled(tiny_dit, tmp_path, by_block=False),
    ):
        predict(tiny_dit, GROUPS[0], 0)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_compiler(torch.device("cpu"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"^compile=true: there is no C\+\+ compiler no-such-com"):
        require_compiler(torch.device("cpu"))


def test_code_is_kept_in_the_folder_unless_the_user_has_named_one(
    tiny_dit: nn.Module, graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    for _ in range(2):
        with Compiled(tiny_dit, tmp_path / "code", by_block=False):
            assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "code")
        assert cache_dir() == default_cache_dir()  # torch writes it into the environment
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with Compiled(tiny_dit, tmp_path / "code", by_block=False):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
