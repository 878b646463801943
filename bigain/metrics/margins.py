r"""Appendix A measured: mean and variance of the paired differences, and Theorem 1's criterion.

D_is is the best-wrong margin of trial s of image i (`bigain.metrics.trials`), the paired difference
of Eq. 11 with the distractor that is hardest in the trial.  Over n images and S trials at fixed
timesteps, with a_i the mean of an image, b_s that of a trial and mu that of all (Eq. 12),

    sigma^2 = sum_is (D_is - a_i)^2 / (n (S - 1)),

the variance over the draws of an image, averaged over the images.  It has two parts:

    within  = sum_is (D_is - a_i - b_s + mu)^2 / ((n - 1) (S - 1)),
    between = sigma^2 - within.

`between` is the variance of the margins' common profile over timesteps.  All images and classes
share the timesteps, so it is no error of the estimator of Eq. 13.  `within` is what the noise adds
at a timestep, with what the profiles of the images differ by, because an image has one draw at each
timestep.  Both are unbiased, so `between` may be slightly below 0.

rho = sigma^2 / mu^2 enters Cantelli's bound (Eq. 14).  For an operator with mu', sigma'^2, and
delta_mu = mu - mu', delta_v = sigma^2 - sigma'^2 (Eq. 22), Theorem 1 says that, if mu, mu' > 0,
rho' < rho if and only if (Eq. 23)

    delta_v / sigma^2  >  2 delta_mu / mu - (delta_mu / mu)^2;

without the square it is sufficient (Eq. 24).  `gain` is the left side minus the right one.  The
criterion is evaluated for sigma^2 and for `within`.

Intervals: percentiles of 4,000 bootstrap draws of images, the same draws for both runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "criterion", "margin_parts"]

Floats = NDArray[np.float64]

_SEED = 20261129
_DRAWS, _AT_ONCE = 4_000, 500


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: NaN where it is not defined.
        ci_low: Lower end, NaN for fewer than two images.
        ci_high: Upper end.

    """

    value: float
    ci_low: float
    ci_high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is above or below zero, else 0."""
        return int(self.ci_low > 0) - int(self.ci_high < 0)


def margin_parts(margins: Floats) -> dict[str, Estimate]:
    """`mean`, `variance`, `between`, `within`, `ratio` (sigma^2/mu^2) and `ratio_within`.

    The ratios are NaN where mu is not positive.

    Args:
        margins: D of each image and trial, shape (n, S), n >= 1, S >= 2, finite.

    """
    return _bootstrap(len(margins), lambda weights: _parts(margins, weights))


def criterion(margins: Floats, baseline: Floats) -> dict[str, Estimate]:
    """Theorem 1 for an operator, over the same images and trials.

    Args:
        margins: D under the operator, shape (n, S), n >= 1, S >= 2, finite.
        baseline: D without it, same shape.

    Returns:
        `margin_cost` (delta_mu / mu), and for sigma^2, and with `_within` for the part within
        timesteps, `variance_saved` (delta_v / sigma^2), `gain` (Eq. 23) and `first_order` (Eq. 24).
        All are fractions of the baseline.  NaN where mu or mu' is not positive, so that the theorem
        says nothing; the ends of an interval are NaN if that is so in any bootstrap draw.

    """
    return _bootstrap(
        len(margins), lambda weights: _gains(_parts(margins, weights), _parts(baseline, weights))
    )


def _gains(own: Mapping[str, Floats], base: Mapping[str, Floats]) -> dict[str, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        is_covered = (own["mean"] > 0) & (base["mean"] > 0)
        cost = np.where(is_covered, 1 - own["mean"] / base["mean"], np.nan)
        found = {"margin_cost": cost}
        for name, part in {"": "variance", "_within": "within"}.items():
            saved = 1 - own[part] / base[part]
            found |= {
                f"variance_saved{name}": saved,
                f"gain{name}": saved - (2 * cost - cost**2),
                f"first_order{name}": saved - 2 * cost,
            }
    return found


def _parts(margins: Floats, weights: Floats) -> dict[str, Floats]:
    """The statistics for each row of `weights` (draws, n), which sum to n; shape (draws,)."""
    n = len(margins)
    shares = weights / n
    mean, variance = shares @ margins.mean(axis=1), shares @ margins.var(axis=1, ddof=1)
    profile = (shares @ margins).var(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        within = (variance - profile) * np.float64(n) / (n - 1)
        squared = np.where(mean > 0, mean, np.nan) ** 2
        return {
            "mean": mean,
            "variance": variance,
            "between": variance - within,
            "within": within,
            "ratio": variance / squared,
            "ratio_within": within / squared,
        }


def _bootstrap(n: int, statistics: Callable[[Floats], dict[str, Floats]]) -> dict[str, Estimate]:
    """The statistics of all images, with the percentiles of draws of images."""
    generator = np.random.Generator(np.random.Philox(key=_SEED))
    drawn = [
        statistics(generator.multinomial(n, np.full(n, 1 / n), size=_AT_ONCE).astype(np.float64))
        for _ in range(_DRAWS // _AT_ONCE if n > 1 else 0)
    ]
    found = {}
    for name, (value,) in statistics(np.ones((1, n))).items():
        draws = [each[name] for each in drawn]
        low, high = np.percentile(np.concatenate(draws), [2.5, 97.5]) if draws else (np.nan,) * 2
        found[name] = Estimate(float(value), float(low), float(high))
    return found
