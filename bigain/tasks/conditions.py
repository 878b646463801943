"""What each generated image shall show: one condition per evaluation image.

Sample i has the condition of image i of the dataset's fixed order (protocol 2): the first caption
where images have captions, else the class, by prompt or by index as the backbone takes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bigain.backbones.base import Classes
from bigain.data.base import Dataset
from bigain.errors import UserError

__all__ = ["Captions", "Conditions", "conditions_of"]


@dataclass(frozen=True)
class Captions:
    """Sentences in the place of class prompts; see `bigain.backbones.base.Classes`."""

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
        image_ids: The image that each sample has its condition from.

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
            raise UserError(f"image_id={bare.image_id}: has no caption to generate an image from")
        texts = [sample.captions[0] for sample in samples]
        distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        captions = Captions(tuple(distinct))
        return Conditions(captions, [distinct[text] for text in texts], texts, labels, image_ids)
    numbers = [sample.label for sample in samples if sample.label is not None]
    if len(numbers) < len(samples):
        raise UserError("dataset: its images have several classes and no captions to generate from")
    names = dataset.class_names
    return Conditions(dataset, numbers, [names[number] for number in numbers], labels, image_ids)
