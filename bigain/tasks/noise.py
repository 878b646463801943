"""Noise that depends on what it is for, not on when it is drawn.

A global random stream gives every method, batch size and shard another noise, and turns paired
comparisons into unpaired ones.  Here each tensor comes from its own counter-based generator
(Philox 4x64), keyed by the run's seed and the names of what it belongs to.
"""

import hashlib

import numpy as np
import torch
from torch import Tensor

__all__ = ["keyed_noise"]


def keyed_noise(seed: int, *key: str | int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of `shape`, fp32, a pure function of (seed, key, shape).

    Args:
        seed: The run's seed.
        key: What the noise is for, e.g. ("classification", image_id, timestep).
        shape: Shape of the noise.

    """
    digest = hashlib.sha256(repr((seed, *key)).encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
