from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import bigain
from bigain.backbones.denoisers import build_denoiser, example_inputs
from bigain.operators import IEKVD, LGTM, CachedAssignment, Compression, SiTo, ToDo, ToMe
from bigain.patching.compiling import Compiled
from bigain.patching.projections import KeptProjections
from bigain.patching.selection import SiteSelection
from bigain.patching.sharing import Sharing

CONTEXT = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(7))
CLASSES = torch.tensor([2, 0, 1, 1, 3, 0, 2, 3, 1])
GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
TIMES = torch.tensor([25, 475, 475])[GROUPS]

OPERATORS = [
    *[(each, "self") for each in (ToDo(factor=2), IEKVD(factor=2, alpha=1.2), SiTo(ratio=0.5))],
    *[(each, "self+cross+mlp") for each in (ToMe(0.5), LGTM(0.6), CachedAssignment(0.5))],
    (None, "self"),
]


@torch.no_grad()
def predict(model: Any, classes: Tensor = CLASSES) -> Tensor:
    latents = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(3))[GROUPS]
    predicted: Tensor = model(latents, TIMES, encoder_hidden_states=CONTEXT[classes])[0]
    return predicted


def projections(model: nn.Module) -> dict[str, nn.Module]:
    """Path -> projection of keys or values of a cross-attention."""
    ends = (".attn2.to_k", ".attn2.to_v")
    return {name: module for name, module in model.named_modules() if name.endswith(ends)}


@pytest.mark.parametrize(("operator", "scope"), OPERATORS)
def test_tables_predict_the_same(
    tiny_unet: nn.Module, operator: Compression | None, scope: str
) -> None:
    if operator is not None:
        bigain.apply(tiny_unet, operator, sites=SiteSelection(scope=scope))
    before, expected = projections(tiny_unet), predict(tiny_unet)
    with Sharing(tiny_unet) as sharing, KeptProjections(tiny_unet, CONTEXT) as kept:
        assert not set(projections(tiny_unet).values()) & set(before.values())
        with sharing.rows(GROUPS, TIMES), kept.of(CLASSES):
            assert torch.allclose(predict(tiny_unet), expected, atol=1e-6)
        assert torch.equal(predict(tiny_unet), expected), "nobody said which conditions"
    assert projections(tiny_unet) == before
    assert torch.equal(predict(tiny_unet), expected)


def test_the_conditions_decide_and_the_context_is_not_read(tiny_unet: nn.Module) -> None:
    expected = predict(tiny_unet)
    with KeptProjections(tiny_unet, CONTEXT) as kept, kept.of(CLASSES):
        assert torch.allclose(predict(tiny_unet, torch.zeros_like(CLASSES)), expected, atol=1e-6)
    assert not torch.allclose(predict(tiny_unet, torch.zeros_like(CLASSES)), expected, atol=1e-3)


def test_no_projection_is_computed_in_a_forward(tiny_unet: nn.Module) -> None:
    seen: list[int] = []
    for module in projections(tiny_unet).values():
        module.register_forward_hook(lambda _module, args, _output: seen.append(len(args[0])))
    with KeptProjections(tiny_unet, CONTEXT) as kept, kept.of(CLASSES):
        assert seen == [len(CONTEXT)] * len(projections(tiny_unet))
        predict(tiny_unet)
    assert len(seen) == len(projections(tiny_unet)) == 14
    predict(tiny_unet)
    assert seen[14:] == [len(CLASSES)] * 14


@pytest.mark.parametrize("tables", [0, 1, 3, 14])
def test_tables_are_no_larger_than_they_may_be(
    tiny_unet: nn.Module, monkeypatch: pytest.MonkeyPatch, tables: int
) -> None:
    before: dict[str, Any] = projections(tiny_unet)
    sizes = [4 * CONTEXT[..., 0].numel() * len(each.weight) for each in before.values()]
    expected, room = predict(tiny_unet), sum(sorted(sizes)[:tables])
    monkeypatch.setattr("bigain.patching.projections.LARGEST", room)
    with KeptProjections(tiny_unet, CONTEXT) as kept, kept.of(CLASSES):
        found: list[Any] = [each for each in tiny_unet.modules() if hasattr(each, "outputs")]
        assert sum(each.outputs.nbytes for each in found) <= room
        assert (len(found) == 0, len(found) == 14) == (tables == 0, tables == 14)
        assert len(set(before.values()) & set(projections(tiny_unet).values())) == 14 - len(found)
        assert torch.allclose(predict(tiny_unet), expected, atol=1e-6)


def test_where_memory_ends_projections_stay(
    tiny_unet: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, calls = predict(tiny_unet), [0]
    forward = nn.Linear.forward

    def small(self: nn.Linear, given: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == 6:
            raise torch.OutOfMemoryError
        return forward(self, given)

    monkeypatch.setattr(nn.Linear, "forward", small)
    with KeptProjections(tiny_unet, CONTEXT) as kept, kept.of(CLASSES):
        assert sum(hasattr(each, "outputs") for each in tiny_unet.modules()) == 5
        assert torch.allclose(predict(tiny_unet), expected, atol=1e-6)


def test_other_models_stay_as_they_are(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    """Without prompts, with a class embedding, or with a context that is changed on its way."""
    changed = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
        encoder_hid_dim=6,
        encoder_hid_dim_type="text_proj",
    )
    for model, context in ((tiny_unet, None), (tiny_dit, CONTEXT), (changed, CONTEXT)):
        before = list(model.modules())
        with KeptProjections(model, context):
            assert list(model.modules()) == before


@pytest.mark.parametrize("by_block", [False, True])
def test_compiled_forwards_read_the_tables(
    tiny_unet: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_block: bool
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    bigain.apply(tiny_unet, LGTM(0.6))
    others = CLASSES.flip(0)
    expected = [predict(tiny_unet), predict(tiny_unet, others)]
    with (
        Compiled(tiny_unet, tmp_path, by_block=by_block) as compiled,
        Sharing(tiny_unet) as sharing,
        KeptProjections(tiny_unet, CONTEXT) as kept,
    ):
        graphs = []
        for classes, wanted in zip([CLASSES, others], expected, strict=True):
            with sharing.rows(GROUPS, TIMES), kept.of(classes):
                assert torch.allclose(predict(tiny_unet, classes), wanted, atol=1e-6)
            graphs.append(compiled.graphs)
    assert graphs[0] == graphs[1] > 0, "the second batch runs the code of the first"
    assert torch.equal(predict(tiny_unet), expected[0])


def test_half_a_percent_of_the_arithmetic_of_sd_2_0() -> None:
    """16 blocks: 5 of 320 channels, 5 of 640, 6 of 1280; keys and values of 77 x 1024 numbers."""
    model, inputs = build_denoiser("sd20", "meta"), example_inputs("sd20", 1, "meta")
    context = inputs["encoder_hidden_states"].expand(38, -1, -1)

    def count() -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(**inputs)
        return int(counter.get_total_flops())

    with KeptProjections(model, context) as kept:
        plain = count()
        with kept.of(torch.zeros(1, dtype=torch.int64, device="meta")):
            saved = plain - count()
    assert saved == 2 * 2 * 77 * 1024 * (5 * 320 + 5 * 640 + 6 * 1280)
    assert saved / 804.2575e9 == pytest.approx(0.0049, abs=5e-5)
