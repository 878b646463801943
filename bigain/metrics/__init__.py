"""Accuracies, errors, margins and distances with their 95 % intervals.

All statistics are computed in float64 from one row per image; images are the sampling unit.
"""

from bigain.metrics.classification import (
    cantelli_bound,
    classification_metrics,
    image_errors,
    image_precisions,
    margin_ratio,
)
from bigain.metrics.directions import HIGHER_IS_BETTER
from bigain.metrics.efficiency import efficiency_metrics
from bigain.metrics.feature_sets import KidResult, kernel_distance, precision_recall
from bigain.metrics.frechet import (
    FewImagesWarning,
    FrechetResult,
    frechet_distance,
    frechet_with_interval,
    warn_if_few,
)
from bigain.metrics.generation import generation_metrics
from bigain.metrics.intervals import (
    Metric,
    PairedResult,
    highest_share,
    holm,
    mean_interval,
    paired_accuracy,
    paired_bootstrap,
    paired_difference,
    relative_rise,
    wilson,
)
from bigain.metrics.moments import Moments, StreamedMoments, moments_of
from bigain.metrics.ranking import average_precision, class_ranks, mean_class_precision

__all__ = [
    "HIGHER_IS_BETTER",
    "FewImagesWarning",
    "FrechetResult",
    "KidResult",
    "Metric",
    "Moments",
    "PairedResult",
    "StreamedMoments",
    "average_precision",
    "cantelli_bound",
    "class_ranks",
    "classification_metrics",
    "efficiency_metrics",
    "frechet_distance",
    "frechet_with_interval",
    "generation_metrics",
    "highest_share",
    "holm",
    "image_errors",
    "image_precisions",
    "kernel_distance",
    "margin_ratio",
    "mean_class_precision",
    "mean_interval",
    "moments_of",
    "paired_accuracy",
    "paired_bootstrap",
    "paired_difference",
    "precision_recall",
    "relative_rise",
    "warn_if_few",
    "wilson",
]
