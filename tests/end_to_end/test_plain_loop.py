"""The classifier against the straightforward loop: one evaluation after the other, alone."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import RunConfig
from bigain.engine import build
from bigain.launch.compose import compose_config
from bigain.tasks.batches import keyed_noise
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")
PROTOCOL = StagedProtocol((1, 2), (3, 1))
MERGING = ("ratio=0.5",)
OPERATORS: dict[str, tuple[str, ...]] = {
    "none": (),
    **dict.fromkeys(("tome", "lgtm", "abm", "cached", "sito", "toma"), MERGING),
    **dict.fromkeys(("todo", "avg_pool"), ("factor=2",)),
    "ie_kvd": ("factor=2", "alpha=0.9"),
    "kv_select": ("sparsity=0.5",),
    "tome draws=per_sample": MERGING,
}
HYBRIDS = ("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec")
CASES = [
    *[(backbone, name) for backbone in ("mini_unet", "mini_dit") for name in OPERATORS],
    *[("mini_unet", name) for name in HYBRIDS],
]


def config_of(backbone: str, operator: str) -> RunConfig:
    name, *further = operator.split()
    settings = [f"operator.{each}" for each in (*OPERATORS.get(operator, ()), *further)]
    return compose_config([f"backbone={backbone}", f"operator={name}", *settings])


@torch.inference_mode()
def looped(backbone: Backbone, image_id: int, latents: Tensor) -> tuple[int, np.ndarray]:
    """Prediction and errors (trials, classes), each class and trial in a forward of its own."""
    stages = zip(PROTOCOL.stages(), PROTOCOL.keep_list, strict=True)
    grid = [(t, keep) for timesteps, keep in stages for t in timesteps]
    errors = np.full((len(grid), backbone.num_classes), math.nan)
    alive = list(range(backbone.num_classes))
    for row, (t, keep) in enumerate(grid):
        noise = keyed_noise(0, "classification", image_id, t, shape=tuple(latents.shape))
        abar = float(backbone.schedule.alphas_cumprod[t])
        noisy = math.sqrt(abar) * latents + math.sqrt(1 - abar) * noise
        for label in alive:
            predicted = backbone.predict_noise(noisy, torch.tensor([t]), torch.tensor([label]))
            errors[row, label] = float((predicted - noise).double().square().mean())
        if row + 1 == len(grid) or grid[row + 1][1] != keep:
            means = np.nanmean(errors, axis=0)
            alive = sorted(sorted(alive, key=lambda c: means[c])[:keep])
    return alive[0], errors


@pytest.mark.parametrize(("backbone_name", "operator"), CASES)
def test_predictions_are_equal_and_errors_agree_to_rounding(
    backbone_name: str, operator: str
) -> None:
    config = config_of(backbone_name, operator)
    backbone = build.build_backbone(config.backbone, CPU, config.dtype)
    dataset = build.build_dataset(config.dataset)
    images = [(dataset[i].image_id, backbone.encode(dataset[i].image)) for i in range(2)]
    classifier = build.build_classifier(config, backbone, PROTOCOL, CPU)
    with build.build_compression(config, backbone.denoiser):
        found = list(classifier.classify(images))
        for (image_id, latents), result in zip(images, found, strict=True):
            prediction, errors = looped(backbone, image_id, latents)
            assert result.prediction == prediction
            np.testing.assert_allclose(result.errors.numpy(), errors, rtol=1e-5)
