"""From grey bytes to what the mini backbones see."""

import numpy as np
import numpy.typing as npt

__all__ = ["MEAN", "STD", "pad_and_standardise"]

MEAN = 0.2190
STD = 0.3318


def pad_and_standardise(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(n, 28, 28) bytes -> (n, 1, 32, 32) floats of about zero mean and unit variance.

    Two black pixels are added on each side; mean and standard deviation are those of the padded
    training split of Fashion-MNIST.
    """
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    scaled = padded[:, None].astype(np.float32) / 255.0
    return ((scaled - MEAN) / STD).astype(np.float32)
