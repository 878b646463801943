"""The classification task: one record per image, ready for the run store."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from bigain.backbones.base import Backbone
from bigain.data.base import Dataset
from bigain.tasks.classifier import Classification, DiffusionClassifier

__all__ = ["classify_images", "to_record"]


def classify_images(
    classifier: DiffusionClassifier,
    backbone: Backbone,
    dataset: Dataset,
    positions: Iterable[int],
) -> Iterator[dict[str, Any]]:
    """Classify the images at `positions` of `dataset`, yielding one record each."""
    for position in positions:
        started = time.perf_counter()
        sample = dataset[position]
        result = classifier.classify(sample.image_id, backbone.encode(sample.image))
        record = to_record(sample.image_id, sample.label, result)
        yield {**record, "seconds": round(time.perf_counter() - started, 4)}


def to_record(image_id: int, label: int, result: Classification) -> dict[str, Any]:
    """What is kept of one image.

    `true_errors` are the true class's errors at the first stage's timesteps, which all classes
    take under every operator: so they pair across operators even where the class is pruned later.
    `margin_mean` and `margin_variance` are the mean over distractors of mean and unbiased variance
    over those trials of D_s = l(x, c'; s) - l(x, c*; s) (Appendix A); the variance of a single
    trial is NaN.
    """
    first = result.errors[: result.first_stage].double()
    true_errors = first[:, label]
    distractors = torch.arange(first.shape[1]) != label
    differences = first[:, distractors] - true_errors[:, None]
    return {
        "image_id": image_id,
        "label": label,
        "prediction": result.prediction,
        "correct": result.prediction == label,
        "scores": result.scores.tolist(),
        "trials": result.trials.tolist(),
        "true_errors": true_errors.tolist(),
        "margin_mean": float(differences.mean()),
        "margin_variance": float(differences.var(dim=0, correction=1).mean()),
    }
