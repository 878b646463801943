"""Operators that act by the timestep of each sample, and are the result of a calibration.

A token operator plans anew in every forward.  These two kinds do not: what they leave out was
decided once, on images outside of every run, and is the same for all images and classes.

* `Calibrated`: the settings of such a method.  They name no module yet.
* `ByTimestep`: the result, which `bigain.apply` can run inside a model.
"""

from abc import abstractmethod
from collections.abc import Hashable, Mapping

from bigain.operators.base import Compression, Operator

__all__ = ["SPLITS", "ByTimestep", "Calibrated"]

SPLITS = ("evaluated", "training")
"""Which images of a dataset calibrate: the last of the split that runs evaluate, or those of the
training split."""


class Calibrated(Compression):
    """The settings of a method whose operator is the result of `bigain calibrate`."""

    def for_stage(self, stage: str) -> Operator | None:
        """None: it reduces no tokens."""
        del stage
        return None


class ByTimestep(Compression):
    """What each sample of a forward runs depends on its timestep alone."""

    def for_stage(self, stage: str) -> Operator | None:
        """None: it reduces no tokens."""
        del stage
        return None

    @property
    @abstractmethod
    def evaluations(self) -> Mapping[int, int]:
        """Timestep -> evaluations of an image there, which weigh the mean of the FLOPs."""

    @abstractmethod
    def pattern(self, timestep: float) -> Hashable:
        """Equal for timesteps at which the same is computed.

        Raises:
            UserError: it was not calibrated for this timestep.

        """
