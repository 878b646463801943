"""What a generation run is worth: Frechet distance, KID, precision and recall of one set.

The first is called `fid` only where the features are Inception's; those of the small classifier
give `frechet_mini`, another number on another scale.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.metrics.classification import Metric
from bigain.metrics.frechet import FrechetResult, frechet_with_interval
from bigain.metrics.intervals import wilson
from bigain.metrics.kid import kernel_distance
from bigain.metrics.manifold import NEIGHBOURS, precision_recall
from bigain.metrics.moments import Moments

__all__ = ["generation_metrics"]


def generation_metrics(
    name: str,
    features: ArrayLike,
    reference: Moments,
    reference_features: ArrayLike | None = None,
    seed: int = 0,
    distance: FrechetResult | None = None,
) -> list[Metric]:
    """`name`, kid, kid_error (its standard error), precision, recall, in this order.

    Args:
        name: Of the Frechet distance: `fid` or `frechet_mini`, as the extractor says.
        features: Of the generated images, shape (n, d).
        reference: Moments of the reference images.
        reference_features: Their features, shape (m, d); without them (published statistics hold
            none), or with three images or fewer on a side, there is the Frechet distance alone.
        seed: Of KID's subsets.
        distance: That of `features` from `reference`, where it is known already.

    Warns:
        FewImagesWarning: Fewer images than features.

    Raises:
        UserError: Fewer than two images, a feature that is not finite, or another d.

    """
    distance = distance or frechet_with_interval(features, reference)
    low, high = distance.ci_low, distance.ci_high
    metrics = [Metric(name, distance.value, distance.n, low, high, "feature^2")]
    if (
        reference_features is None
        or min(map(_length, (features, reference_features))) <= NEIGHBOURS
    ):
        return metrics
    kernel = kernel_distance(features, reference_features, seed=seed)
    inside = precision_recall(features, reference_features)
    shares = zip(("precision", "recall"), inside, strict=True)
    return [
        *metrics,
        Metric("kid", kernel.value, kernel.n, kernel.ci_low, kernel.ci_high, "mmd^2"),
        Metric("kid_error", kernel.error, kernel.n, math.nan, math.nan, "mmd^2"),
        *(_share(name, values) for name, values in shares),
    ]


def _length(rows: ArrayLike) -> int:
    return len(np.asarray(rows))


def _share(name: str, inside: NDArray[np.bool_]) -> Metric:
    low, high = wilson(int(inside.sum()), len(inside))
    return Metric(name, float(inside.mean()), len(inside), low, high, "share")
