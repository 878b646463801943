"""The weights of `operator=mosaic_diff` against plain forwards, closed forms and least squares.

The verb calibrates; the test computes again what each stage loses, the curvature of each layer's
inputs, which heads and hidden units stay, and the weights that make up for the others.  These are a
solution of least squares here, and not a sum of corrections.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from tests.engine.plain_forwards import (
    Picture,
    backbone_of,
    calibrated,
    counted,
    drawn,
    last_pictures,
    noised,
)

Matrix = npt.NDArray[np.floating[Any]]

IMAGES = 3
STAGES = ((0, 200), (200, 600), (600, 1000))
WEIGHTS = (0.2, 0.4, 0.4)
"""Shares of the 125 evaluations: five trials of ten classes, 15 more of the five that are left."""

LAST = {"attn1": "to_out.0", "attn2": "to_out.0", "ff": "net.2"}
"""Module of a transformer block -> its linear layer that loses columns."""


def layers_of(backbone: Backbone, parts: tuple[str, ...]) -> dict[str, nn.Linear]:
    """Name of a module -> its last linear layer."""
    found = {}
    for name, module in backbone.denoiser.named_modules():
        part = name.rpartition(".")[2]
        if part in parts:
            layer = module.get_submodule(LAST[part])
            assert isinstance(layer, nn.Linear)
            found[name] = layer
    return found


def units_of(backbone: Backbone, name: str) -> int:
    """Heads of an attention, hidden units of an MLP."""
    module: Any = backbone.denoiser.get_submodule(name)
    return int(module.net[2].in_features if name.endswith("ff") else module.heads)


@torch.inference_mode()
def curvatures(
    backbone: Backbone, layers: Mapping[str, nn.Linear], pictures: list[Picture]
) -> Iterator[dict[str, Matrix]]:
    """For each stage 2 E[x x^T] of the inputs of each layer, over all tokens of all images."""
    for first, end in STAGES:
        seen: dict[str, list[Tensor]] = {name: [] for name in layers}
        hooks = [
            layer.register_forward_pre_hook(lambda _, args, own=seen[name]: own.append(args[0]))
            for name, layer in layers.items()
        ]
        for picture in pictures:
            timestep = first + drawn("stage", picture.image_id, first, end) % (end - first)
            noisy, _ = noised(backbone, picture, timestep)
            label = torch.tensor([picture.label])
            backbone.predict_noise(noisy, torch.tensor([timestep]), label)
        for hook in hooks:
            hook.remove()
        rows = {name: torch.cat(own, 1)[0].double().numpy() for name, own in seen.items()}
        yield {name: 2 * x.T @ x / len(x) for name, x in rows.items()}


def scores_of(backbone: Backbone, energy: float) -> list[float]:
    """Mean growth of the expected distance of x_t to x_0 in each stage, over the largest growth."""
    abar = backbone.schedule.alphas_cumprod.numpy()
    distance = (1 - np.sqrt(abar)) ** 2 * energy + (1 - abar)
    growth = {t: distance[t] - distance[t - 1] for t in range(1, 1000)}
    largest = max(growth.values())
    return [
        float(np.mean([growth[t] for t in range(first, end) if t]) / largest)
        for first, end in STAGES
    ]


def lost(name: str, units: int, sparsity: float) -> int:
    """The nearest number; one head stays, and a quarter of the hidden units, or 64."""
    least = min(64, units / 4) if name.endswith("ff") else 1
    return int(min(units - least, np.floor(sparsity * units + 0.5)))


def plan(
    backbone: Backbone, names: list[str], scores: list[float], target: float, allocation: str
) -> tuple[list[float], list[dict[str, int]], float]:
    """Sparsities, units that go, and the share of FLOPs, at the smallest mean that is enough."""
    total, flops = counted(backbone)
    units = {name: units_of(backbone, name) for name in names}
    mean = sum(w * (1 - m) for w, m in zip(WEIGHTS, scores, strict=True))
    for step in range(1001):
        relative = [(1 - m) / mean if allocation == "score" else 1.0 for m in scores]
        sparsities = [min(0.8, step / 1000 * each) for each in relative]
        gone = [{name: lost(name, units[name], s) for name in names} for s in sparsities]
        saved = [sum(flops[name] / units[name] * n for name, n in own.items()) for own in gone]
        share = float(np.dot(WEIGHTS, saved)) / total
        if share >= target:
            return sparsities, gone, share
    raise AssertionError(target)


def pruned(w: Matrix, h: Matrix, size: int, remove: int, chunks: bool) -> tuple[list[int], Matrix]:
    """The groups of `size` columns that stay, and the best weights for them.

    One group goes after the other, or many at once: half of what is left to remove, at least 64.
    """
    assert h.diagonal().min() > 0
    h = h + 0.01 * h.diagonal().mean() * np.eye(len(h))
    kept, best = list(range(len(h) // size)), w
    while remove:
        now = min(remove, max(64, remove // 2)) if chunks else 1
        remove -= now
        columns = columns_of(kept, size)
        inverse = np.linalg.inv(h[np.ix_(columns, columns)])
        errors = []
        for place in range(len(kept)):
            own = slice(place * size, (place + 1) * size)
            errors.append(
                np.trace(best[:, own] @ np.linalg.inv(inverse[own, own]) @ best[:, own].T)
            )
        for group in [kept[place] for place in np.argsort(errors)[:now]]:
            kept.remove(group)
        # The V of the smallest (W - V) H (W - V)^T with columns of zeros where groups are gone.
        columns = columns_of(kept, size)
        best = np.linalg.solve(h[np.ix_(columns, columns)], (w @ h)[:, columns].T).T
    return kept, best


def columns_of(groups: list[int], size: int) -> list[int]:
    return [group * size + column for group in groups for column in range(size)]


def read(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="np") as file:
        return dict(json.loads(file.metadata()["bigain"]))


def measured(folder: Path) -> list[dict[str, Matrix]]:
    """H of each stage, as it is kept."""
    files = [f"{first}-{end}.safetensors" for first, end in STAGES]
    return [
        {name: h.astype(np.float64) for name, h in load_file(path).items()}
        for name in files
        for path in (folder / "cache").rglob(name)
    ]


def check_weights(
    path: Path, backbone: Backbone, of_stages: list[dict[str, Matrix]], gone: list[dict[str, int]]
) -> None:
    """Kept units and weights of every module in every stage, from the curvature of that stage."""
    content, tensors = read(path), load_file(path)
    layers = layers_of(backbone, tuple(LAST))
    losing = [sorted(name for name, n in own.items() if n) for own in gone]
    assert [sorted(own) for own in content["kept"]] == losing
    assert set(tensors) == {f"{n}.{name}" for n, names in enumerate(losing) for name in names}
    for stage, names in enumerate(losing):
        for name in names:
            w, h = layers[name].weight.detach().double().numpy(), of_stages[stage][name]
            size = w.shape[1] // units_of(backbone, name)
            kept, best = pruned(w, h, size, gone[stage][name], chunks=name.endswith("ff"))
            assert content["kept"][stage][name] == kept
            found = tensors[f"{stage}.{name}"]
            assert found.dtype == np.float16
            # Half precision: 11 bits, and steps of 6e-8 near zero.
            assert found == pytest.approx(best, rel=2**-10, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "target", "allocation", "crosses"),
    [
        ("mini_dit", 0.5, "score", True),
        ("mini_unet", 0.15, "score", True),
        ("mini_unet", 0.1, "uniform", False),
    ],
)
def test_weights_follow_from_plain_forwards(
    name: str, target: float, allocation: str, crosses: bool, tmp_path: Path
) -> None:
    given = {"target": target, "allocation": allocation, "cross_attention": str(crosses).lower()}
    settings = [f"operator.{key}={value}" for key, value in {**given, "images": IMAGES}.items()]
    trials = ["task.trial_list=[5,20]", "task.keep_list=[5,1]"]
    arguments = [f"backbone={name}", "operator=mosaic_diff", *trials, *settings]
    path = calibrated(tmp_path, *arguments, suffix=".safetensors")
    content = read(path)

    backbone = backbone_of(name)
    pictures = last_pictures(backbone, IMAGES)
    assert content["image_ids"] == [picture.image_id for picture in pictures]
    layers = layers_of(backbone, ("attn1", "attn2", "ff") if crosses else ("attn1", "ff"))
    assert sorted(content["modules"]) == sorted(layers)

    energy = float(np.mean([picture.latents.double().square().mean() for picture in pictures]))
    scores = scores_of(backbone, energy)
    assert content["energy"] == pytest.approx(energy, abs=1e-6)
    assert content["scores"] == pytest.approx(scores, abs=1e-6)
    sparsities, gone, share = plan(backbone, [*layers], scores, target, allocation)
    assert content["sparsities"] == pytest.approx(sparsities, abs=1e-6)
    assert content["removed"] == pytest.approx(share, abs=1e-6)

    of_stages = measured(tmp_path)
    assert len(of_stages) == len(STAGES)
    for found, wanted in zip(of_stages, curvatures(backbone, layers, pictures), strict=True):
        assert found.keys() == wanted.keys()
        for layer, h in wanted.items():
            np.testing.assert_allclose(found[layer], h, rtol=1e-3, atol=1e-5 * h.max())
    check_weights(path, backbone, of_stages, gone)
