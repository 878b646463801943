"""Metrics of generated images: distance to real images, precision, recall, class agreement.

Every record also gets numbers of its own image.  `frechet_value` is the share of the image in the
Frechet distance: its mean over images is the distance, and for two runs with the same noise its
differences are paired.  With the mini extractor a record also has the predicted class.

The features are part of the evaluation where they are few, so that its metrics can be computed
again from what is published (`bigain.runs.features`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bigain.features.base import Extractor, Images, extract
from bigain.features.reference import Reference
from bigain.metrics import Metric, frechet_with_interval, generation_metrics
from bigain.runs.features import Features
from bigain.runs.files import Evaluation

__all__ = ["Classify", "GenerationEvaluator"]

Classify = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]
"""Features (n, d) -> class of each image, (n,)."""

_FEW = 64
"""Features of an image that are kept, in 256 bytes; Inception's would be 400 MB for 50,000."""


@dataclass(frozen=True)
class GenerationEvaluator:
    """Compares generated images with a reference.

    Attributes:
        extractor: Images to features.
        reference: Returns the features of the real images; the first call computes them.
        content: Hash of the real images, such as their dataset's `content_hash`.
        classify: The classifier of the features; None if it does not know the classes of the run.
        seed: Seed of KID's subsets.
        workers: Threads that decode images ahead.
        progress: Show a progress bar on stderr.

    """

    extractor: Extractor
    reference: Callable[[], Reference]
    content: str = ""
    classify: Classify | None = None
    seed: int = 0
    workers: int = 0
    progress: bool = False

    def load_reference(self) -> Reference:
        """The reference.  Raises UserError if a real image cannot be read."""
        return self.reference()

    def evaluate(self, images: Images, records: Sequence[Mapping[str, Any]]) -> Evaluation:
        """Metrics of `images`, and their `records`, which have the same order, with new columns.

        Warns:
            FewImagesWarning: Fewer images than features.

        Raises:
            UserError: An image is missing or its size differs from the first one's, there are
                fewer than two images, or the reference has other features.

        """
        features = extract(self.extractor, images, self.workers, progress=self.progress)
        reference = self.reference()
        distance = frechet_with_interval(features, reference.moments)
        metrics = generation_metrics(
            self.extractor.metric,
            features,
            reference.moments,
            reference.features,
            self.seed,
            distance=distance,
        )
        values = (distance.value + distance.influences).tolist()
        measured = [
            {**record, "frechet_value": value}
            for record, value in zip(records, values, strict=True)
        ]
        kept = _kept(records, features, reference)
        if self.classify is None:
            return Evaluation(measured, metrics, kept)
        measured = _with_predictions(measured, self.classify(features))
        agreed = sum(bool(record["correct"]) for record in measured)
        agreement = Metric.of_share("class_agreement", agreed, len(measured))
        return Evaluation(measured, [*metrics, agreement], kept)


def _kept(
    records: Sequence[Mapping[str, Any]], features: npt.NDArray[np.float32], reference: Reference
) -> Features | None:
    """What the metrics follow from; None where it is not kept, or the reference has no features."""
    if reference.features is None or features.shape[1] > _FEW:
        return None
    image_ids = np.array([record["image_id"] for record in records], np.int64)
    return Features(image_ids, features, reference.features)


def _with_predictions(
    records: Sequence[Mapping[str, Any]], predictions: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    pairs = zip(records, predictions.tolist(), strict=True)
    return [{**r, "prediction": p, "correct": p == r["label"]} for r, p in pairs]
