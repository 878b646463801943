"""The generation task: one image and one record per sample."""

import logging
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from bigain.backbones.base import Backbone
from bigain.devices import peak_memory
from bigain.runs.images import RunImages
from bigain.runs.journal import Record
from bigain.runs.provenance import Origin
from bigain.runs.session import Evaluation
from bigain.tasks.conditions import Conditions
from bigain.tasks.sampling import Sampler

__all__ = ["Evaluator", "GenerationTask", "Write", "generate_images"]

Write = Callable[[int, npt.NDArray[np.uint8]], str]
"""Puts the image of a sample index on disk and returns the sha256 of its file."""

_LOG = logging.getLogger(__name__)


class Evaluator(Protocol):
    """Compares generated images with real ones; see `bigain.features.evaluator`."""

    def load_reference(self) -> object:
        """Read or compute the features of the real images, once."""
        ...

    def evaluate(self, images: RunImages, records: Sequence[Record]) -> Evaluation:
        """Measure `images`, which `records` describe in the same order."""
        ...


class GenerationTask:
    """The `Task` of generating one image for each condition, and its `Files`: the images.

    Args:
        sampler: Draws latents of `backbone`.
        backbone: Knows the conditions.
        conditions: One for each image.
        images: Where the images of the run are.
        evaluator: Compares them with real images.
        title: Heading of the grid of the first images.
        origin: Weights, data and reference, for the manifest.
        compressed: Makes a context in which the operator is applied to the denoiser.
        device: Where the backbone is.

    """

    unit = "image"

    def __init__(  # noqa: PLR0913 -- each is a part of its own
        self,
        sampler: Sampler,
        backbone: Backbone,
        conditions: Conditions,
        images: RunImages,
        evaluator: Evaluator,
        *,
        title: str,
        origin: Origin,
        compressed: Callable[[], AbstractContextManager[object]],
        device: torch.device,
    ) -> None:
        self._sampler = sampler
        self._backbone = backbone
        self._conditions = conditions
        self._images = images
        self._evaluator = evaluator
        self._title = title
        self._compressed = compressed
        self._device = device
        self.origin = origin
        self.ids = range(len(images))

    @property
    def files(self) -> "GenerationTask":
        """The images of the records: this task keeps them itself."""
        return self

    def records(self, ids: Sequence[int]) -> Generator[Record, None, None]:
        """Generate the samples with these ids; a record comes after its image is on disk."""
        yield from self._generate(ids, self._images.write)

    def missing(self, records: Sequence[Record]) -> Sequence[Record]:
        """Those of `records` whose image is gone or was changed."""
        return self._images.missing(records)

    def regenerate(self, records: Sequence[Record]) -> Generator[Record, None, None]:
        """Generate the images of `records` again; each must have the sha256 of its record."""
        sha256 = {record["image_id"]: record["sha256"] for record in records}
        write: Write = lambda index, image: self._images.write(index, image, sha256[index])  # noqa: E731
        yield from self._generate([*sha256], write)

    def copy_files(self, folder: Path, record: Record) -> bool:
        """Copy the image of `record` from another run's folder."""
        return self._images.copy_files(folder, record)

    def evaluate(self, records: list[Record]) -> Evaluation:
        """Check the images, draw the grid, and compare all of them with the real ones."""
        self._images.check(records)
        self._images.write_grid(self._title, self._conditions.texts)
        with warnings.catch_warnings(record=True) as caught:
            evaluation = self._evaluator.evaluate(self._images, records)
        for message in {str(warning.message) for warning in caught}:
            _LOG.warning("%s", message)
        return evaluation

    def facts(self) -> Mapping[str, Any]:
        """Peak memory and the number of images per forward that fitted."""
        return {
            "peak_memory_bytes": peak_memory(self._device),
            "images_per_forward": self._sampler.images_per_forward,
        }

    def _generate(self, ids: Sequence[int], write: Write) -> Generator[Record, None, None]:
        if not ids:
            return
        self._evaluator.load_reference()  # a damaged real image ends the run before it starts
        with self._compressed():
            yield from generate_images(self._sampler, self._backbone, self._conditions, write, ids)


def generate_images(
    sampler: Sampler,
    backbone: Backbone,
    conditions: Conditions,
    write: Write,
    indices: Sequence[int],
) -> Iterator[dict[str, Any]]:
    """Generate the samples `indices`, in order, yielding one record each after its image is kept.

    Samples are denoised `sampler.images_per_forward` at a time, so a kill loses as many.

    Raises:
        UserError: latents or an image are not finite, or a single image does not fit the memory.

    """
    done = 0
    while done < len(indices):
        started = time.perf_counter()
        chunk = indices[done : done + sampler.images_per_forward]
        numbers = [conditions.numbers[index] for index in chunk]
        latents = sampler.sample(torch.tensor(chunk), torch.tensor(numbers))
        files = [
            write(index, backbone.decode(own[None]))
            for index, own in zip(chunk, latents, strict=True)
        ]
        seconds = round((time.perf_counter() - started) / len(chunk), 4)
        for index, sha256 in zip(chunk, files, strict=True):
            yield {
                "image_id": index,
                "source_image_id": conditions.image_ids[index],
                "label": conditions.labels[index],
                "condition": conditions.texts[index],
                "sha256": sha256,
                "images_per_forward": sampler.images_per_forward,
                "seconds": seconds,
            }
        done += len(chunk)
