"""The margin of the true class and what it promises (Appendix A).

D_s = l(x, c'; s) - l(x, c*; s) over S trials has mean mu and variance sigma^2.  If mu > 0, the
chance that the distractor c' still wins is at most rho / (rho + S) with rho = sigma^2 / mu^2
(Cantelli's inequality for the mean of S independent trials, Eq. 14).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigain.metrics.intervals import mean_interval

__all__ = ["cantelli_bound", "margin_ratio"]


def cantelli_bound(mean: ArrayLike, variance: ArrayLike, trials: ArrayLike) -> NDArray[np.float64]:
    """Upper bound of P(mean of D over `trials` trials <= 0), elementwise, in [0, 1].

    Args:
        mean: mu, any shape; where it is not positive the bound says nothing and is 1.
        variance: sigma^2 >= 0 of one trial, broadcastable.
        trials: S >= 1, broadcastable.

    """
    mu, var = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    squared = np.asarray(trials, np.float64) * mu**2
    with np.errstate(invalid="ignore", divide="ignore"):
        bound = var / (var + squared)
    return np.where(mu > 0, bound, np.where(np.isnan(mu), np.nan, 1.0))


def margin_ratio(means: ArrayLike, variances: ArrayLike) -> tuple[float, float, float]:
    """Mean of sigma^2 over squared mean of mu, over images, and the 95 % interval of this rho.

    With v = mean of sigma^2 and m = mean of mu, the delta method gives image i the influence
    (sigma_i^2 - v) / m^2 - 2 v (mu_i - m) / m^3.

    Args:
        means: mu of each image, shape (n,), n >= 1, no NaN.
        variances: sigma^2 of each image, shape (n,).

    """
    mu, var = np.asarray(means, np.float64), np.asarray(variances, np.float64)
    m, v = mu.mean(), var.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = v / m**2
        influence = (var - v) / m**2 - 2 * v * (mu - m) / m**3
    low, high = mean_interval(ratio + influence)
    return float(ratio), low, high
