"""The diffusion classifier: it predicts the class with the smallest error.

Forward process (Eq. 1): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.
Error of a draw (Eq. 3): l(x, c; t, eps) = mean over elements of (eps - eps_theta(x_t, c, t))^2.
Score (Eq. 4): mean error over the draws; the prediction is the class of lowest score.
The error may be that of the velocity or of x_0 instead (`bigain.backbones.noise_schedules`).

All classes and all operators share the (t, eps) of a trial, so every comparison is paired.  Which
(trial, class) an image gets is up to its protocol (`bigain.tasks.protocol`).  Batches are filled
with evaluations of several images (`bigain.tasks.packing`), and no result depends on what else
is in a batch.  Only two kinds of operators depend on that.  If one draws once per forward, a batch
has evaluations of one image and stage; if one has a plan for all classes of an image, these are
always in the same batch.  So shards and resumes change no result.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.backbones.noise_schedules import Score
from bigain.devices import Fetched, to_device
from bigain.errors import UserError
from bigain.patching.projections import KeptProjections
from bigain.patching.sharing import Sharing
from bigain.tasks.batches import MicroBatches
from bigain.tasks.evaluations import Batch, ImageInFlight, Work, draw_trials
from bigain.tasks.packing import Packed, Waiting
from bigain.tasks.protocol import Allocation, Ledger, Round

__all__ = ["LOSSES", "Classification", "DiffusionClassifier", "Loss"]

_Elementwise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """The error of a prediction, and of what.

    Attributes:
        elementwise: Takes two (B, C, H, W) tensors, prediction and target, and gives another.
        score: What is predicted: the noise, the velocity or the clean latents.

    """

    elementwise: _Elementwise
    score: Score = "noise"

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The mean over the elements of each sample, shape (B,), in fp32."""
        return self.elementwise(prediction.float(), target.float()).flatten(1).mean(dim=1)

    def of(self, score: Score) -> "Loss":
        """The same error of another prediction."""
        return replace(self, score=score)


LOSSES: dict[str, Loss] = {
    "l2": Loss(lambda prediction, target: (prediction - target).square()),
    "l1": Loss(lambda prediction, target: (prediction - target).abs()),
    "huber": Loss(lambda prediction, target: F.huber_loss(prediction, target, reduction="none")),
}
"""Losses by name, of the noise; `l2` is Eq. 3's."""


@dataclass(frozen=True)
class Classification:
    """The result of one image.

    Attributes:
        prediction: The winning class.
        scores: A number for each class, the lower the better: under the staged protocol its mean
            error over all trials it took; shape (classes,).
        errors: Error of each (trial, class), fp32, NaN where a class was pruned; shape
            (trials, classes), trials in the order in which they were taken.
        timesteps: Timestep of each trial.
        first_stage: Number of trials that all classes took.
        ledger: What a race took; None under the staged protocol.

    """

    prediction: int
    scores: Tensor
    errors: Tensor
    timesteps: tuple[int, ...]
    first_stage: int
    ledger: Ledger | None = None

    @property
    def trials(self) -> Tensor:
        """Number of trials that each class took, shape (classes,)."""
        return (~self.errors.isnan()).sum(dim=0)


class DiffusionClassifier:
    """Classifies latents with `backbone` under `protocol`.

    Args:
        backbone: The denoiser; an operator may be applied to it.
        protocol: Which evaluations an image gets.
        loss: One of `LOSSES`, of the noise or another score.
        seed: Seed of the noise.
        batch_size: Evaluations per forward; changes speed and memory only, unless the operator
            draws once per forward.
        device: Where the backbone is.
        packing: How evaluations of several images share batches (`bigain.tasks.packing`).
        fixed: Why batches must not shrink when memory runs out; None if they may.

    Attributes:
        device: Where the backbone is.

    """

    def __init__(
        self,
        backbone: Backbone,
        protocol: Allocation,
        loss: Loss,
        *,
        seed: int,
        batch_size: int,
        device: torch.device,
        packing: Callable[[], Waiting] = Packed,
        fixed: str | None = None,
    ) -> None:
        self._backbone = backbone
        self._protocol = protocol
        self._timesteps = torch.tensor(protocol.timesteps)
        self._loss = loss
        self._seed = seed
        self._batches = MicroBatches(batch_size, fixed=fixed)
        self._begun = 0
        self._packing = packing
        self.device = device
        # On a GPU the next batch is launched before the errors of the last one are waited for.
        self._ahead = 1 if device.type == "cuda" else 0

    @property
    def micro_batch(self) -> int:
        """Evaluations per forward now: the batch size, or less after memory ran out."""
        return self._batches.size

    @overload
    def classify(
        self, images: Iterable[tuple[int, Tensor]]
    ) -> Generator[Classification, None, None]: ...

    @overload
    def classify(
        self, images: Iterable[tuple[int, Tensor | None]]
    ) -> Generator[Classification | None, None, None]: ...

    def classify(
        self, images: Iterable[tuple[int, Tensor | None]]
    ) -> Generator[Classification | None, None, None]:
        """Classify clean latents, one result per image, in the order of `images`.

        Args:
            images: (number, latents of shape (1, C, H, W)) of each; taken one by one, when there is
                room in a batch.  The result of an image without latents is None.

        Raises:
            UserError: an error is not finite, or a single evaluation does not fit the memory.

        """
        following, waiting = iter(images), self._packing()
        flight: deque[ImageInFlight | None] = deque()
        launched: deque[tuple[Batch, Fetched]] = deque()
        is_left = True
        denoiser, embedded = self._backbone.denoiser, self._backbone.encoder_hidden_states
        with Sharing(denoiser) as sharing, KeptProjections(denoiser, embedded) as kept:
            while is_left or flight:
                is_last = not (is_left or launched)
                batch = waiting.take(self._batches.size, even_if_small=is_last)
                if batch is not None:
                    launched.append((batch, self._launch(batch, sharing, kept)))
                elif is_left:
                    is_left = self._begin(following, flight, waiting)
                if len(launched) > self._ahead or (launched and not (is_left or batch)):
                    self._collect(*launched.popleft(), waiting)
                while flight and (flight[0] is None or flight[0].decision is not None):
                    yield self._result(flight.popleft())

    def _begin(
        self,
        following: Iterator[tuple[int, Tensor | None]],
        flight: deque[ImageInFlight | None],
        waiting: Waiting,
    ) -> bool:
        """Begin with the next image; whether there was one."""
        image_id, latents = next(following, (None, None))
        if image_id is None:
            return False
        image = None
        if latents is not None:
            self._begun += 1
            classes = self._backbone.num_classes
            image = ImageInFlight(image_id, latents, self._protocol, classes, self._begun)
            self._continue(image, waiting)
        flight.append(image)
        return True

    def _continue(self, image: ImageInFlight, waiting: Waiting) -> None:
        """Let the next round of an image wait for its evaluation, unless there is a decision."""
        following = image.next_round()
        if following is not None:
            waiting.add(self._work(image, following))

    @torch.inference_mode()
    def _work(self, image: ImageInFlight, round_: Round) -> Work:
        """A round with its targets and its noisy latents, which do not depend on the class."""
        timesteps = self._timesteps[round_.trials.start : round_.trials.stop]
        about = (self._backbone, self._loss.score, self._seed)
        target, noisy = draw_trials(*about, image.image_id, image.latents, timesteps)
        target, noisy = to_device(target, self.device), to_device(noisy, self.device)
        return Work(image, round_, target, noisy, timesteps)

    @torch.inference_mode()
    def _launch(self, batch: Batch, sharing: Sharing, kept: KeptProjections) -> Fetched:
        """The errors of a batch, on their way to the CPU."""
        evaluate = partial(self._errors, batch, sharing, kept)
        chunks = list(self._batches.run(torch.arange(len(batch)), evaluate))
        return Fetched(torch.cat([errors for _, errors in chunks]))

    def _errors(
        self, batch: Batch, sharing: Sharing, kept: KeptProjections, chunk: Tensor
    ) -> Tensor:
        """Errors of the evaluations `chunk` of a batch, on the device, shape (B,)."""
        rows = slice(int(chunk[0]), int(chunk[-1]) + 1)
        distinct = batch.distinct if len(chunk) == len(batch) else None
        classes = to_device(batch.classes[rows], self.device)
        noisy, timesteps = batch.noisy[rows], batch.timesteps[rows]
        told = self._backbone.model_timesteps(timesteps)
        shared = sharing.rows(batch.trials[rows], told, distinct)
        with shared, kept.of(classes):
            output = self._backbone.predict(noisy, to_device(timesteps, self.device), classes)
        prediction = self._backbone.schedule.as_score(self._loss.score, output, noisy, timesteps)
        return self._loss(prediction, batch.target[rows])

    def _collect(self, batch: Batch, errors: Fetched, waiting: Waiting) -> None:
        """Hand out the errors of a batch; images whose round is complete go on."""
        for work in batch.receive(errors.wait()):
            self._check_finite(work)
            self._continue(work.image, waiting)

    def _result(self, image: ImageInFlight | None) -> Classification | None:
        if image is None or image.decision is None:
            return None
        decision, protocol = image.decision, self._protocol
        return Classification(
            prediction=decision.prediction,
            scores=decision.scores,
            errors=image.errors,
            timesteps=protocol.timesteps,
            first_stage=protocol.first_stage,
            ledger=decision.ledger,
        )

    def _check_finite(self, work: Work) -> None:
        """Raise UserError for an overflow of the network: NaN would look like a pruned class."""
        errors = work.image.errors[work.round.trials.start : work.round.trials.stop]
        wrong = (~errors[:, list(work.round.classes)].isfinite()).nonzero()
        if len(wrong):
            trial, column = wrong[0].tolist()
            label = work.round.classes[column]
            raise UserError(
                f"image_id={work.image.image_id}: the error at timestep "
                f"{int(work.timesteps[trial])}, class {label} is {float(errors[trial, label])}; "
                "the network overflows in this precision, allowed: dtype=float32 or bfloat16"
            )
