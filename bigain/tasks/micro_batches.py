"""Evaluations in batches that fit the memory.

When the device runs out of memory, the batch is halved, for the rest of the run, and the same
evaluations are tried again.  No evaluation depends on what it shares a batch with, so this costs
time and changes no result.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import torch
from torch import Tensor

from bigain.errors import UserError

__all__ = ["MicroBatches"]

_LOG = logging.getLogger(__name__)


class MicroBatches:
    """Cuts work into batches of `size`, which halves whenever memory does not suffice.

    Args:
        size: Items per batch at first.
        setting: What messages call it.

    Attributes:
        size: Items per batch now.

    """

    def __init__(self, size: int, setting: str = "batch_size") -> None:
        self.size = size
        self._setting = setting
        self._warned = False

    def run(
        self, items: Tensor, evaluate: Callable[[Tensor], Tensor]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of some rows of `items` and what `evaluate` gives for them, until all are done.

        Raises:
            UserError: a single item does not fit the memory.

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
                "device with more, a smaller backbone, or dtype=float16"
            )
        self.size //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if not self._warned:
            self._warned = True
            message = (
                "out of memory: going on with at most %d evaluations at once (%s asks for more)"
            )
            _LOG.warning(message, self.size, self._setting)
