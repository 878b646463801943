"""The errors that a race is calibrated with: all trials of some classes, without labels.

The images are outside the evaluation, and the noise is that of the runs: backbone, operator, loss,
grid and seed are theirs.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.data.base import Dataset
from bigain.data.images import UnreadableImage
from bigain.errors import UserError
from bigain.tasks.classifier import DiffusionClassifier
from bigain.tasks.protocol import Decision, Round
from bigain.tasks.racing import grid_of

__all__ = ["FullGrid", "calibration_errors"]


@dataclass(frozen=True)
class FullGrid:
    """All trials of a keyed choice of classes: an `Allocation`.

    Attributes:
        trials: Number of trials of the grid.
        classes: Number of classes of an image; all, if there are fewer.
        seed: The key of the choice, with the image.

    """

    trials: int
    classes: int
    seed: int

    @property
    def timesteps(self) -> tuple[int, ...]:
        """Timestep of each trial, ascending."""
        return grid_of(self.trials)

    @property
    def first_stage(self) -> int:
        """All trials."""
        return self.trials

    def rounds(self, image_id: int, errors: Tensor) -> Generator[Round, None, Decision]:
        """One round; the decision is about the chosen classes only."""
        drawn = sorted(range(errors.shape[1]), key=lambda c: self._draw(image_id, c))
        chosen = tuple(sorted(drawn[: self.classes]))
        yield Round(range(self.trials), chosen)
        sums = errors.double().sum(dim=0)
        return Decision(chosen[int(sums[list(chosen)].argmin())], sums)

    def _draw(self, image_id: int, label: int) -> bytes:
        key = (self.seed, "calibration", image_id, label)
        return hashlib.sha256(repr(key).encode()).digest()


def calibration_errors(
    classifier: DiffusionClassifier,
    backbone: Backbone,
    dataset: Dataset,
    positions: Iterable[int],
) -> Iterator[tuple[int, Tensor]]:
    """Image id and errors, shape (trials, classes of the image), of each image, in this order.

    Args:
        classifier: Under `FullGrid`.
        backbone: What it classifies with.
        dataset: The images.
        positions: Those to take.

    Raises:
        UserError: An image cannot be read.

    """
    ids: list[int] = []

    def latents() -> Iterator[tuple[int, Tensor]]:
        for position in positions:
            sample = dataset[position]
            ids.append(sample.image_id)
            try:
                yield sample.image_id, backbone.encode(sample.image)
            except UnreadableImage as error:
                raise UserError(f"{error}: no image to calibrate a race with") from error

    for number, result in enumerate(classifier.classify(latents())):
        taken = ~result.errors.isnan().any(dim=0)
        yield ids[number], result.errors[:, taken]
