"""From grey bytes to what the mini backbones see, and back."""

import numpy as np
import numpy.typing as npt

__all__ = ["MEAN", "STD", "crop_and_quantise", "pad_and_standardise"]

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


def crop_and_quantise(images: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(n, 1, 32, 32) standardised floats -> (n, 28, 28) bytes; undoes `pad_and_standardise`.

    What a model draws on the black border is cut off, values beyond black and white are clipped.
    """
    bytes_ = np.rint((images[:, 0, 2:-2, 2:-2].astype(np.float64) * STD + MEAN) * 255.0)
    return np.clip(bytes_, 0, 255).astype(np.uint8)
