r"""Statistics of single trials of the first stage, which resolve where accuracies do not.

l_ics is the error of class c in trial s of image i, at timestep t_s; c* is the true class.  All
classes take these trials, under every operator, with the same noise.

* Best-wrong margin, the primary endpoint (protocol 5): in the spread of the baseline,

      m_is = (min over wrong c of l_ics - l_ic*s) / sigma_t,   then the mean over the trials s.

  sigma_t is the standard deviation of the baseline's errors over the classes at t, averaged over
  its images.  Without it, low noise speaks for everything.
* Pairwise AUC: the share of wrong classes whose error in the trial is above that of the true class,
  ties count half; then the mean over the trials.
* Accuracy of the first stage: whether the class of the lowest mean error over its trials is true.
* Noise error: the error of the true class.  Raw: the mean over the trials, in which low noise
  weighs most.  With equal weights per timestep: the mean of l_ic*s / mu_t, where mu_t is the
  baseline's mean of l_ic*s at t; all trials, or those of a third of noise.

With several true classes the error of the true class is the mean over them, as in the records, and
the AUC is the mean over pairs.  Without a true class, or without a wrong one, there is no margin,
AUC or noise error, and the image is left out; in the accuracy it counts as wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bigain.metrics.intervals import Values

__all__ = ["THIRDS", "Scale", "Trials"]

Floats = NDArray[np.float64]

_STEPS = 1000
THIRDS: Mapping[str, tuple[float, float]] = {
    "low": (0, _STEPS / 3),
    "mid": (_STEPS / 3, 2 * _STEPS / 3),
    "high": (2 * _STEPS / 3, _STEPS),
}
"""Third of noise -> its timesteps, from and below."""


@dataclass(frozen=True)
class Scale:
    """What the errors of single trials are divided by, of the run without an operator.

    Attributes:
        spread: sigma_t of each trial, shape (trials,), > 0.
        level: mu_t of each trial, shape (trials,), > 0.

    """

    spread: Floats
    level: Floats


@dataclass(frozen=True)
class Trials:
    """The errors of a run in its first stage, of the images that have them.

    Attributes:
        image_ids: Shape (images,).
        timesteps: Of each trial, shape (trials,), in [0, 1000).
        errors: Shape (images, trials, classes), finite.
        truth: Whether a class is true, shape (images, classes).

    """

    image_ids: NDArray[np.int64]
    timesteps: NDArray[np.int64]
    errors: Floats
    truth: NDArray[np.bool_]

    @property
    def scale(self) -> Scale:
        """The scale that this run gives as the baseline of others."""
        spread = self.errors.std(axis=2).mean(axis=0)
        return Scale(spread, np.nanmean(self._true_errors(), axis=0))

    def margins(self, spread: Floats | None = None) -> pd.DataFrame:
        """Best-wrong margin of each image and trial, over `spread` (trials,) if it is given.

        Returns:
            One row per image with a true and a wrong class, by image id; one column per trial.

        """
        wrong = np.where(self.truth[:, None, :], np.inf, self.errors).min(axis=2)
        margins = wrong - self._true_errors()
        return self._frame(margins if spread is None else margins / spread)

    def mean_margins(self, scale: Scale) -> Values:
        """The primary endpoint of each image, in units of sigma_t."""
        return self.margins(scale.spread).mean(axis=1)

    def pairwise_auc(self) -> Values:
        """Share of (trial, wrong class) pairs of an image that the true class wins, in [0, 1]."""
        shares = np.full(self.errors.shape[:2], np.nan)
        for row, (errors, true) in enumerate(zip(self.errors, self.truth, strict=True)):
            if true.any() and not true.all():
                gaps = errors[:, None, ~true] - errors[:, true, None]
                shares[row] = ((gaps > 0) + 0.5 * (gaps == 0)).mean(axis=(1, 2))
        return self._frame(shares).mean(axis=1)

    def is_right(self) -> "pd.Series[bool]":
        """Whether the class of the lowest mean error is true, of all images; ties go to the first.

        The first stage alone decides, not the stages after it.
        """
        best = self.errors.mean(axis=1).argmin(axis=1)
        right = self.truth[np.arange(len(best)), best]
        return pd.Series(right, index=self._index(self.image_ids), dtype=bool)

    def is_right_alone(self) -> NDArray[np.bool_]:
        """Whether the class of the lowest error of a trial is true, shape (images, trials)."""
        best = self.errors.argmin(axis=2)
        return np.take_along_axis(self.truth, best, axis=1)

    def noise_errors_alone(self) -> Floats:
        """Error of the true class at each trial, mean over the images, shape (trials,)."""
        return np.asarray(np.nanmean(self._true_errors(), axis=0))

    def noise_errors(self, scale: Scale | None = None, third: str | None = None) -> Values:
        """Error of the true class, mean over the trials.

        Args:
            scale: Gives every timestep the same weight; None for raw errors.
            third: Trials of this third of noise alone, one of `THIRDS`; all if None.

        Returns:
            One value per image; NaN if no trial is in the third.

        """
        errors = self._true_errors() if scale is None else self._true_errors() / scale.level
        chosen = slice(None) if third is None else self._is_in(third)
        return self._frame(errors[:, chosen]).mean(axis=1)

    @property
    def thirds(self) -> list[str]:
        """The thirds of noise that have a trial."""
        return [name for name in THIRDS if self._is_in(name).any()]

    def _is_in(self, third: str) -> NDArray[np.bool_]:
        low, high = THIRDS[third]
        return (low <= self.timesteps) & (self.timesteps < high)

    def _true_errors(self) -> Floats:
        """Mean over the true classes, shape (images, trials); NaN without a true or wrong class."""
        count = self.truth.sum(axis=1)
        total = np.where(self.truth[:, None, :], self.errors, 0.0).sum(axis=2)
        is_known = (count > 0) & (count < self.truth.shape[1])
        means = total / np.maximum(count, 1)[:, None]
        return np.where(is_known[:, None], means, np.nan)

    def _frame(self, values: Floats) -> pd.DataFrame:
        """Rows of the images that have a number."""
        return pd.DataFrame(values, index=self._index(self.image_ids)).dropna()

    @staticmethod
    def _index(image_ids: NDArray[np.int64]) -> "pd.Index[Any]":
        return pd.Index(image_ids, name="image_id")
