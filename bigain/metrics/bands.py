r"""Errors by frequency: Appendix A.2 of the paper, measured.

r = eps - eps_theta(x_t, c, t) is an error map, shape (C, h, w).  In an orthonormal 2-D DCT basis
(type II, over the latents of each channel) its coefficients have the same sum of squares, so the
loss of Eq. 3 is a sum over frequencies (Eq. 15 with weights of 1).  The paper names no bounds of
low and high; here a band is a third of the largest radius of a frequency (u, v), u < h, v < w,

    sqrt((u / h)^2 + (v / w)^2) / max over (u, v),

and the loss of a band is what its coefficients add to the mean over elements:
l = l_low + l_mid + l_high.  So every mean of losses, and every difference of two, splits exactly.

For the true class c* and a wrong class c', the paired difference of a trial (Eq. 16, 17) is
D_k = l_k(c') - l_k(c*) in band k, with mean mu_k and variance sigma_k^2 (Eq. 18).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from bigain.metrics.intervals import mean_interval
from bigain.metrics.margins import Estimate

__all__ = ["ALL", "BANDS", "BandErrors", "band_estimates", "band_losses", "band_masks"]

Floats = NDArray[np.float64]

BANDS = ("low", "mid", "high")
ALL = "all"
"""All bands together."""


def band_masks(height: int, width: int) -> NDArray[np.bool_]:
    """Which coefficients of a height x width map a band has, shape (3, height, width)."""
    u, v = np.arange(height)[:, None], np.arange(width)
    squared = (u * width) ** 2 + (v * height) ** 2  # whole numbers, so that no bound is rounded
    top = squared.max()
    place = sum((9 * squared > third**2 * top).astype(int) for third in (1, 2))
    return np.asarray(place == np.arange(len(BANDS))[:, None, None])


def band_losses(maps: NDArray[np.floating]) -> Floats:
    """The mean over elements of the squares of maps (..., C, h, w), by band; shape (..., 3).

    Computed in fp64.
    """
    squares = dctn(maps.astype(np.float64), axes=(-2, -1), norm="ortho") ** 2
    masks = band_masks(*maps.shape[-2:])
    sums = np.einsum("...chw,bhw->...b", squares, masks.astype(np.float64))
    return np.asarray(sums / np.prod(maps.shape[-3:]))


@dataclass(frozen=True)
class BandErrors:
    """Losses of images under an operator, or without one; each has shape (images, trials, 3).

    Attributes:
        true: Of the true class.
        wrong: Of a wrong class, the same one with and without an operator.
        change: Of the change of the prediction under the true class, eps_theta with the operator
            minus eps_theta without one.

    """

    true: Floats
    wrong: Floats
    change: Floats

    def at(self, trial: int) -> "BandErrors":
        """Those of one trial."""
        here = slice(trial, trial + 1)
        return BandErrors(self.true[:, here], self.wrong[:, here], self.change[:, here])


def band_estimates(own: BandErrors, baseline: BandErrors) -> Mapping[tuple[str, str], Estimate]:
    """Quantities of an operator over the same images and trials as the baseline.

    Returns:
        (quantity, band) -> a ratio of two means over images.  `error`, `rise` (error minus the
        baseline's), `change`, `margin` (mu_k) and `margin_change` (mu_k minus the baseline's) are
        fractions of the baseline's loss of the true class, all bands together.
        `margin_variance` is sigma_k^2, the unbiased variance over the trials of an image, as a
        fraction of the baseline's sigma^2; what is in `all` and in no band is
        `margin_covariance`, the covariances that Eq. 19 takes for weak.  A single trial has
        neither.  The 95 % intervals are Student's, by the delta method.

    """
    margin, usual = own.wrong - own.true, baseline.wrong - baseline.true
    means = {
        "error": own.true,
        "rise": own.true - baseline.true,
        "change": own.change,
        "margin": margin,
        "margin_change": margin - usual,
    }
    level = baseline.true.sum(axis=2).mean(axis=1)
    found = {
        (quantity, band): _ratio(values.mean(axis=1), level)
        for quantity, losses in means.items()
        for band, values in _with_all(losses).items()
    }
    if margin.shape[1] > 1:
        level = usual.sum(axis=2).var(axis=1, ddof=1)
        parts = {band: each.var(axis=1, ddof=1) for band, each in _with_all(margin).items()}
        found |= {("margin_variance", band): _ratio(each, level) for band, each in parts.items()}
        rest = parts[ALL] - sum(parts[band] for band in BANDS)
        found["margin_covariance", ALL] = _ratio(rest, level)
    return found


def _with_all(losses: Floats) -> dict[str, Floats]:
    """Losses (images, trials, 3) by band, and their sum; each of shape (images, trials)."""
    return {**{band: losses[..., k] for k, band in enumerate(BANDS)}, ALL: losses.sum(axis=2)}


def _ratio(values: Floats, level: Floats) -> Estimate:
    """mean(values) / mean(level) over images; its error is that of values - ratio * level."""
    unit = level.mean()
    ratio = values.mean() / unit
    return Estimate(float(ratio), *mean_interval(ratio + (values - ratio * level) / unit))
