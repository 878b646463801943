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

rho and the gain divide by mu, which can be near 0 where sigma is not.  So the criterion is tested
without that division.  With snr = mu / sigma, Eq. 23 reads, for mu, mu' > 0,

    snr_change = mu' / sigma' - mu / sigma  >  0.

If it is > 0 and mu > 0, then mu' > 0 as well, and rho' < rho.  If it is <= 0, the bound is not
tighter, whatever the signs: rho' >= rho, or mu' <= 0 and an operator without a bound.  So Theorem 1
needs two numbers, each above 0: mu of the baseline and snr_change.

Intervals: order statistics of 20,000 bootstrap draws of images, the same draws for both runs.  A
draw with mu <= 0 has the ratio +inf: the interval of rho is then the image of that of snr, without
an upper end where snr may be 0 or less (Fieller's set of one side).  A draw with mu > 0 >= mu' has
the gain -inf.  A draw with mu <= 0 has no gain, and counts as -inf for the lower end and as +inf
for the upper one.  An end is finite where the 95 % do not need such draws.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "criterion", "margin_parts"]

Floats = NDArray[np.float64]

_SEED = 20261129
_DRAWS, _AT_ONCE = 20_000, 500
_ENDS = 2.5, 97.5


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: NaN where it is not defined.
        ci_low: Lower end, -inf where there is none; NaN for fewer than two images, and if no draw
            in the interval is finite.
        ci_high: Upper end, inf where there is none.
        p: Two-sided, that the number is 0: twice the smaller share of draws on either side, at
            least 1/20,000; undefined draws are on both.  NaN for fewer than two images.

    """

    value: float
    ci_low: float
    ci_high: float
    p: float = math.nan

    @property
    def sign(self) -> int:
        """1 or -1 if the interval is above or below zero, else 0."""
        return int(self.ci_low > 0) - int(self.ci_high < 0)


def margin_parts(margins: Floats) -> dict[str, Estimate]:
    """`mean`, `variance`, `between`, `within`, `ratio` (sigma^2/mu^2), `snr` (mu/sigma).

    And `ratio_within`, `snr_within`.  The ratios are NaN where mu is not positive.

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
        `baseline_mean` (mu, the premise), `margin_cost` (delta_mu / mu), and for sigma^2, and with
        `_within` for the part within timesteps, `snr_change`, `variance_saved` (delta_v / sigma^2),
        `gain` (Eq. 23) and `first_order` (Eq. 24).  The last three and the cost are fractions of
        the baseline; cost and gains are NaN where mu is not positive, the gains also where mu' is
        not, so that the theorem says nothing.

    """
    return _bootstrap(
        len(margins), lambda weights: _gains(_parts(margins, weights), _parts(baseline, weights))
    )


def _gains(own: Mapping[str, Floats], base: Mapping[str, Floats]) -> dict[str, Floats]:
    with np.errstate(invalid="ignore", divide="ignore"):
        cost = np.where(base["mean"] > 0, 1 - own["mean"] / base["mean"], np.nan)
        found = {"baseline_mean": base["mean"], "margin_cost": cost}
        for name, part in {"": "variance", "_within": "within"}.items():
            saved = 1 - own[part] / base[part]
            found |= {
                f"snr_change{name}": own[f"snr{name}"] - base[f"snr{name}"],
                f"variance_saved{name}": saved,
                f"gain{name}": np.where(cost >= 1, -np.inf, saved - (2 * cost - cost**2)),
                f"first_order{name}": np.where(cost >= 1, -np.inf, saved - 2 * cost),
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
        found = {"mean": mean, "variance": variance, "between": variance - within, "within": within}
        for name, part in {"": variance, "_within": within}.items():
            found[f"ratio{name}"] = np.where(mean > 0, part / mean**2, np.inf)
            found[f"snr{name}"] = mean / np.sqrt(part)
    return found


def _bootstrap(n: int, statistics: Callable[[Floats], dict[str, Floats]]) -> dict[str, Estimate]:
    """The statistics of all images, with the order statistics of draws of images."""
    drawn = [statistics(weights) for weights in _draws(n)] if n > 1 else []
    found = {}
    for name, (value,) in statistics(np.ones((1, n))).items():
        known = float(value) if np.isfinite(value) else math.nan
        draws = np.concatenate([each[name] for each in drawn]) if drawn else np.empty(0)
        found[name] = Estimate(known, *_interval(draws), _p_value(draws))
    return found


@lru_cache(maxsize=1)
def _draws(n: int) -> tuple[Floats, ...]:
    """How often each draw has each image, shape (draws, n), in pieces."""
    generator = np.random.Generator(np.random.Philox(key=_SEED))
    shares, pieces = np.full(n, 1 / n), range(_DRAWS // _AT_ONCE)
    return tuple(generator.multinomial(n, shares, size=_AT_ONCE).astype(np.float64) for _ in pieces)


def _interval(draws: Floats) -> tuple[float, float]:
    """From draw to draw, outward: no arithmetic on infinities.  An undefined draw widens both."""
    if not len(draws):
        return math.nan, math.nan
    undefined = np.isnan(draws)
    low = float(np.percentile(np.where(undefined, -np.inf, draws), _ENDS[0], method="lower"))
    high = float(np.percentile(np.where(undefined, np.inf, draws), _ENDS[1], method="higher"))
    return (math.nan, math.nan) if low == math.inf or high == -math.inf else (low, high)


def _p_value(draws: Floats) -> float:
    if not len(draws):
        return math.nan
    share = min(float(np.mean(~(draws > 0))), float(np.mean(~(draws < 0))))
    return min(1.0, max(2 * share, 1 / len(draws)))
