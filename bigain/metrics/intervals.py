"""95 % intervals of one run: Wilson's for a share, Student's t for a mean.

Wilson's interval holds the shares p with |k/n - p| <= z sqrt(p (1 - p) / n); unlike the interval
k/n -+ z sqrt(k (n - k) / n^3) it stays inside [0, 1] and has a width at k = 0 and k = n.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

__all__ = ["CONFIDENCE", "NORMAL_QUANTILE", "mean_interval", "t_quantile", "wilson"]

CONFIDENCE = 0.95
NORMAL_QUANTILE = float(special.ndtri(0.5 + CONFIDENCE / 2))
"""z = 1.96 of a two-sided 95 % interval."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Interval of a share of which `successes` of `n` were seen, in [0, 1].

    Raises:
        ValueError: Not 0 <= successes <= n, or n = 0.

    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes={successes}, n={n}: needs n >= 1 and 0 <= successes <= n")
    share, z2 = successes / n, NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    spread = share * (1 - share) / n + z2 / (4 * n * n)
    half = NORMAL_QUANTILE * math.sqrt(spread) / (1 + z2 / n)
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """Interval of the mean of independent values, shape (n,); NaN for fewer than two."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return math.nan, math.nan
    half = t_quantile(len(array)) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return float(array.mean()) - half, float(array.mean()) + half


def t_quantile(n: int) -> float:
    """Half width, in standard errors, of the interval of a mean of `n` >= 2 values."""
    return float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
