"""What a training run of a mini backbone is made of; the YAML is `configs/train_mini.yaml`."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["TrainingConfig"]


class TrainingConfig(BaseModel):
    """One recipe.  `images` counts training images seen, with repetition.

    Only `images`, `output`, `data_root` and `threads` may differ when a checkpoint is resumed: the
    learning rate depends on `images` in its closing decay alone.
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

    def resumable_from(self, other: "TrainingConfig") -> bool:
        """Whether a checkpoint written under `other` may be continued under this recipe."""
        free = {"images", "output", "data_root", "threads"}
        return self.model_dump(exclude=free) == other.model_dump(exclude=free)
