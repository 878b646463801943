"""Training batches as a pure function of (seed, step), so that training can resume exactly.

Only the training split is read: its first 55,000 images train, its last 5,000 validate.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bigain.backbones.mini import pad_and_standardise
from bigain.data import fashion_mnist
from bigain.errors import UserError

__all__ = ["TRAINING_IMAGES", "Batch", "TrainingData", "load_training_data"]

TRAINING_IMAGES = 55_000


@dataclass(frozen=True)
class Batch:
    """Images and noise (B, 1, 32, 32), timesteps (B,), labels (B,); dropped labels are null."""

    images: Tensor
    labels: Tensor
    timesteps: Tensor
    noise: Tensor


@dataclass(frozen=True)
class TrainingData:
    """The training split of Fashion-MNIST, standardised, in a training and a validation part."""

    images: Tensor
    labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor

    def batch(self, step: int, size: int, seed: int, class_dropout: float, null: int) -> Batch:
        """Batch number `step`: an epoch is one permutation, timesteps are stratified."""
        generator = _generator(seed, step)
        index = self._indices(step * size, size, seed)
        labels = self.labels[index]
        dropped = torch.rand(size, generator=generator) < class_dropout
        strata = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        return Batch(
            images=self.images[index],
            labels=torch.where(dropped, torch.full_like(labels, null), labels),
            timesteps=(strata * 1000).long().clamp(max=999),
            noise=torch.randn((size, 1, 32, 32), generator=generator),
        )

    def examples(self, step: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Images (size, 1, 32, 32) and labels (size,) of batch number `step` of a classifier."""
        index = self._indices(step * size, size, seed)
        return self.images[index], self.labels[index]

    def _indices(self, start: int, size: int, seed: int) -> Tensor:
        n = len(self.images)
        positions = torch.arange(start, start + size)
        parts = [
            torch.randperm(n, generator=_generator(seed, int(epoch)))[
                positions[positions // n == epoch] % n
            ]
            for epoch in torch.unique(positions // n)
        ]
        return torch.cat(parts)


def load_training_data(root: Path | None) -> TrainingData:
    """Read the training split.

    Raises:
        UserError: there is no data; the message names both ways to get it.

    """
    found = fashion_mnist.find_root(root)
    if found is None:
        raise UserError(
            f"training.data_root={root}: no Fashion-MNIST found; install Debian's package "
            "dataset-fashion-mnist or download it with torchvision.datasets.FashionMNIST"
        )
    raw, labels = fashion_mnist.read_split(found, "train")
    images = torch.from_numpy(pad_and_standardise(raw))
    targets = torch.from_numpy(labels.astype("int64"))
    return TrainingData(
        images=images[:TRAINING_IMAGES],
        labels=targets[:TRAINING_IMAGES],
        validation_images=images[TRAINING_IMAGES:],
        validation_labels=targets[TRAINING_IMAGES:],
    )


def _generator(seed: int, index: int) -> torch.Generator:
    """Generator number `index` of `seed`: of batch `index`, and of the permutation of an epoch.

    torch's CPU generator uses only the lower 32 bits of its seed, so both numbers must be in them.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + index) % 2**32)
