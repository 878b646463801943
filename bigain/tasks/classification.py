"""The classification task: one record per image, ready for the run store.

An image whose file cannot be read gets a record too: not correct, with nothing measured and the
reason under `failure`.  The run goes on, and its metrics count the image.
"""

import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.data.base import Dataset, Sample
from bigain.data.images import UnreadableImage
from bigain.errors import UserError
from bigain.metrics.ranking import average_precision, class_ranks
from bigain.tasks.classifier import Classification, DiffusionClassifier

__all__ = ["classify_images", "failed_record", "to_record"]


def classify_images(
    classifier: DiffusionClassifier,
    backbone: Backbone,
    dataset: Dataset,
    positions: Iterable[int],
) -> Iterator[dict[str, Any]]:
    """Classify the images at `positions` of `dataset`, yielding one record each.

    Raises:
        UserError: Backbone and dataset do not have the same number of classes.

    """
    if backbone.num_classes != len(dataset.class_names):
        raise UserError(
            f"dataset with {len(dataset.class_names)} classes: the backbone has "
            f"{backbone.num_classes} class conditions; allowed: one condition for each class"
        )
    for position in positions:
        started = time.perf_counter()
        sample = dataset[position]
        try:
            latents = backbone.encode(sample.image)
        except UnreadableImage as error:
            record = failed_record(sample, str(error))
        else:
            record = to_record(sample, classifier.classify(sample.image_id, latents))
        yield {**record, "seconds": round(time.perf_counter() - started, 4)}


def to_record(sample: Sample, result: Classification) -> dict[str, Any]:
    """What is kept of one image.

    With any number of labels (`sample.label` is None) the prediction is correct if it is one of
    them, there are `labels` and `average_precision` (Eq. 26), the errors of the true class are
    means over the true classes, and without a label they are an empty list and the margins NaN.

    `true_errors` are the true class's errors at the first stage's timesteps, which all classes
    take under every operator: so they pair across operators even where the class is pruned later.
    `margin_mean` and `margin_variance` are the mean over distractors of mean and unbiased variance
    over those trials of D_s = l(x, c'; s) - l(x, c*; s) (Appendix A); the variance of a single
    trial is NaN.
    """
    first = result.errors[: result.first_stage].double()
    labels = list(sample.labels)
    true_errors = first[:, labels].mean(dim=1)
    distractors = [c for c in range(first.shape[1]) if c not in sample.labels]
    differences = first[:, distractors] - true_errors[:, None]
    scores = result.scores
    return {
        **_identity(sample),
        "prediction": result.prediction,
        "correct": result.prediction in labels,
        **_precision(sample, scores, result.prediction),
        "scores": scores.tolist(),
        "trials": result.trials.tolist(),
        "true_errors": true_errors.tolist() if labels else [],
        "margin_mean": float(differences.mean()),
        "margin_variance": _variance(differences),
    }


def _variance(differences: Tensor) -> float:
    """Mean over columns of the unbiased variance over rows, which a single row does not have."""
    return float(differences.var(dim=0, correction=1).mean()) if len(differences) > 1 else math.nan


def failed_record(sample: Sample, reason: str) -> dict[str, Any]:
    """The record of an image that could not be read: wrong, and nothing measured.

    Of several labels its `average_precision` is 0, the limit of being ranked last; NaN without one.
    """
    precision = {"average_precision": 0.0 if sample.labels else math.nan}
    return {
        **_identity(sample),
        "prediction": None,
        "correct": False,
        **(precision if sample.label is None else {}),
        **dict.fromkeys(("scores", "trials", "true_errors", "margin_mean", "margin_variance")),
        "failure": reason,
    }


def _identity(sample: Sample) -> dict[str, Any]:
    """Image id and label; `labels` only where there may be any number of them."""
    several = {"labels": list(sample.labels)} if sample.label is None else {}
    return {"image_id": sample.image_id, "label": sample.label, **several}


def _precision(sample: Sample, scores: Tensor, prediction: int) -> dict[str, float]:
    if sample.label is not None:
        return {}
    ranks = class_ranks(scores[None].numpy(), [prediction])[0]
    return {"average_precision": average_precision(ranks[list(sample.labels)])}
