"""Metrics of generated images: their distance to real ones, precision, recall, class agreement.

Every record also gets the numbers of its own image.  `frechet_value` is the image's part in the
Frechet distance: its mean over images is the distance, and its difference between two runs of the
same noise is paired.  With the mini extractor there is also the class that its classifier predicts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bigain.features.base import Extractor, Images, extract
from bigain.features.reference import Reference
from bigain.metrics import Metric, frechet_with_interval, generation_metrics, wilson
from bigain.runs.session import Evaluation

__all__ = ["Classify", "GenerationEvaluator"]

Classify = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]
"""Features (n, d) -> class of each image, (n,)."""


@dataclass(frozen=True)
class GenerationEvaluator:
    """Compares generated images with a reference.

    Attributes:
        extractor: Images to features.
        reference: Returns the features of the real images; computed at the first call.
        content: Hash that identifies the real images, as their dataset's `content_hash`.
        classify: The classifier behind the features, if it knows the classes of the run.
        seed: Seed of KID's subsets.
        workers: Threads that decode images ahead.
        progress: Show a bar on stderr.

    """

    extractor: Extractor
    reference: Callable[[], Reference]
    content: str = ""
    classify: Classify | None = None
    seed: int = 0
    workers: int = 0
    progress: bool = False

    def load_reference(self) -> Reference:
        """The reference; a real image that cannot be read raises UserError here."""
        return self.reference()

    def evaluate(self, images: Images, records: Sequence[Mapping[str, Any]]) -> Evaluation:
        """Measure `images`, which `records` describe in the same order.

        Warns:
            FewImagesWarning: Fewer images than features.

        Raises:
            UserError: An image is gone or of another size than the first, there are fewer than
                two, or the reference is of other features.

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
        if self.classify is None:
            return Evaluation(measured, metrics)
        measured = _recognised(measured, self.classify(features))
        return Evaluation(measured, [*metrics, _agreement(measured)])


def _recognised(
    records: Sequence[Mapping[str, Any]], predictions: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    pairs = zip(records, predictions.tolist(), strict=True)
    return [{**r, "prediction": p, "correct": p == r["label"]} for r, p in pairs]


def _agreement(records: Sequence[Mapping[str, Any]]) -> Metric:
    """Share of images that the classifier assigns to their class, in percent, Wilson interval."""
    agreed, n = sum(bool(record["correct"]) for record in records), len(records)
    low, high = wilson(agreed, n)
    return Metric("class_agreement", 100 * agreed / n, n, 100 * low, 100 * high, "percent")
