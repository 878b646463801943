"""The generation task: one image and one record per sample, ready for the run store."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigain.backbones.base import Backbone
from bigain.tasks.conditions import Conditions
from bigain.tasks.sampling import Sampler

__all__ = ["Write", "generate_images"]

Write = Callable[[int, npt.NDArray[np.uint8]], str]
"""Puts the image of a sample index on disk and returns the sha256 of its file."""


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
