"""From images to features, the same bits whatever the number of workers.

A network rounds differently for batches of different sizes, so every extractor has one size: images
are taken in order, `block` at a time, and the last block is filled up with its first image.  No
batch size can be chosen, so none can change a distance.  Workers decode and resize ahead, in order.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from bigain.data.base import Dataset
from bigain.data.images import UnreadableImage
from bigain.errors import UserError

__all__ = [
    "DatasetImages",
    "Extractor",
    "Image",
    "Images",
    "decode_workers",
    "extract",
    "feature_blocks",
]

_MOST_WORKERS = 8
"""The network waits for eight decoders no longer; more only take memory."""

Image: TypeAlias = npt.NDArray[np.uint8]
"""Bytes of shape (height, width), grey, or (height, width, 3), RGB."""

Images: TypeAlias = Sequence[Image]
"""A list of images, or something that decodes image i when asked for it."""


class Extractor(Protocol):
    """A frozen network and what happens to an image before it.

    Attributes:
        name: `inception` or `mini`.
        metric: Name of the Frechet distance of its features: `fid` or `frechet_mini`.
        dimension: Number of features.
        block: Images per forward pass.
        mode: Pillow's mode of the images that it takes from files, `RGB` or `L`.
        resize: What happens to an image's size, in words.
        revision: First 12 digits of the sha256 of the weights.

    """

    name: str
    metric: str
    dimension: int
    block: int
    mode: str
    resize: str
    revision: str

    def prepare(self, image: Image) -> Tensor:
        """What the network sees of one image, (C, H, W), on the CPU; runs in worker threads.

        Raises:
            UserError: The image is none that the network can take.

        """
        ...

    def features(self, block: Tensor) -> Tensor:
        """Features (block, dimension), fp32 on the CPU, of (block, C, H, W)."""
        ...


class DatasetImages(Sequence[Image]):
    """The images of a dataset in its order."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Image:  # type: ignore[override]  # no slices
        """The image at `position`; raises UserError if its file is no whole image."""
        try:
            return self._dataset[position].image
        except UnreadableImage as error:
            raise UserError(f"{error}; a reference needs all its images") from error


def decode_workers() -> int:
    """Threads that decode images ahead: as many as this process has cores, at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(cores or 1, _MOST_WORKERS)


def extract(
    extractor: Extractor,
    images: Images,
    workers: int = 0,
    mixed_sizes: bool = False,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Features of all images, shape (n, dimension); see `feature_blocks` for arguments and errors.

    Raises:
        UserError: There are no images, too.

    """
    if not len(images):
        raise UserError("images: there are none; allowed: at least one")
    return np.concatenate([*feature_blocks(extractor, images, workers, mixed_sizes, progress)])


def feature_blocks(
    extractor: Extractor,
    images: Images,
    workers: int = 0,
    mixed_sizes: bool = False,
    progress: bool = False,
) -> Iterator[npt.NDArray[np.float32]]:
    """Features in the order of the images, piece by piece, shapes (k, dimension).

    Args:
        extractor: The network.
        images: A list of arrays, or a lazy sequence such as `FolderImages`.
        workers: Threads that decode and resize ahead; 0 does it in between.
        mixed_sizes: Allow images of different sizes, as the originals of a dataset are.
        progress: Show a bar on stderr.

    Raises:
        UserError: An image is of another size than the first and that is not allowed, cannot be
            decoded, or is none that the network can take.

    """
    shape = None if mixed_sizes or not len(images) else images[0].shape
    prepared = _ahead(lambda i: _prepare(extractor, images, i, shape), len(images), workers)
    bar = tqdm(prepared, extractor.name, len(images), unit="image", disable=not progress)
    waiting: list[Tensor] = []
    for tensor in bar:
        waiting.append(tensor)
        if len(waiting) == extractor.block:
            yield _forward(extractor, waiting)
            waiting = []
    if waiting:
        yield _forward(extractor, waiting)


def _prepare(
    extractor: Extractor, images: Images, position: int, shape: tuple[int, ...] | None
) -> Tensor:
    image = images[position]
    label = getattr(images, "label", "image {}".format)
    try:
        prepared = extractor.prepare(image)
    except UserError as error:
        raise UserError(f"{label(position)}: {error}") from None
    if shape is not None and image.shape != shape:
        raise UserError(
            f"{label(position)}: is of size {_size(image.shape)}, but {label(0)} of "
            f"{_size(shape)}; allowed: one size (or mixed_sizes=True, --mixed-sizes, which resizes "
            "each on its own)"
        )
    return prepared


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


@torch.inference_mode()
def _forward(extractor: Extractor, tensors: list[Tensor]) -> npt.NDArray[np.float32]:
    filled = tensors + [tensors[0]] * (extractor.block - len(tensors))
    features: npt.NDArray[np.float32] = extractor.features(torch.stack(filled)).numpy()
    return features[: len(tensors)]


def _ahead(work: Callable[[int], Tensor], count: int, workers: int) -> Iterator[Tensor]:
    """work(0), ..., work(count - 1) in order, done by `workers` threads a little ahead."""
    if workers < 1:
        yield from map(work, range(count))
        return
    pending: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for position in range(count):
                pending.append(pool.submit(work, position))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
