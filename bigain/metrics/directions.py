"""Which direction of a metric is better; the one place that knows it."""

from collections.abc import Mapping

__all__ = ["HIGHER_IS_BETTER"]

HIGHER_IS_BETTER: Mapping[str, bool] = {
    **dict.fromkeys(("acc1", "acc1_to_none", "map_image", "map_class"), True),
    **dict.fromkeys(("margin_mean", "precision", "recall", "class_agreement"), True),
    **dict.fromkeys(("best_margin", "pairwise_auc", "acc1_first"), True),
    **dict.fromkeys(("eps_rise_equal", "eps_rise_low", "eps_rise_mid", "eps_rise_high"), False),
    **dict.fromkeys(("flops_saved_percent", "speedup", "acceleration_percent"), True),
    "images_per_s": True,
    "race_agreement": True,
    **dict.fromkeys(("evaluations", "race_spent"), False),
    **dict.fromkeys(("acc1_drop", "eps_error", "eps_error_rise", "failed_images"), False),
    **dict.fromkeys(("margin_variance", "margin_rho", "margin_bound"), False),
    **dict.fromkeys(("fid", "frechet_mini", "kid"), False),
    **dict.fromkeys(("flops_g", "time_ms_per_step"), False),
}
"""Metric -> whether more of it is better; metrics without a direction are not here."""
