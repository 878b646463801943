"""Images in, features out; the number of workers does not change a bit of them.

A network rounds differently for batches of different sizes, so every extractor has one fixed batch
size, `block`: images are taken in order, and the last block is filled up with its first image.
Worker threads decode and resize images ahead of the network, in order.

Images come from a dataset or from a folder.  A folder is read in the order of file names, as in
pytorch-fid.  Unlike pytorch-fid, which silently skips whatever is not an image (also subfolders,
and files that end in .JPEG), other files are an error here.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PillowImage
from torch import Tensor
from tqdm import tqdm

from bigain.data.base import Dataset
from bigain.data.images import EXTENSIONS, UnreadableImage, is_image_name, pixels_of
from bigain.data.layouts import is_clutter
from bigain.errors import UserError
from bigain.machine import usable_cores

__all__ = [
    "EXTENSIONS",
    "DatasetImages",
    "Extractor",
    "FolderImages",
    "Image",
    "Images",
    "decode_workers",
    "extract",
    "feature_blocks",
]

_MAX_WORKERS = 8
"""With eight decoders the network no longer waits; more of them only take memory."""

Image: TypeAlias = npt.NDArray[np.uint8]
"""Bytes of shape (height, width), grey, or (height, width, 3), RGB."""

Images: TypeAlias = Sequence[Image]
"""A list of images, or a sequence that decodes image i on access."""


class Extractor(Protocol):
    """A frozen network and its preprocessing of an image.

    Attributes:
        name: `inception` or `mini`.
        metric: Name of the Frechet distance of its features: `fid` or `frechet_mini`.
        dimension: Number of features.
        block: Images per forward pass.
        mode: Pillow's mode for images from files, `RGB` or `L`.
        resize: How images are resized, in words.
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
        """The network's input for one image, (C, H, W), on the CPU; runs in worker threads.

        Raises:
            UserError: The network cannot take such an image.

        """
        ...

    def features(self, block: Tensor) -> Tensor:
        """Features (block, dimension), fp32 on the CPU, of (block, C, H, W)."""
        ...


class DatasetImages(Sequence[Image]):
    """The images of a dataset in its order.

    Args:
        dataset: The images.
        view: What an extractor needs instead of an image as it is stored; None for that.

    """

    def __init__(self, dataset: Dataset, view: Callable[[Image], Image] | None = None) -> None:
        self._dataset, self._view = dataset, view

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, position: int) -> Image:  # type: ignore[override]  # no slices
        """The image at `position`; raises UserError if its file is damaged or missing."""
        try:
            image = self._dataset[position].image
        except UnreadableImage as error:
            raise UserError(f"{error}; a reference needs all its images") from error
        return image if self._view is None else self._view(image)


class FolderImages(Sequence[Image]):
    """The images of one folder, sorted by name, without what `is_clutter` names.

    Args:
        folder: A folder that contains only images.
        mode: `RGB` or `L`; each image is converted to it.
        limit: Number of images to take from the start; None takes all.

    Raises:
        UserError: The folder does not exist, has no image, has fewer than `limit`, or contains
            anything else.

    """

    def __init__(self, folder: Path, mode: str = "RGB", limit: int | None = None) -> None:
        found = _image_files(folder)
        if limit is not None and not 1 <= limit <= len(found):
            raise UserError(
                f"{folder}: limit={limit}: allowed: 1 to {len(found)}, the images in this folder"
            )
        self.paths = found[:limit]
        self._mode = mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Image:  # type: ignore[override]  # no slices
        """The image at `position`; raises UserError if its file cannot be decoded."""
        path = self.paths[position]
        try:
            with PillowImage.open(path) as image:
                return pixels_of(image, self._mode)
        except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: cannot be read as an image ({reason})") from None

    def label(self, position: int) -> str:
        """Name of the image at `position` in messages."""
        return str(self.paths[position])


def decode_workers() -> int:
    """Number of decoding threads: one per core that this process may use, at most eight."""
    return min(usable_cores().usable, _MAX_WORKERS)


def extract(
    extractor: Extractor,
    images: Images,
    workers: int = 0,
    mixed_sizes: bool = False,
    progress: bool = False,
) -> npt.NDArray[np.float32]:
    """Features of all images, shape (n, dimension); arguments as in `feature_blocks`.

    Raises:
        UserError: No images, or as `feature_blocks`.

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
    """Features in the order of the images, in pieces of shape (k, dimension).

    Args:
        extractor: The network.
        images: A list of arrays, or a lazy sequence such as `FolderImages`.
        workers: Threads that decode and resize ahead; 0 decodes between forward passes.
        mixed_sizes: Allow images of different sizes, as datasets have them.
        progress: Show a progress bar on stderr.

    Raises:
        UserError: An image cannot be decoded, the network cannot take it, or its size differs from
            the first one's and `mixed_sizes` is off.

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


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {what}; allowed: a folder of images, or a .npz of statistics")
    entries = sorted(path for path in folder.iterdir() if not is_clutter(path))
    others = [path for path in entries if not _is_image(path)]
    allowed = ", ".join(EXTENSIONS)
    if others:
        more = f" (and {len(others) - 1} other entries of its folder)" if others[1:] else ""
        raise UserError(f"{others[0]}: is not an image{more}; allowed: only images ({allowed})")
    if not entries:
        raise UserError(f"{folder}: contains no image; allowed: at least one ({allowed})")
    return entries


def _is_image(path: Path) -> bool:
    return is_image_name(path.name) and path.is_file()


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
            f"{label(position)}: has size {_size(image.shape)}, but {label(0)} has "
            f"{_size(shape)}; allowed: one size for all (--mixed-sizes, or mixed_sizes=True, "
            "resizes each image on its own)"
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
    """work(0), ..., work(count - 1) in order, computed by `workers` threads slightly ahead."""
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
