"""H of a layer is that of every image once, also where a forward ran out of memory half way."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from bigain.backbones.mini import load_mini
from bigain.launch.compose import compose_config
from bigain.patching.branches import Branch, find_branches
from bigain.patching.narrow import last_layer
from bigain.tasks.batches import MicroBatches
from bigain.tasks.curvature import Image, curvatures


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    revision = compose_config(["backbone=mini_dit"]).backbone.revision
    return load_mini("mini_dit", revision, torch.device("cpu"), torch.float32)


@pytest.fixture
def layers(backbone: Backbone) -> tuple[Branch, ...]:
    """The first three that are pruned, in the order of a forward."""
    return find_branches(backbone.denoiser)[:3]


def measured(backbone: Backbone, layers: tuple[Branch, ...], size: int) -> Mapping[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = [Image(n, n, torch.randn(1, 1, 32, 32, generator=generator)) for n in range(4)]
    found = curvatures(backbone, layers, images, (200, 500), 0, MicroBatches(size))
    return {name: own.h for name, own in found.items()}


def test_a_forward_that_ran_out_of_memory_does_not_count(
    backbone: Backbone, layers: tuple[Branch, ...]
) -> None:
    """The second layer fails once, in a batch of four; the first one has seen its rows by then."""
    undisturbed = measured(backbone, layers, size=2)
    failed: list[int] = []

    def fail_once(module: nn.Module, args: Any) -> None:
        del module
        if not failed:
            failed.append(len(args[0]))
            raise torch.OutOfMemoryError

    ((_, second),) = layers[1].modules
    hook = last_layer(layers[1].part, second).register_forward_pre_hook(fail_once)
    disturbed = measured(backbone, layers, size=4)
    hook.remove()
    assert failed == [4]
    assert disturbed.keys() == undisturbed.keys()
    for name, h in disturbed.items():
        assert torch.equal(h, undisturbed[name])


def test_h_is_twice_the_mean_of_the_outer_products(
    backbone: Backbone, layers: tuple[Branch, ...]
) -> None:
    rows: list[Tensor] = []
    ((_, first),) = layers[0].modules
    layer = last_layer(layers[0].part, first)
    hook = layer.register_forward_pre_hook(lambda _, args: rows.append(args[0].flatten(0, -2)))
    h = measured(backbone, layers, size=3)[layers[0].name]
    hook.remove()
    x = torch.cat(rows).double()
    assert torch.allclose(h.double(), 2 * x.T @ x / len(x), rtol=1e-4, atol=1e-6)
