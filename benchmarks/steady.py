"""A classifier without end whose rows are counted: rates without the end of a run."""

from itertools import chain, cycle
from typing import Any, NamedTuple

import torch

from bigain.backbones.base import Backbone
from bigain.tasks.classifier import LOSSES, DiffusionClassifier
from bigain.tasks.packing import Packed, Separate
from bigain.tasks.protocol import StagedProtocol

__all__ = ["Steady", "Work"]


class Work(NamedTuple):
    """What is classified."""

    backbone: Backbone
    protocol: StagedProtocol
    images: list[tuple[int, torch.Tensor]]


class Steady:
    """A classifier that goes on where it stopped, with images that repeat.

    It begins with the first image at once.  Its code is compiled once, and no call has the end of a
    run.

    Args:
        work: What it classifies; nothing else may use the backbone.
        size: Its batch size.
        is_separate: Whether batches have evaluations of one image only.

    Attributes:
        rows: Rows that were computed at first and in each call.

    """

    def __init__(self, work: Work, size: int, *, is_separate: bool = False) -> None:
        classifier = DiffusionClassifier(
            _Counted(self, work.backbone),
            work.protocol,
            LOSSES["l2"],
            seed=0,
            batch_size=size,
            device=torch.device("cpu"),
            packing=Separate if is_separate else Packed,
        )
        self._count = len(work.images)
        self.rows = [0]
        results = classifier.classify(cycle(work.images))
        self._results = chain([next(results)], results)

    def __call__(self) -> list[int]:
        """Predictions of all images once more."""
        self.rows.append(0)
        return [next(self._results).prediction for _ in range(self._count)]


class _Counted:
    """A backbone that counts its rows."""

    def __init__(self, owner: Steady, backbone: Backbone) -> None:
        self._owner = owner
        self._backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def predict(self, *arguments: torch.Tensor) -> torch.Tensor:
        """See `Backbone`."""
        self._owner.rows[-1] += len(arguments[0])
        return self._backbone.predict(*arguments)
