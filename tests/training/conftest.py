from pathlib import Path

import pytest
import torch

from bigain.training.data import TrainingData
from bigain.training.trainer import TrainingConfig


@pytest.fixture
def config(tmp_path: Path) -> TrainingConfig:
    """Six steps of two images."""
    return TrainingConfig(
        backbone="mini_dit",
        images=12,
        batch_size=2,
        learning_rate=1e-3,
        warmup_images=4,
        decay_fraction=0.5,
        weight_decay=0.01,
        gradient_clip=1.0,
        class_dropout=0.1,
        ema_decay=0.9,
        seed=0,
        validation_images=1,
        validate_every=3,
        checkpoint_every=2,
        threads=1,
        channels_last=False,
        output=tmp_path / "run",
        data_root=None,
    )


@pytest.fixture
def data() -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((9, 1, 32, 32), generator=generator)
    labels = torch.arange(9)
    return TrainingData(images[:7], labels[:7], images[7:], labels[7:])
