"""`operator.plan=shared` in real runs: one plan for all classes, whatever batch and shards are."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.config import ClassificationConfig, RunConfig
from bigain.engine import build
from bigain.engine.run import run
from bigain.launch.compose import compose_config
from bigain.runs.samples import read_samples
from bigain.tasks.batches import keyed_noise
from bigain.tasks.classifier import Classification
from bigain.tasks.protocol import StagedProtocol

CPU = torch.device("cpu")
BACKBONES = ["mini_unet", "mini_dit"]
OPERATORS = ["lgtm", "tome", "cached", "kv_select"]
SHORT = ["task.trial_list=[2,4]", "task.keep_list=[3,1]"]


def composed(backbone: str | list[str], operator: str, *further: str) -> RunConfig:
    named = [f"backbone={backbone}"] if isinstance(backbone, str) else backbone
    common = [*named, f"operator={operator}", "operator.plan=shared", *SHORT]
    return compose_config([*common, "dataset.limit=3", *further])


def classify(config: RunConfig, positions: list[int]) -> dict[int, Classification]:
    backbone = build.build_backbone(config.backbone, CPU, config.dtype)
    dataset = build.build_dataset(config.dataset)
    backbone.condition_on(dataset)
    task = config.task_as(ClassificationConfig)
    protocol = StagedProtocol(task.trial_list, task.keep_list)
    classifier = build.build_classifier(config, backbone, protocol, CPU)
    images = [(dataset[i].image_id, backbone.encode(dataset[i].image)) for i in positions]
    with build.build_compression(config, backbone.denoiser):
        found = list(classifier.classify(images))
    return {image_id: each for (image_id, _), each in zip(images, found, strict=True)}


@torch.inference_mode()
def looped(backbone: Backbone, image_id: int, latents: Tensor) -> tuple[int, np.ndarray]:
    """Prediction and errors (trials, classes); all classes left of a trial are one forward."""
    errors = np.full((4, backbone.num_classes), math.nan)
    alive = list(range(backbone.num_classes))
    protocol = StagedProtocol((2, 4), (3, 1))
    for row, t in enumerate(t for stage in protocol.stages() for t in stage):
        if row == 2:
            means = errors[:2].mean(axis=0)
            alive = sorted(sorted(alive, key=lambda label: means[label])[:3])
        noise = keyed_noise(0, "classification", image_id, t, shape=tuple(latents.shape))
        abar = float(backbone.schedule.alphas_cumprod[t])
        noisy = (math.sqrt(abar) * latents + math.sqrt(1 - abar) * noise).expand(
            len(alive), -1, -1, -1
        )
        times = torch.full((len(alive),), t)
        predicted = backbone.predict_noise(noisy, times, torch.tensor(alive))
        errors[row, alive] = (predicted - noise).double().square().flatten(1).mean(dim=1)
    return min(alive, key=lambda label: float(errors[:, label].mean())), errors


# Of sd20, with prompts, a batch has two of the first trials: 74 rows.
@pytest.mark.parametrize(
    ("backbone_name", "size"), [*((name, 25) for name in BACKBONES), ("sd20", 80)]
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_classifier_is_a_loop_over_trials(
    named_backbone: Callable[[str], list[str]], backbone_name: str, size: int, operator: str
) -> None:
    """Without packing, sharing, or anything that says which rows belong together."""
    named = named_backbone(backbone_name)
    config = composed(named, operator, f"batch_size={size}")
    found = classify(config, [0, 1])
    backbone = build.build_backbone(config.backbone, CPU, config.dtype)
    dataset = build.build_dataset(config.dataset)
    backbone.condition_on(dataset)
    each = classify(composed(named, operator, "operator.plan=each_class"), [0, 1])
    with build.build_compression(config, backbone.denoiser):
        for sample in (dataset[0], dataset[1]):
            prediction, expected = looped(backbone, sample.image_id, backbone.encode(sample.image))
            result = found[sample.image_id]
            assert result.prediction == prediction
            errors = result.errors.numpy()
            np.testing.assert_allclose(errors, expected, rtol=1e-5)
            assert not np.allclose(errors[:2], each[sample.image_id].errors[:2], rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_batch_size_and_order_change_nothing(backbone: str) -> None:
    reference = classify(composed(backbone, "lgtm", "batch_size=10"), [0, 1, 2])
    for size, order in ((20, [2, 0, 1]), (37, [1, 2, 0])):
        found = classify(composed(backbone, "lgtm", f"batch_size={size}"), order)
        for image_id, result in reference.items():
            assert found[image_id].prediction == result.prediction
            torch.testing.assert_close(
                found[image_id].errors, result.errors, rtol=0, atol=1e-5, equal_nan=True
            )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_shards_fill_one_run_that_equals_the_whole(tmp_path: Path, backbone: str) -> None:
    def config(name: str, *overrides: str) -> RunConfig:
        return composed(backbone, "lgtm", f"paths.results={tmp_path / name}", *overrides)

    whole = run(config("whole"))
    for i in (1, 0):
        run(config("sharded", f"shard.index={i}", "shard.count=2"))
    sharded = tmp_path / "sharded" / "runs" / whole.run_id
    for name in ("samples.csv", "metrics.csv"):
        assert (sharded / name).read_bytes() == (whole.folder / name).read_bytes()
    assert len(read_samples(whole.folder)) == 3


@pytest.mark.parametrize("backbone_name", BACKBONES)
def test_generation_has_one_plan_for_both_halves_of_guidance(backbone_name: str) -> None:
    def latents(plan: str, images: int) -> Tensor:
        settings = [f"operator.plan={plan}", f"task.images_per_forward={images}"]
        common = [f"backbone={backbone_name}", "operator=lgtm", "task=generation", "task.steps=3"]
        config = compose_config([*common, *settings])
        backbone = build.build_backbone(config.backbone, CPU, config.dtype)
        sampler = build.build_sampler(config, backbone, CPU)
        with build.build_compression(config, backbone.denoiser):
            return sampler.sample(torch.arange(3), torch.tensor([4, 7, 2]))

    shared = latents("shared", 1)
    # Rounding of another batch grows with the steps; another plan changes far more.
    rounding = (latents("shared", 2) - shared).abs().max()
    other_plan = (latents("each_class", 1) - shared).abs().max()
    assert rounding < 1e-3
    assert other_plan > 20 * rounding
