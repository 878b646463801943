"""What a training run of a mini backbone is made of; the YAML is `configs/train_mini.yaml`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainingConfig"]


class TrainingConfig(BaseModel):
    """One recipe.  `images` counts training images seen, with repetition.

    Only `images`, `output`, `data_root` and `threads` may differ when a checkpoint is resumed, and
    `images` only before the closing decay of either recipe: until there the learning rate does not
    depend on it, so the result is the same as that of the new recipe from nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: Literal["mini_unet", "mini_dit"]
    images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup_images: int = Field(ge=0)
    decay_fraction: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0)
    gradient_clip: float = Field(gt=0)
    class_dropout: float = Field(ge=0, lt=1)
    ema_decay: float = Field(ge=0, lt=1)
    seed: int = Field(ge=0)
    validation_images: int = Field(gt=0, le=5000)
    validate_every: int = Field(gt=0)
    checkpoint_every: int = Field(gt=0)
    threads: int = Field(gt=0)
    channels_last: bool
    output: Path
    data_root: Path | None

    @property
    def decay_start(self) -> float:
        """Images seen when the learning rate begins to fall."""
        return self.images * (1 - self.decay_fraction)

    def resumable_from(self, other: "TrainingConfig", images_seen: int) -> bool:
        """Whether a checkpoint of `other` after `images_seen` may continue under this recipe."""
        free = {"images", "output", "data_root", "threads"}
        alike = self.model_dump(exclude=free) == other.model_dump(exclude=free)
        before_decay = images_seen <= min(self.decay_start, other.decay_start) * (1 + 1e-9)
        return alike and (self.images == other.images or before_decay)
