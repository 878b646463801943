"""Weights by stage inside real models: narrowed modules, mixed batches, FLOPs, removal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bigain import apply
from bigain.backbones.denoisers import build_denoiser
from bigain.errors import UserError
from bigain.operators import StageWeights
from bigain.operators.stage_weights import Kept
from bigain.patching.branches import Branch, find_branches
from bigain.patching.narrow import last_layer, narrowed, units_of
from bigain.tasks.flops import count_flops

Run = Callable[..., Tensor]
TIMES = torch.tensor([100, 300, 700])


def plain(branch: Branch, numbers: tuple[int, ...]) -> Kept:
    """The columns of these units as they are, without compensation."""
    ((_, module),) = branch.modules
    layer, units = last_layer(branch.part, module), units_of(branch.part, module)
    size = layer.in_features // units
    columns = [j for n in numbers for j in range(size * n, size * (n + 1))]
    return Kept(numbers, layer.weight.detach()[:, columns].clone())


def halves(model: nn.Module) -> StageWeights:
    """The first half of the units in the first stage, the others in the last, all in between."""
    modules = {}
    for branch in find_branches(model):
        if branch.part != "resnet":
            ((_, module),) = branch.modules
            units = units_of(branch.part, module)
            first, second = tuple(range(units // 2)), tuple(range(units // 2, units))
            modules[branch.name] = (plain(branch, first), None, plain(branch, second))
    return StageWeights(modules, dict.fromkeys(TIMES.tolist(), 1))


def by_hand(model: nn.Module, run: Run, stage: int) -> Tensor:
    """The dense model whose last layers have zero columns for the units that are gone."""
    weights = []
    for branch in find_branches(model):
        if branch.part == "resnet" or stage == 1:
            continue
        ((_, module),) = branch.modules
        layer: Any = last_layer(branch.part, module)
        weights.append((layer, layer.weight.detach().clone()))
        half = layer.in_features // 2
        with torch.no_grad():
            (layer.weight[:, half:] if stage == 0 else layer.weight[:, :half]).zero_()
    output = run(model, timesteps=TIMES)
    with torch.no_grad():
        for layer, weight in weights:
            layer.weight.copy_(weight)
    return output


def test_a_sample_takes_the_weights_of_its_stage(tiny_model: nn.Module, run: Run) -> None:
    before = run(tiny_model, timesteps=TIMES)
    state = {key: value.clone() for key, value in tiny_model.state_dict().items()}
    with apply(tiny_model, halves(tiny_model)) as report:
        mixed = run(tiny_model, timesteps=TIMES)
        assert list(tiny_model.state_dict()) == list(state)
    for row in range(3):
        wanted = by_hand(tiny_model, run, row)[row]
        torch.testing.assert_close(mixed[row], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed[1], before[1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(mixed[0], before[0], atol=1e-4)
    assert not torch.allclose(mixed[2], before[2], atol=1e-4)
    assert torch.equal(run(tiny_model, timesteps=TIMES), before)
    assert all(torch.equal(v, state[k]) for k, v in tiny_model.state_dict().items())
    assert report.flops_saved


def test_nothing_that_goes_is_the_model_bit_for_bit(tiny_model: nn.Module, run: Run) -> None:
    before = run(tiny_model, timesteps=TIMES)
    nothing = {b.name: (None, None, None) for b in find_branches(tiny_model) if b.part != "resnet"}
    with apply(tiny_model, StageWeights(nothing, {100: 1})) as report:
        assert torch.equal(run(tiny_model, timesteps=TIMES), before)
    assert report.places == ()


def test_a_module_with_all_its_units_is_the_module(tiny_model: nn.Module) -> None:
    for branch in find_branches(tiny_model):
        if branch.part == "resnet":
            continue
        ((_, module),) = branch.modules
        units = units_of(branch.part, module)
        own = narrowed(branch.part, module, plain(branch, tuple(range(units))))
        layer: Any = module.net[0].proj if branch.part == "mlp" else module.to_q  # type: ignore[union-attr, index]
        x = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(0))
        context = {"encoder_hidden_states": torch.ones(2, 3, 6)} if branch.part == "cross" else {}
        with torch.no_grad():
            torch.testing.assert_close(own(x, **context), module(x, **context))


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit", "sd20", "dit_xl2_512"])
def test_flops_are_those_of_the_closed_forms(name: str) -> None:
    """Counted, by the library's formula, and by 8NCI + 4N^2 I, 4NCI + ..., 6NCF or 4NCF."""
    model = build_denoiser(name, "meta")
    branches = [each for each in find_branches(model) if each.part != "resnet"]
    modules, saved = {}, 0
    for branch in branches:
        ((path, module),) = branch.modules
        units, layer = units_of(branch.part, module), last_layer(branch.part, module)
        gone = units // 2
        width = layer.in_features // units * (units - gone)
        kept = Kept(tuple(range(units - gone)), torch.empty(layer.out_features, width))
        modules[path] = (kept, None, kept)
        saved += _closed(name, branch, layer, layer.in_features - width)
    operator = StageWeights(modules, {100: 2, 300: 1, 900: 1})
    count = count_flops(name, operator)
    assert count.total == count.closed_form
    assert count.saved == round(3 * saved / 4)


def _closed(name: str, branch: Branch, layer: nn.Linear, gone: int) -> int:
    """FLOPs of `gone` columns of the last layer, from widths and grids alone."""
    c = layer.out_features
    n = _tokens(name, branch.name, c)
    if branch.part == "self":
        return 8 * n * c * gone + 4 * n**2 * gone
    if branch.part == "cross":
        text, context = (77, 1024) if name == "sd20" else (4, 48)
        return 4 * n * c * gone + 4 * text * context * gone + 4 * n * text * gone
    return (4 if "dit" in name else 6) * n * c * gone


def _tokens(name: str, path: str, width: int) -> int:
    if name == "mini_dit":
        return 256
    if name == "dit_xl2_512":
        return 1024
    if name == "mini_unet":
        return {48: 256, 64: 64}[width]
    if path.startswith("mid_block"):
        return 64
    return {320: 4096, 640: 1024, 1280: 256}[width]


def test_weights_of_another_model_are_refused(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    with pytest.raises(UserError, match=r"has weights for transformer_blocks\.0\.attn1, which"):
        apply(tiny_unet, halves(tiny_dit))
    (branch, *_) = [each for each in find_branches(tiny_dit) if each.part == "mlp"]
    wrong = StageWeights({branch.name: (Kept((0, 1), torch.zeros(12, 3)), None, None)}, {100: 1})
    with pytest.raises(UserError, match=r"^weights: have the shape \(12, 3\); allowed: \(12, 2\)"):
        apply(tiny_dit, wrong)
