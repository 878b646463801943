"""The classifier against the straightforward loop: one evaluation after the other, alone.

In the loop nothing is shared between evaluations: no batch, no rows computed once for all classes,
no kept keys and values of prompts.  The operator is applied in both.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import RunConfig
from bigain.engine import build
from bigain.engine.calibrate_operator import calibrate_operator
from bigain.launch.compose import compose_config
from bigain.tasks.batches import keyed_noise
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")
PROTOCOL = StagedProtocol((1, 2), (3, 1))
MERGING = ("ratio=0.5",)
CALIBRATED = ("images=2",)
OPERATORS: dict[str, tuple[str, ...]] = {
    "none": (),
    **dict.fromkeys(("tome", "lgtm", "abm", "cached", "sito", "toma"), MERGING),
    **dict.fromkeys(("todo", "avg_pool"), ("factor=2",)),
    "ie_kvd": ("factor=2", "alpha=0.9"),
    "kv_select": ("sparsity=0.5",),
    "tome draws=per_sample": MERGING,
    "dip_go target=0.3": CALIBRATED,
    "mosaic_diff": CALIBRATED,
}
# Which a DiT, without decoder and cross-attentions, does not have.
OF_UNETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"), ()),
    "lgtm scope=self+cross+mlp": MERGING,
    "dip_go target=0.3 protect_cross_attention=false": CALIBRATED,
}
OF_FLOWS: dict[str, tuple[str, ...]] = {
    "none": (),
    **dict.fromkeys(("lgtm", "tome", "tome draws=per_sample"), MERGING),
}
OTHERS = ("sd15", "sd21", "sdxl", "dit_xl2_512")
FLOWS = ("sd3_medium", "sd35_medium")
CASES = [
    *[(name, operator) for name in ("mini_unet", "mini_dit", "sd20") for operator in OPERATORS],
    *[(name, operator) for name in ("mini_unet", "sd20") for operator in OF_UNETS],
    *[(name, operator) for name in OTHERS for operator in ("none", "tome", "lgtm")],
    *[(name, "todo") for name in ("sd15", "sdxl")],
    *[(name, operator) for name in FLOWS for operator in OF_FLOWS],
    ("flux_dev", "none"),  # which has no place for an operator
]


def config_of(backbone: list[str], operator: str, folder: Path) -> RunConfig:
    """The settings of a run; what its operator is made from is made now."""
    name, *further = operator.split()
    own = {**OPERATORS, **OF_UNETS, **OF_FLOWS}[operator]
    command = [
        *(*backbone, f"operator={name}", *(f"operator.{each}" for each in (*own, *further))),
        f"task.trial_list={list(PROTOCOL.trial_list)}",
        f"task.keep_list={list(PROTOCOL.keep_list)}",
        *("dataset.limit=2", f"paths.results={folder}", f"paths.cache={folder}"),
    ]
    config = compose_config(command)
    if not config.operator.is_calibrated:
        return config
    calibrate_operator(config)
    return compose_config(command)


@torch.inference_mode()
def looped(backbone: Backbone, image_id: int, latents: Tensor) -> tuple[int, np.ndarray]:
    """Prediction and errors (trials, classes), each class and trial in a forward of its own."""
    schedule = backbone.schedule
    stages = zip(PROTOCOL.stages(), PROTOCOL.keep_list, strict=True)
    grid = [(t, keep) for timesteps, keep in stages for t in timesteps]
    errors = np.full((len(grid), backbone.num_classes), math.nan)
    alive = list(range(backbone.num_classes))
    for row, (t, keep) in enumerate(grid):
        noise = keyed_noise(0, "classification", image_id, t, shape=tuple(latents.shape))
        abar, level = float(schedule.alphas_cumprod[t]), float(schedule.b[t])
        if schedule.is_straight:  # flow matching, whose score is the velocity
            noisy, target = (1 - level) * latents + level * noise, noise - latents
        else:
            noisy, target = math.sqrt(abar) * latents + math.sqrt(1 - abar) * noise, noise
        predict = backbone.predict if schedule.is_straight else backbone.predict_noise
        for label in alive:
            predicted = predict(noisy, torch.tensor([t]), torch.tensor([label]))
            errors[row, label] = float((predicted - target).double().square().mean())
        if row + 1 == len(grid) or grid[row + 1][1] != keep:
            means = np.nanmean(errors, axis=0)
            alive = sorted(sorted(alive, key=lambda c: means[c])[:keep])
    return alive[0], errors


@pytest.mark.parametrize(("backbone_name", "operator"), CASES)
def test_predictions_are_equal_and_errors_agree_to_rounding(
    named_backbone: Callable[[str], list[str]], tmp_path: Path, backbone_name: str, operator: str
) -> None:
    config = config_of(named_backbone(backbone_name), operator, tmp_path)
    backbone = build.build_backbone(config.backbone, CPU, config.dtype)
    dataset = build.build_dataset(config.dataset)
    backbone.condition_on(dataset)
    images = [(dataset[i].image_id, backbone.encode(dataset[i].image)) for i in range(2)]
    classifier = build.build_classifier(config, backbone, PROTOCOL, CPU)
    with build.build_compression(config, backbone.denoiser):
        found = list(classifier.classify(images))
        expected = [looped(backbone, *image) for image in images]
    for result, (prediction, errors) in zip(found, expected, strict=True):
        assert result.prediction == prediction
        np.testing.assert_allclose(result.errors.numpy(), errors, rtol=1e-5)
    # What was removed again acts nowhere, so an operator that changes nothing is seen.
    _, without = looped(backbone, *images[0])
    assert np.array_equal(expected[0][1], without, equal_nan=True) == (operator == "none")
