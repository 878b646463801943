"""What a calibration of an operator has to work with, and what it makes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bigain.backbones.base import Backbone
from bigain.config import RunConfig
from bigain.data.base import Sample
from bigain.data.images import UnreadableImage
from bigain.errors import UserError
from bigain.runs.provenance import weights_of
from bigain.tasks.flops import FUSED_ATTENTION

__all__ = ["Made", "Material"]


@dataclass(frozen=True)
class Made:
    """The result of a calibration.

    Attributes:
        content: What the file says, as JSON data.
        tensors: What it holds beside that, by name; empty for a JSON file.
        computed: Images that were measured now, and not kept before.
        summary: What is printed, in a few words.

    """

    content: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    computed: int
    summary: str


@dataclass(frozen=True)
class Material:
    """The images of a calibration and the model that they go through.

    Attributes:
        config: Of the run.
        backbone: Conditioned on the classes of the dataset.
        samples: The images.
        batch_size: Most rows of a forward.

    """

    config: RunConfig
    backbone: Backbone
    samples: Sequence[Sample]
    batch_size: int

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def image_ids(self) -> list[int]:
        """Of the images, in order."""
        return [sample.image_id for sample in self.samples]

    @property
    def labels(self) -> list[int]:
        """Of the images, in order.

        Raises:
            UserError: An image has any number of labels.

        """
        labels = [sample.label for sample in self.samples]
        known = [label for label in labels if label is not None]
        if len(known) < len(labels):
            raise UserError(
                f"dataset={self.config.dataset.name}: allowed: images with one label each, because "
                f"operator={self.config.operator.name} is calibrated under the image's own class"
            )
        return known

    def latents(self, number: int) -> Tensor:
        """Clean latents of an image, (1, C, H, W), on the CPU.

        Raises:
            UserError: The image cannot be read.

        """
        try:
            return self.backbone.encode(self.samples[number].image)
        except UnreadableImage as error:
            raise UserError(f"{error}: no image to calibrate an operator with") from error

    def count_forward(self) -> int:
        """FLOPs of one evaluation of the first image, counted; hooks and gates see it.

        Raises:
            UserError: The image cannot be read.

        """
        device = next(self.backbone.denoiser.parameters()).device
        counter = FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION))
        inputs = self.latents(0), torch.tensor([0]), torch.tensor(self.labels[:1])
        with counter, torch.inference_mode():
            self.backbone.predict_noise(*(each.to(device) for each in inputs))
        return int(counter.get_total_flops())

    @property
    def weights(self) -> dict[str, str]:
        """Hashes of the weights by name."""
        return weights_of(self.backbone.hashes)

    @property
    def digest(self) -> str:
        """One hash of all weights and their precision: 12 hex digits."""
        text = json.dumps([self.weights, self.config.dtype], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
