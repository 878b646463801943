from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

import bigain
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    CachedAssignment,
    Compression,
    RandomKey,
    Reduction,
    ToDo,
    ToMe,
)
from bigain.patching.selection import SiteSelection
from bigain.patching.sharing import Sharing, shared_modules

GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
TIMES = torch.tensor([25, 475, 475])[GROUPS]
_FIRST = "down_blocks.0.attentions.0.transformer_blocks.0"


TOKENS = [
    *(ToMe(ratio=0.5), *(ToMe(ratio=0.5, draws=each) for each in ("per_forward", "per_sample"))),
    LGTM(ratio=0.6),
    *(ABM(ratio=0.5), CachedAssignment(ratio=0.5)),
]
KEYS = [ToDo(factor=2), AvgPool(factor=2), IEKVD(factor=2, alpha=1.2)]


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(3, 2, 8, 8, generator=generator)[GROUPS]
    context = torch.randn(len(GROUPS), 5, 6, generator=generator)
    return latents, TIMES, context


@torch.no_grad()
def predict(model: Any) -> Tensor:
    latents, timesteps, context = inputs()
    predicted: Tensor = model(latents, timesteps, encoder_hidden_states=context)[0]
    return predicted


def rows_seen(model: nn.Module, name: str, run: Callable[[], object]) -> int:
    seen: list[int] = []
    handle = model.get_submodule(name).register_forward_hook(
        lambda _module, args, _output: seen.append(len(args[0]))
    )
    run()
    handle.remove()
    return seen[0]


@pytest.mark.parametrize(
    ("operator", "scope"),
    [
        *[(each, scope) for each in TOKENS for scope in ("self", "self+cross+mlp")],
        *[(each, "self") for each in KEYS],
        (None, "self"),
    ],
)
def test_a_shared_forward_predicts_the_same(
    tiny_unet: nn.Module, operator: Compression | None, scope: str
) -> None:
    if operator is not None:
        bigain.apply(tiny_unet, operator, sites=SiteSelection(scope=scope))
    expected = predict(tiny_unet)
    with Sharing(tiny_unet) as sharing:
        with sharing.rows(GROUPS, TIMES):
            found = predict(tiny_unet)
            assert rows_seen(tiny_unet, "conv_in", lambda: predict(tiny_unet)) == 3
        unshared = predict(tiny_unet)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(unshared, expected)
    assert torch.equal(predict(tiny_unet), expected)


@pytest.mark.parametrize(
    ("operator", "rows"), [(LGTM(ratio=0.5), 3), (CachedAssignment(ratio=0.5), 9)]
)
def test_a_plan_that_other_blocks_use_is_made_for_all_rows(
    tiny_unet: nn.Module, operator: Compression, rows: int
) -> None:
    bigain.apply(tiny_unet, operator)
    with Sharing(tiny_unet) as sharing, sharing.rows(GROUPS, TIMES):
        assert rows_seen(tiny_unet, f"{_FIRST}.attn1.to_v", lambda: predict(tiny_unet)) == rows


def test_draws_take_their_timesteps_from_the_cpu(
    tiny_unet: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a draw that reads them from the device waits for all that was launched before."""
    keys: list[RandomKey] = []
    original = ToMe.plan

    def plan(self: ToMe, metric: Tensor, grid: tuple[int, int], draw: RandomKey) -> Reduction:
        keys.append(draw)
        return original(self, metric, grid, draw)

    monkeypatch.setattr(ToMe, "plan", plan)
    bigain.apply(tiny_unet, ToMe(ratio=0.5))
    with Sharing(tiny_unet) as sharing, sharing.rows(GROUPS, TIMES):
        predict(tiny_unet)
    predict(tiny_unet)
    shared, whole = keys[: len(keys) // 2], keys[len(keys) // 2 :]
    rows = [None if key.on_cpu is None else key.on_cpu.tolist() for key in shared]
    assert rows == [[25, 475, 475], *[TIMES.tolist()] * (len(rows) - 1)]
    assert all(key.on_cpu is None for key in whole)


def test_every_shared_module_computes_one_row_of_a_group(tiny_unet: nn.Module) -> None:
    names = [name for name, _ in shared_modules(tiny_unet)]
    assert len(names) == 5
    with Sharing(tiny_unet) as sharing, sharing.rows(GROUPS, TIMES):
        for name in names:
            assert rows_seen(tiny_unet, name, lambda: predict(tiny_unet)) == 3
        assert rows_seen(tiny_unet, f"{_FIRST}.attn2.to_k", lambda: predict(tiny_unet)) == 9


def test_models_whose_first_layers_know_the_class_share_nothing(tiny_dit: nn.Module) -> None:
    sdxl = UNet2DConditionModel(
        **SMALL,
        addition_embed_type="text_time",
        addition_time_embed_dim=2,
        projection_class_embeddings_input_dim=20,
    )
    later = UNet2DConditionModel(
        **SMALL | {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    )
    assert [shared_modules(model) for model in (tiny_dit, sdxl, later)] == [[], [], []]


def test_a_block_with_something_of_its_own_between_the_attentions_shares_nothing(
    tiny_unet: nn.Module,
) -> None:
    tiny_unet.get_submodule(_FIRST).add_module("fuser", nn.Identity())
    assert shared_modules(tiny_unet) == []


def test_arguments_without_a_row_for_each_sample_are_passed_on(tiny_unet: nn.Module) -> None:
    scale, mask, rows = torch.tensor(2.0), torch.ones(1, 4), torch.arange(9.0)
    with Sharing(tiny_unet) as sharing, sharing.rows(GROUPS, TIMES):
        (narrowed, same), named = sharing._narrow(tiny_unet, (rows, scale), {"mask": mask})
    assert narrowed.tolist() == [0, 3, 5]
    assert (same, named["mask"]) == (scale, mask)


SMALL: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "cross_attention_dim": 6,
    "attention_head_dim": 2,
}
