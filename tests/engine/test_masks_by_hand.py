"""The masks of `operator=dip_go` against plain forwards and a loop over pairs.

The verb calibrates; the test computes d, the shares and the masks again, with hooks of its own that
let a branch give zero.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from tests.engine.plain_forwards import (
    SEED,
    Picture,
    backbone_of,
    calibrated,
    counted,
    drawn,
    last_pictures,
    noised,
)

Numbers = Mapping[tuple[int, str], float]
"""By timestep and branch."""

SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]"]
EVALUATIONS = {125: 3, 375: 10, 625: 3, 875: 10}
"""Two trials of all ten classes, then the other two of the four for three classes."""

IMAGES = 2


def branches_of(backbone: Backbone) -> dict[str, nn.Module]:
    """Name of each branch -> the module whose output it adds to the block's input."""
    found = {}
    for name, module in backbone.denoiser.named_modules():
        if name.rpartition(".")[2] in ("attn1", "attn2", "ff"):
            found[name] = module
        if type(module).__name__ == "ResnetBlock2D":
            found[name] = module.get_submodule("conv2")
    return found


def zero(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """A forward hook that leaves nothing of the output."""
    del module, args
    return torch.zeros_like(output)


def predictor(
    backbone: Backbone, picture: Picture, noisy: Tensor, objective: str
) -> Callable[[], Tensor]:
    """Y at all timesteps, for the model as it is when it is called."""
    classes = [picture.label]
    if objective == "contrast":
        others = [label for label in range(10) if label != picture.label]
        classes.append(others[drawn("contrast", picture.image_id) % 9])
    times = torch.tensor([*EVALUATIONS])

    def predict() -> Tensor:
        each = [
            backbone.predict_noise(noisy, times, torch.full((len(times),), label)).double()
            for label in classes
        ]
        return each[0] if len(each) == 1 else each[0] - each[1]

    return predict


@torch.inference_mode()
def sensitivities(name: str, objective: str) -> Numbers:
    """d of each timestep and branch: a ratio of means over images and elements."""
    backbone, changes, bases = backbone_of(name), [], []
    branches = branches_of(backbone)
    for picture in last_pictures(backbone, IMAGES):
        pairs = [noised(backbone, picture, timestep) for timestep in EVALUATIONS]
        noisy, noise = (torch.cat(each) for each in zip(*pairs, strict=True))
        predict = predictor(backbone, picture, noisy, objective)
        full = predict()
        own = []
        for module in branches.values():
            hook = module.register_forward_hook(zero)
            own.append((predict() - full).square().mean(dim=(1, 2, 3)).numpy())
            hook.remove()
        changes.append(own)
        reference = noise if objective == "output" else torch.zeros_like(full)
        bases.append((full - reference).square().mean(dim=(1, 2, 3)).numpy())
    d = np.mean(changes, axis=0) / np.mean(bases, axis=0)
    return {
        (timestep, branch): float(d[row, column])
        for row, branch in enumerate(branches)
        for column, timestep in enumerate(EVALUATIONS)
    }


def shares_of(name: str) -> tuple[int, dict[str, int], Numbers]:
    """FLOPs of an evaluation and of each branch in it; share of each pair in a classification."""
    backbone = backbone_of(name)
    total, modules = counted(backbone)
    flops = {}
    for branch in branches_of(backbone):
        own = [f"{branch}.conv1", f"{branch}.conv2"] if "resnets" in branch else [branch]
        flops[branch] = sum(modules[each] for each in own)
    everything = total * sum(EVALUATIONS.values())
    shares = {
        (timestep, branch): count * own / everything
        for timestep, count in EVALUATIONS.items()
        for branch, own in flops.items()
    }
    return total, flops, shares


def dropped(d: Numbers, shares: Numbers, target: float, protected: str) -> list[tuple[int, str]]:
    """From the smallest d per share on, until the target is reached."""
    gone: list[tuple[int, str]] = []
    free = [pair for pair in d if not pair[1].endswith(protected)]
    for pair in sorted(free, key=lambda pair: d[pair] / shares[pair]):
        if sum(shares[other] for other in gone) >= target:
            break
        gone.append(pair)
    return gone


def compare(content: Mapping[str, Any], name: str, d: Numbers, target: float, keeps: str) -> None:
    """Everything that the file says follows from `d` and from counted FLOPs."""
    total, flops, shares = shares_of(name)
    order = content["branches"]
    assert sorted(order) == sorted(flops)
    assert content["evaluations"] == {str(t): count for t, count in EVALUATIONS.items()}
    assert content["flops"] == {"total": total, "branches": [flops[each] for each in order]}
    for timestep in EVALUATIONS:
        wanted = [d[timestep, branch] for branch in order]
        assert content["sensitivity"][str(timestep)] == pytest.approx(wanted, rel=2e-3)
    gone = dropped(d, shares, target, keeps)
    off = {
        (int(timestep), branch)
        for timestep, mask in content["masks"].items()
        for branch, gate in zip(order, mask, strict=True)
        if gate == "0"
    }
    assert off == set(gone)
    removed = sum(shares[pair] for pair in gone)
    assert content["removed"] == pytest.approx(removed, abs=1e-6)
    assert target <= removed < target + max(shares.values())


def content_of(folder: Path, name: str, *overrides: str) -> dict[str, Any]:
    images = f"operator.images={IMAGES}"
    given = [f"backbone={name}", "operator=dip_go", *SHORT, images, *overrides]
    content = json.loads(calibrated(folder, *given, suffix=".json").read_text("utf-8"))
    assert content["settings"]["operator"]["seed"] == SEED
    return dict(content)


@pytest.mark.parametrize("objective", ["output", "contrast"])
def test_masks_of_the_dit_follow_from_plain_forwards(objective: str, tmp_path: Path) -> None:
    d = sensitivities("mini_dit", objective)
    for target in (0.1, 0.4):
        given = [f"operator.objective={objective}", f"operator.target={target}"]
        content = content_of(tmp_path, "mini_dit", *given)
        compare(content, "mini_dit", d, target, keeps="none")


def test_masks_of_the_unet_follow_from_plain_forwards(tmp_path: Path) -> None:
    """With cross-attentions that always run, and with ones that may be skipped."""
    d = sensitivities("mini_unet", "output")
    given = ["mini_unet", "operator.target=0.3"]
    content = content_of(tmp_path, *given)
    compare(content, "mini_unet", d, 0.3, keeps="attn2")
    free = content_of(tmp_path, *given, "operator.protect_cross_attention=false")
    compare(free, "mini_unet", d, 0.3, keeps="none")
    assert free["masks"] != content["masks"]
