"""The full protocol on more images: near ties of merging do not flip with the batch."""

from typing import Any

import numpy as np
import pytest
import torch

from bigain.devices import limited_threads
from bigain.engine import build
from bigain.engine.build_operator import build_operator
from bigain.launch.compose import compose_config
from bigain.patching.apply import apply
from bigain.tasks.classification import classify_images

pytestmark = pytest.mark.slow


def classify(overrides: list[str]) -> list[dict[str, Any]]:
    config = compose_config(overrides)
    with limited_threads(config.threads):
        backbone = build.build_backbone(config.backbone, torch.device("cpu"), config.dtype)
        dataset = build.build_dataset(config.dataset)
        classifier = build.build_classifier(config, backbone, torch.device("cpu"))
        with apply(backbone.denoiser, build_operator(config.operator), seed=config.seed):
            return list(classify_images(classifier, backbone, dataset, range(20)))


@pytest.mark.parametrize("backbone", ["mini_unet", "mini_dit"])
@pytest.mark.parametrize("operator", ["tome", "lgtm"])
def test_twenty_images_of_the_full_protocol(backbone: str, operator: str) -> None:
    common = [f"backbone={backbone}", f"operator={operator}", "operator.ratio=0.7"]
    first = classify([*common, "batch_size=7", "threads=1"])
    second = classify([*common, "batch_size=64", "threads=2"])
    for a, b in zip(first, second, strict=True):
        assert a["prediction"] == b["prediction"]
        assert a["trials"] == b["trials"]
        assert np.allclose(a["scores"], b["scores"], rtol=0, atol=1e-5)
