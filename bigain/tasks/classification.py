"""The classification task: one record per image.

An image whose file cannot be read also gets a record: it counts as wrong, has no measurements, and
`failure` says why.  The run continues, and its metrics count the image.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.data.ahead import compute_ahead, read_ahead
from bigain.data.base import Dataset, Sample
from bigain.data.images import UnreadableImage
from bigain.devices import on_own_stream, peak_memory
from bigain.errors import UserError
from bigain.metrics import classification_metrics
from bigain.metrics.ranking import average_precision, class_ranks
from bigain.patching.compiling import Compiled
from bigain.runs.errors import packed
from bigain.runs.files import FIRST_STAGE, Evaluation, Record, Records
from bigain.runs.provenance import Origin
from bigain.runs.samples import samples_frame
from bigain.tasks.classifier import Classification, DiffusionClassifier
from bigain.tasks.protocol import Ledger
from bigain.tasks.task import Compress, Files

__all__ = ["ClassificationTask", "classify_images", "failed_record", "latents_of", "to_record"]

_LOG = logging.getLogger(__name__)

_OF_FIRST_STAGE = ("true_errors", "margin_mean", "margin_variance", FIRST_STAGE)
_LEDGER = ("evaluations", "spent", "rounds")


class _WithErrors(Files):
    """A record that was made before the errors of all classes were kept is computed again."""

    def copy_files(self, folder: Path, record: Record) -> bool:  # noqa: ARG002
        return FIRST_STAGE in record


@dataclass(frozen=True)
class ClassificationTask:
    """The `Task` of classifying every image of a dataset.

    Attributes:
        classifier: Classifies latents with `backbone`.
        backbone: Conditioned on the classes of `dataset`.
        dataset: The images.
        origin: Weights and data, for the manifest.
        compressed: Applies the operator to the denoiser.
        baseline: Samples of the baseline run; None if there are none, or this is the baseline.
        device: Where the backbone is.
        compiled: Compiles the denoiser; None to run it as it is.

    """

    classifier: DiffusionClassifier
    backbone: Backbone
    dataset: Dataset
    origin: Origin
    compressed: Compress
    baseline: Callable[[], pd.DataFrame | None]
    device: torch.device
    compiled: Compiled | None = None
    unit: ClassVar[str] = "image"
    files: ClassVar[Files] = _WithErrors()

    @property
    def ids(self) -> Sequence[int]:
        """The images, in the order of the dataset."""
        return self.dataset.image_ids

    def records(self, ids: Sequence[int]) -> Generator[Record, None, None]:
        """Classify the images with these ids, see `to_record`."""
        position = {image_id: index for index, image_id in enumerate(self.ids)}
        positions = [position[image_id] for image_id in ids]
        with self.compressed(), self.compiled or nullcontext():
            yield from classify_images(self.classifier, self.backbone, self.dataset, positions)

    def evaluate(self, records: Records) -> Evaluation:
        """Accuracy, errors and margins; with the baseline's samples the rise of the error.

        Warns of images that could not be read.  Scores of all classes are loaded only if the images
        have several labels.
        """
        failures = [record for record in records if record.get("failure")]
        if failures:
            message = "failed_images=%d of %d: they count as wrong; the first is image %s, %s"
            first = failures[0]
            _LOG.warning(message, len(failures), len(records), first["image_id"], first["failure"])
        has_scores = any(record.get("labels") is not None for record in records)
        left_out = ("trials",) if has_scores else ("trials", "scores")
        metrics = classification_metrics(samples_frame(records, left_out), self.baseline())
        return Evaluation(records, metrics)

    def facts(self) -> Mapping[str, Any]:
        """Peak memory, the batch size that fitted, and what compiling took."""
        return {
            "peak_memory_bytes": peak_memory(self.device),
            **(self.compiled.facts if self.compiled else {}),
            "micro_batch": self.classifier.micro_batch,
        }


def classify_images(
    classifier: DiffusionClassifier,
    backbone: Backbone,
    dataset: Dataset,
    positions: Iterable[int],
) -> Iterator[dict[str, Any]]:
    """Classify the images at `positions` of `dataset`, yielding one record each, in this order.

    Several images share a batch (`DiffusionClassifier`), so an image may have begun whose record
    comes after the next one.

    Raises:
        UserError: Backbone and dataset do not have the same number of classes.

    """
    if backbone.num_classes != len(dataset.class_names):
        raise UserError(
            f"dataset with {len(dataset.class_names)} classes: the backbone has "
            f"{backbone.num_classes} class conditions; allowed: one condition for each class"
        )
    begun: deque[tuple[Sample, str]] = deque()
    samples = (dataset[position] for position in positions)
    images = _encoded(latents_of(backbone, samples, classifier.device), begun)
    started = time.perf_counter()
    with closing(classifier.classify(images)) as results:
        for result in results:
            sample, reason = begun.popleft()
            record = failed_record(sample, reason) if result is None else to_record(sample, result)
            yield {**record, "seconds": round(time.perf_counter() - started, 4)}
            started = time.perf_counter()


def latents_of(
    backbone: Backbone, samples: Iterable[Sample], device: torch.device
) -> Iterator[tuple[Sample, Callable[[], Tensor]]]:
    """Each sample with a function that returns its clean latents, or raises UnreadableImage.

    A thread reads images ahead.  On CUDA it encodes them, too, on a stream of its own: the latents
    go through the CPU, and in the classifier's stream this would wait for its batches.  On a CPU a
    second thread that computes would only take cores from the first.

    An image is encoded alone, because a VAE rounds differently for a batch, and cached latents must
    not depend on what was encoded together.
    """
    if device.type == "cuda":
        yield from compute_ahead(samples, on_own_stream(device, partial(_encode, backbone)))
    else:
        for sample in read_ahead(samples):
            yield sample, partial(_encode, backbone, sample)


def _encode(backbone: Backbone, sample: Sample) -> Tensor:
    return backbone.encode(sample.image)


def _encoded(
    images: Iterable[tuple[Sample, Callable[[], Tensor]]], begun: deque[tuple[Sample, str]]
) -> Iterator[tuple[int, Tensor | None]]:
    """Image id and latents, None if the image cannot be read.

    `begun` gets each sample and why it cannot be read, or an empty text.
    """
    for sample, encoded in images:
        latents, reason = None, ""
        try:
            latents = encoded()
        except UnreadableImage as error:
            reason = str(error)
        begun.append((sample, reason))
        yield sample.image_id, latents


def to_record(sample: Sample, result: Classification) -> dict[str, Any]:
    """The record of one image.

    An image of a dataset with several labels per image (`sample.label` is None) also has `labels`
    and `average_precision` (Eq. 26).  Its prediction is correct if it is one of the labels, and the
    errors of the true class are means over the true classes; without any label they are an empty
    list, the margins are NaN and the average precision is 0.

    `true_errors` are the true class's errors at the timesteps of the first stage.  All classes have
    these under every operator, so they can be paired even if the class is pruned later.
    `margin_mean` and `margin_variance` are means over the wrong classes c' of the mean and the
    unbiased variance, over these trials s, of D_s = l(x, c'; s) - l(x, c*; s) (Appendix A).  The
    variance of a single trial is NaN.  `first_stage` has the errors of all classes at these
    timesteps (`bigain.runs.errors`); everything else about errors and margins follows from it.

    In a race (`bigain.tasks.racing`) classes share only a few trials, which are other ones for each
    operator, so these four are None.  The record has the ledger instead: `evaluations`, `rounds`
    and `spent` (None if the rule has no model), and `full_prediction` if the image was audited.
    """
    scored = {
        **_identity(sample),
        "prediction": result.prediction,
        "correct": result.prediction in sample.labels,
        **_precision(sample, result.scores, result.prediction),
        "scores": result.scores.tolist(),
        "trials": result.trials.tolist(),
    }
    if result.ledger is None:
        return {**scored, **_first_stage(sample, result)}
    return {**scored, **dict.fromkeys(_OF_FIRST_STAGE), **_of_race(result.ledger)}


def _first_stage(sample: Sample, result: Classification) -> dict[str, Any]:
    """The errors of the true class, and the margins, over the trials of all classes."""
    first = result.errors[: result.first_stage].double()
    labels = list(sample.labels)
    true_errors = first[:, labels].mean(dim=1)
    distractors = [c for c in range(first.shape[1]) if c not in sample.labels]
    differences = first[:, distractors] - true_errors[:, None]
    return {
        "true_errors": true_errors.tolist() if labels else [],
        "margin_mean": float(differences.mean()),
        "margin_variance": _variance(differences),
        FIRST_STAGE: packed(
            result.timesteps[: result.first_stage], result.errors[: result.first_stage].numpy()
        ),
    }


def _of_race(ledger: Ledger) -> dict[str, Any]:
    """The ledger as cells; no image that was not audited has a prediction of the full grid."""
    plain = asdict(ledger)
    return plain if ledger.full_prediction is not None else {k: plain[k] for k in _LEDGER}


def _variance(differences: Tensor) -> float:
    """Mean over columns of the unbiased variance over rows, which a single row does not have."""
    return float(differences.var(dim=0, correction=1).mean()) if len(differences) > 1 else math.nan


def failed_record(sample: Sample, reason: str) -> dict[str, Any]:
    """The record of an image that could not be read: it is wrong and has no measurements.

    With several labels its `average_precision` is 0, the limit of being ranked last.
    """
    precision = {"average_precision": 0.0}
    return {
        **_identity(sample),
        "prediction": None,
        "correct": False,
        **(precision if sample.label is None else {}),
        **dict.fromkeys(("scores", "trials", *_OF_FIRST_STAGE)),
        "failure": reason,
    }


def _identity(sample: Sample) -> dict[str, Any]:
    """Image id and label; also `labels` for datasets with any number of labels per image."""
    several = {"labels": list(sample.labels)} if sample.label is None else {}
    return {"image_id": sample.image_id, "label": sample.label, **several}


def _precision(sample: Sample, scores: Tensor, prediction: int) -> dict[str, float]:
    if sample.label is not None:
        return {}
    ranks = class_ranks(scores[None].numpy(), [prediction])[0]
    return {"average_precision": average_precision(ranks[list(sample.labels)])}
