"""Metrics of a generated set: Frechet distance, KID, precision and recall.

The Frechet distance is called `fid` only for Inception's features.  Those of the small classifier
give `frechet_mini`, another number on another scale.
"""

import numpy as np
from numpy.typing import ArrayLike

from bigain.metrics.feature_sets import NEIGHBOURS, kernel_distance, precision_recall
from bigain.metrics.frechet import FrechetResult, frechet_with_interval
from bigain.metrics.intervals import Metric
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
        name: Name of the Frechet distance, the extractor's `fid` or `frechet_mini`.
        features: Features of the generated images, shape (n, d).
        reference: Moments of the reference images.
        reference_features: Their features, shape (m, d).  Without them (published statistics have
            none), or with three images or fewer on a side, only the Frechet distance is returned.
        seed: Seed of KID's subsets.
        distance: The distance of `features` from `reference`, if already computed.

    Warns:
        FewImagesWarning: Fewer images than features.

    Raises:
        UserError: Fewer than two images, a feature that is not finite, or another d.

    """
    distance = distance or frechet_with_interval(features, reference)
    low, high = distance.ci_low, distance.ci_high
    metrics = [Metric(name, distance.value, distance.n, low, high, "feature^2")]
    if reference_features is None:
        return metrics
    if min(len(np.asarray(side)) for side in (features, reference_features)) <= NEIGHBOURS:
        return metrics
    kid = kernel_distance(features, reference_features, seed=seed)
    inside = precision_recall(features, reference_features)
    return [
        *metrics,
        Metric("kid", kid.value, kid.n, kid.ci_low, kid.ci_high, "mmd^2"),
        Metric.exact("kid_error", kid.error, "mmd^2", kid.n),
        *(
            Metric.of_share(metric, int(each.sum()), len(each), "share")
            for metric, each in zip(("precision", "recall"), inside, strict=True)
        ),
    ]
