"""Why no result depends on the batch size: noise drawn by key, and batches that shrink.

With one global random stream, every operator, batch size and shard would get other noise, and no
comparison would be paired.  Here each tensor comes from its own counter-based generator (Philox
4x64), whose key is the run's seed and what the noise is for.

When the device runs out of memory, the batch is halved for the rest of the run and tried again.  No
evaluation depends on the others in its batch, so this costs time and changes no result.  Operators
that draw once per forward are the exception: there the run ends instead.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from bigain.errors import UserError

__all__ = ["MicroBatches", "keyed_noise"]

_LOG = logging.getLogger(__name__)


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


class MicroBatches:
    """Cuts work into batches of `size`, which is halved whenever memory runs out.

    Args:
        size: Items per batch at first.
        setting: Name of the setting, for messages.
        fixed: Why batches must not shrink, for the message; None if they may.

    Attributes:
        size: Items per batch now.

    """

    def __init__(self, size: int, setting: str = "batch_size", *, fixed: str | None = None) -> None:
        self.size = size
        self._setting = setting
        self._fixed = fixed
        self._warned = False

    def run(
        self, items: Tensor, evaluate: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Evaluate all `items` in batches, yielding each batch and its result in order.

        Raises:
            UserError: a single item does not fit the memory, or batches are `fixed`.

        """
        done = 0
        while done < len(items):
            chunk = items[done : done + self.size]
            result = None
            with suppress(torch.OutOfMemoryError):
                result = evaluate(chunk)
            # After the `with`: the exception would keep the failed forward's tensors alive.
            if result is None:
                self._halve()
                continue
            yield chunk, result
            done += len(chunk)

    def _halve(self) -> None:
        if self.size == 1:
            raise UserError(
                f"{self._setting}=1: one evaluation does not fit the device's memory; allowed: a "
                "device with more memory, a smaller backbone, or dtype=float16"
            )
        if self._fixed is not None:
            raise UserError(
                f"{self._setting}={self.size}: does not fit the device's memory; allowed: a "
                f"smaller number ({self._fixed})"
            )
        self.size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not self._warned:
            self._warned = True
            message = "out of memory: continuing with at most %d evaluations at once (%s is larger)"
            _LOG.warning(message, self.size, self._setting)
