"""The generation task: one image and one record for each image of the dataset.

Sample i is made from the condition of image i of the dataset's fixed order (protocol 2): the first
caption where images have captions, otherwise the class, as a prompt or an index, whichever the
backbone takes.

A thread writes the images, so that the network does not wait for the compression of a PNG; on CUDA
it decodes their latents, too.
"""

import logging
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch

from bigain.backbones.base import Backbone, Classes
from bigain.data.base import Dataset
from bigain.devices import on_own_stream, peak_memory
from bigain.errors import UserError
from bigain.patching.compiling import Compiled
from bigain.runs.files import Evaluation, Record, Records
from bigain.runs.images import RunImages
from bigain.runs.provenance import Origin
from bigain.tasks.sampling import Sampler
from bigain.tasks.task import Compress, Files

__all__ = ["Captions", "Conditions", "Decode", "Evaluator", "GenerationTask", "Write"]
__all__ += ["conditions_of", "generate_images"]

Write = Callable[[int, npt.NDArray[np.uint8]], str]
"""Writes the image with a sample index to disk and returns the sha256 of its file."""

Decode = Callable[[torch.Tensor], npt.NDArray[np.uint8]]
"""Makes the bytes of an image of clean latents (1, C, H, W)."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Captions:
    """Captions instead of class prompts; satisfies `bigain.backbones.base.Classes`."""

    prompts: tuple[str, ...]
    condition_ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Conditions:
    """The conditions of a dataset's images.

    Attributes:
        classes: What the backbone is conditioned on.
        numbers: Condition of each image, an index of `classes`.
        texts: The condition of each image in words: caption or class name.
        labels: Class of each image, None where there may be several.
        image_ids: The image from which each sample has its condition.

    """

    classes: Classes
    numbers: Sequence[int]
    texts: Sequence[str]
    labels: Sequence[int | None]
    image_ids: Sequence[int]


def conditions_of(dataset: Dataset) -> Conditions:
    """The conditions of the images in use, without reading an image.

    Raises:
        UserError: an image has neither one class nor a caption.

    """
    samples = [dataset[position] for position in range(len(dataset))]
    labels, image_ids = [s.label for s in samples], [s.image_id for s in samples]
    if any(sample.captions for sample in samples):
        bare = next((sample for sample in samples if not sample.captions), None)
        if bare is not None:
            raise UserError(f"image_id={bare.image_id}: has no caption; allowed: one per image")
        texts = [sample.captions[0] for sample in samples]
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        captions = Captions(tuple(distinct))
        return Conditions(captions, [distinct[text] for text in texts], texts, labels, image_ids)
    numbers = [sample.label for sample in samples if sample.label is not None]
    if len(numbers) < len(samples):
        raise UserError(
            "dataset: its images have several classes and no captions; allowed: one class or "
            "captions for each image"
        )
    names = dataset.class_names
    return Conditions(dataset, numbers, [names[number] for number in numbers], labels, image_ids)


class Evaluator(Protocol):
    """Compares generated images with real ones; see `bigain.features.evaluator`."""

    def load_reference(self) -> object:
        """Read or compute the features of the real images, once."""
        ...

    def evaluate(self, images: RunImages, records: Sequence[Record]) -> Evaluation:
        """Measure `images`, which `records` describe in the same order."""
        ...


@dataclass(frozen=True)
class GenerationTask(Files):
    """The `Task` of generating one image for each condition, and its `Files`: the images.

    Attributes:
        sampler: Draws latents of `backbone`.
        backbone: Knows the conditions.
        conditions: One for each image.
        images: Where the images of the run are.
        evaluator: Compares them with real images.
        title: Heading of the grid of the first images.
        origin: Weights, data and reference, for the manifest.
        compressed: Applies the operator to the denoiser.
        device: Where the backbone is.
        compiled: Compiles the denoiser; None to run it as it is.

    """

    sampler: Sampler
    backbone: Backbone
    conditions: Conditions
    images: RunImages
    evaluator: Evaluator
    title: str
    origin: Origin
    compressed: Compress
    device: torch.device
    compiled: Compiled | None = None
    unit: ClassVar[str] = "image"

    @property
    def ids(self) -> Sequence[int]:
        """The samples, numbered from 0."""
        return range(len(self.images))

    @property
    def files(self) -> "GenerationTask":
        """The task itself keeps the images of its records."""
        return self

    def records(self, ids: Sequence[int]) -> Generator[Record, None, None]:
        """Generate the samples with these ids; a record comes after its image is on disk."""
        yield from self._generate(ids, self.images.write)

    def missing(self, records: Iterable[Record]) -> Sequence[Record]:
        """Those of `records` whose image is gone or was changed."""
        return self.images.missing(records)

    def regenerate(self, records: Sequence[Record]) -> Generator[Record, None, None]:
        """Generate the images of `records` again; each must have the sha256 of its record."""
        sha256 = {record["image_id"]: record["sha256"] for record in records}
        write: Write = lambda index, image: self.images.write(index, image, sha256[index])  # noqa: E731
        yield from self._generate([*sha256], write)

    def copy_files(self, folder: Path, record: Record) -> bool:
        """Copy the image of `record` from another run's folder."""
        return self.images.copy_files(folder, record)

    def evaluate(self, records: Records) -> Evaluation:
        """Check the images, draw the grid, and compare all of them with the real ones."""
        records = list(records)
        self.images.check(records)
        self.images.write_grid(self.title, self.conditions.texts)
        with warnings.catch_warnings(record=True) as caught:
            evaluation = self.evaluator.evaluate(self.images, records)
        for message in {str(warning.message) for warning in caught}:
            _LOG.warning("%s", message)
        return evaluation

    def facts(self) -> Mapping[str, Any]:
        """Peak memory, the images per forward that fitted, and what compiling took."""
        return {
            "peak_memory_bytes": peak_memory(self.device),
            **(self.compiled.facts if self.compiled else {}),
            "images_per_forward": self.sampler.images_per_forward,
        }

    def _generate(self, ids: Sequence[int], write: Write) -> Generator[Record, None, None]:
        if not ids:
            return
        self.evaluator.load_reference()  # a damaged real image ends the run before it starts
        # A forward of a CPU takes minutes: too much to lose for the time that writing takes.
        decode: Decode = self.backbone.decode
        ahead = 0
        if self.device.type == "cuda":
            decode, ahead = on_own_stream(self.device, decode), 1
        images = generate_images(self.sampler, decode, self.conditions, write, ids, ahead=ahead)
        with self.compressed(), self.compiled or nullcontext():
            yield from images


@dataclass(frozen=True)
class _Drawn:
    """The images of one forward on their way to the disk, and the seconds that drawing took."""

    indices: Sequence[int]
    files: Sequence[Future[str]]
    images_per_forward: int
    seconds: float


def generate_images(
    sampler: Sampler,
    decode: Decode,
    conditions: Conditions,
    write: Write,
    indices: Sequence[int],
    *,
    ahead: int,
) -> Iterator[dict[str, Any]]:
    """Generate the samples `indices` in order; a record is yielded after its image is written.

    `sampler.images_per_forward` samples are denoised at a time.  One thread writes them, in order.
    If forwards are made ahead, it decodes them, too; their latents are on the CPU by then.  A kill
    loses the images of at most `ahead` + 1 forwards.

    Args:
        sampler: Draws latents.
        decode: Makes an image of latents.
        conditions: One for each image.
        write: Writes an image; called in another thread.
        indices: The samples.
        ahead: Forwards that are made before the images of the last one must be written; 0: the
            images of a forward are decoded by the caller, and written before the next one begins.

    Raises:
        UserError: latents or an image are not finite, or a single image does not fit the memory.
        OSError: an image cannot be written.

    """

    def decoded_and_written(index: int, latents: torch.Tensor) -> str:
        return write(index, decode(latents))

    drawn: deque[_Drawn] = deque()
    with ThreadPoolExecutor(1, "writer") as writer:
        try:
            for chunk in _chunks(sampler, indices):
                started = time.perf_counter()
                numbers = [conditions.numbers[index] for index in chunk]
                latents = sampler.sample(torch.tensor(chunk), torch.tensor(numbers))
                files = [
                    writer.submit(decoded_and_written, index, own[None])
                    if ahead
                    else writer.submit(write, index, decode(own[None]))
                    for index, own in zip(chunk, latents, strict=True)
                ]
                seconds = time.perf_counter() - started
                drawn.append(_Drawn(chunk, files, sampler.images_per_forward, seconds))
                while len(drawn) > ahead:
                    yield from _records(drawn.popleft(), conditions)
            while drawn:
                yield from _records(drawn.popleft(), conditions)
        finally:
            # What is not begun is left; leaving the `with` waits for the image in flight.
            writer.shutdown(wait=False, cancel_futures=True)


def _chunks(sampler: Sampler, indices: Sequence[int]) -> Iterator[Sequence[int]]:
    """The samples of each forward; fewer after memory ran out."""
    done = 0
    while done < len(indices):
        chunk = indices[done : done + sampler.images_per_forward]
        yield chunk
        done += len(chunk)


def _records(drawn: _Drawn, conditions: Conditions) -> Iterator[dict[str, Any]]:
    """The records of one forward, once all its images are on disk."""
    started = time.perf_counter()
    hashes = [file.result() for file in drawn.files]
    seconds = (drawn.seconds + time.perf_counter() - started) / len(hashes)
    for index, sha256 in zip(drawn.indices, hashes, strict=True):
        yield {
            "image_id": index,
            "source_image_id": conditions.image_ids[index],
            "label": conditions.labels[index],
            "condition": conditions.texts[index],
            "sha256": sha256,
            "images_per_forward": drawn.images_per_forward,
            "seconds": round(seconds, 4),
        }
