"""Images on disk, and a network small enough to be computed by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import Tensor

from bigain.errors import UserError

WriteImages = Callable[..., Path]


class Corners:
    """An extractor by hand: the four corners of an image, and how many images were at once."""

    name = "corners"
    metric = "frechet_mini"
    dimension = 4
    block = 3
    mode = "L"
    resize = "none"
    revision = "0" * 12

    def __init__(self) -> None:
        self.blocks: list[int] = []

    def prepare(self, image: npt.NDArray[np.uint8]) -> Tensor:
        if image.ndim != 2:
            raise UserError(f"is of shape {image.shape}")
        return torch.from_numpy(image[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.float32))

    def features(self, block: Tensor) -> Tensor:
        self.blocks.append(len(block))
        return block


@pytest.fixture
def corners() -> Corners:
    return Corners()


@pytest.fixture
def write_images(tmp_path: Path) -> WriteImages:
    """Write `count` smooth colour images into a folder; `level` shifts their distribution."""

    def write(name: str, count: int, level: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
        generator = np.random.default_rng(sum(name.encode()))
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for i in range(count):
            pixels = generator.integers(level, 200 + level, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(
                folder / f"{i:03d}.png"
            )
        return folder

    return write
