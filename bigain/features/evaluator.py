"""What the images of a finished generation are worth.

Beside the metrics of the set every record gets what is known of its image alone: its value in the
Frechet distance, whose mean over images is the distance and whose difference between two runs of
the same noise is paired; and with the mini extractor what its classifier takes the image for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bigain.features.base import Extractor, Images, extract
from bigain.features.reference import Reference
from bigain.metrics import Metric, frechet_with_interval, generation_metrics, wilson

__all__ = ["Classify", "Evaluation", "GenerationEvaluator"]

Classify = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.int64]]
"""Features (n, d) -> class of each image, (n,)."""


@dataclass(frozen=True)
class Evaluation:
    """Records with what is known of each image, and the metrics of all."""

    records: list[dict[str, Any]]
    metrics: list[Metric]


@dataclass(frozen=True)
class GenerationEvaluator:
    """Compares generated images with a reference.

    Attributes:
        extractor: Images to features.
        reference: Gives the reference; it is computed when it is first asked for.
        content: What tells the real images from others, as their dataset's `content_hash`.
        classify: The classifier behind the features, if it knows the classes of the run.
        seed: Of KID's subsets.
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
        judged = [
            {**record, "frechet_value": value}
            for record, value in zip(records, values, strict=True)
        ]
        if self.classify is None:
            return Evaluation(judged, metrics)
        judged = _recognised(judged, self.classify(features))
        return Evaluation(judged, [*metrics, _agreement(judged)])


def _recognised(
    records: Sequence[Mapping[str, Any]], predictions: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    pairs = zip(records, predictions.tolist(), strict=True)
    return [{**r, "prediction": p, "correct": p == r["label"]} for r, p in pairs]


def _agreement(records: Sequence[Mapping[str, Any]]) -> Metric:
    """Share of images that the classifier takes for what they should be, Wilson interval."""
    agreed, n = sum(bool(record["correct"]) for record in records), len(records)
    low, high = wilson(agreed, n)
    return Metric("class_agreement", 100 * agreed / n, n, 100 * low, 100 * high, "percent")
