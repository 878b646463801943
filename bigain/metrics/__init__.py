"""Numbers with their uncertainty: accuracies, precisions, noise errors, margins, pairs.

All statistics are computed in float64 from one row per image; images are the sampling unit.
"""

from bigain.metrics.classification import Metric, classification_metrics, image_errors
from bigain.metrics.efficiency import efficiency_metrics
from bigain.metrics.intervals import mean_interval, wilson
from bigain.metrics.margins import cantelli_bound, margin_ratio
from bigain.metrics.paired import PairedResult, paired_accuracy, paired_difference, relative_rise
from bigain.metrics.ranking import average_precision, class_ranks, mean_class_precision

__all__ = [
    "Metric",
    "PairedResult",
    "average_precision",
    "cantelli_bound",
    "class_ranks",
    "classification_metrics",
    "efficiency_metrics",
    "image_errors",
    "margin_ratio",
    "mean_class_precision",
    "mean_interval",
    "paired_accuracy",
    "paired_difference",
    "relative_rise",
    "wilson",
]
