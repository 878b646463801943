"""The staged diffusion classifier: it predicts the class with the smallest noise error.

Forward process (Eq. 1): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps.
Error of a draw (Eq. 3): l(x, c; t, eps) = mean over elements of (eps - eps_theta(x_t, c, t))^2.
Score (Eq. 4): mean error over the draws; the prediction is the class of lowest score.

All classes and all operators share the (t, eps) of a trial, so every comparison is paired.  After
each stage only the best classes continue (Algorithm 1).  A batch has evaluations of one image and
stage, so shards and resumes do not change the batches; and how they are cut changes no result,
unless the operator draws once per forward.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.errors import UserError
from bigain.tasks.batches import MicroBatches, keyed_noise
from bigain.tasks.protocol import StagedProtocol

__all__ = ["LOSSES", "Classification", "DiffusionClassifier"]

_Elementwise = Callable[[Tensor, Tensor], Tensor]


def _per_sample(elementwise: _Elementwise) -> _Elementwise:
    def loss(prediction: Tensor, noise: Tensor) -> Tensor:
        return elementwise(prediction.float(), noise.float()).flatten(1).mean(dim=1)

    return loss


LOSSES: dict[str, _Elementwise] = {
    "l2": _per_sample(lambda prediction, noise: (prediction - noise).square()),
    "l1": _per_sample(lambda prediction, noise: (prediction - noise).abs()),
    "huber": _per_sample(lambda p, noise: F.huber_loss(p, noise, reduction="none")),
}
"""Losses by name.  Each takes two (B, C, H, W) tensors and gives (B,); `l2` is Eq. 3's."""


@dataclass(frozen=True)
class Classification:
    """The result of one image.

    Attributes:
        prediction: The surviving class.
        errors: Error of each (trial, class), fp32, NaN where a class was pruned; shape
            (trials, classes), trials in the order in which they were taken.
        timesteps: Timestep of each trial.
        first_stage: Number of trials that all classes took.

    """

    prediction: int
    errors: Tensor
    timesteps: tuple[int, ...]
    first_stage: int

    @property
    def scores(self) -> Tensor:
        """Mean error of each class over all trials it took, shape (classes,)."""
        return self.errors.nanmean(dim=0)

    @property
    def trials(self) -> Tensor:
        """Number of trials that each class took, shape (classes,)."""
        return (~self.errors.isnan()).sum(dim=0)


class DiffusionClassifier:
    """Classifies latents with `backbone` under `protocol`.

    Args:
        backbone: The denoiser; an operator may be applied to it.
        protocol: Trial list and keep list.
        loss: Per-sample error of (prediction, noise), one of `LOSSES`.
        seed: Seed of the noise.
        batch_size: Evaluations per forward, all of one image; changes speed and memory only, unless
            the operator draws once per forward.
        device: Where the backbone is.
        draws_per_forward: Whether it does; then batches do not shrink when memory runs out.

    """

    def __init__(
        self,
        backbone: Backbone,
        protocol: StagedProtocol,
        loss: Callable[[Tensor, Tensor], Tensor],
        *,
        seed: int,
        batch_size: int,
        device: torch.device,
        draws_per_forward: bool = False,
    ) -> None:
        self._backbone = backbone
        self._stages = protocol.stages()
        self._keep = protocol.keep_list
        self._loss = loss
        self._seed = seed
        fixed = "operator.draws=per_forward depends on the batch" if draws_per_forward else None
        self._batches = MicroBatches(batch_size, fixed=fixed)
        self._device = device

    @property
    def micro_batch(self) -> int:
        """Evaluations per forward now: the batch size, or less after memory ran out."""
        return self._batches.size

    @torch.inference_mode()
    def classify(self, image_id: int, latents: Tensor) -> Classification:
        """Classify clean `latents` (1, C, H, W) of the image numbered `image_id`.

        Raises:
            UserError: an error is not finite, or a single evaluation does not fit the memory.

        """
        alive = torch.arange(self._backbone.num_classes)
        taken: list[Tensor] = []
        for timesteps, keep in zip(self._stages, self._keep, strict=True):
            taken.append(self._stage(image_id, latents, timesteps, alive))
            scores = torch.cat(taken).nanmean(dim=0)[alive]
            order = scores.argsort(stable=True)
            alive = alive[order[:keep]].sort().values
        return Classification(
            prediction=int(alive[0]),
            errors=torch.cat(taken),
            timesteps=tuple(t for stage in self._stages for t in stage),
            first_stage=len(self._stages[0]),
        )

    def _stage(self, image_id: int, latents: Tensor, timesteps: list[int], alive: Tensor) -> Tensor:
        """Errors (trials of this stage, all classes); NaN for classes that are not `alive`."""
        errors = torch.full((len(timesteps), self._backbone.num_classes), torch.nan)
        if not timesteps:  # the grid of this stage was taken by earlier ones: it only prunes
            return errors
        noise = torch.cat(
            [
                keyed_noise(self._seed, "classification", image_id, t, shape=tuple(latents.shape))
                for t in timesteps
            ]
        )
        noisy = self._add_noise(latents, noise, torch.tensor(timesteps))
        times = torch.tensor(timesteps)

        def evaluate(pairs: Tensor) -> Tensor:
            trial, label = pairs.unbind(1)
            prediction = self._backbone.predict_noise(
                noisy[trial].to(self._device),
                times[trial].to(self._device),
                label.to(self._device),
            )
            return self._loss(prediction, noise[trial].to(self._device)).cpu()

        pairs = torch.cartesian_prod(torch.arange(len(timesteps)), alive)
        for chunk, found in self._batches.run(pairs, evaluate):
            errors[chunk[:, 0], chunk[:, 1]] = found
        self._check_finite(errors[:, alive], image_id, timesteps, alive)
        return errors

    @staticmethod
    def _check_finite(errors: Tensor, image_id: int, timesteps: list[int], alive: Tensor) -> None:
        """Raise UserError for an overflow of the network: NaN would look like a pruned class."""
        wrong = (~errors.isfinite()).nonzero()
        if len(wrong):
            trial, column = wrong[0].tolist()
            raise UserError(
                f"image_id={image_id}: the noise error at timestep {timesteps[trial]}, class "
                f"{int(alive[column])} is {float(errors[trial, column])}; the network overflows in "
                "this precision, allowed: dtype=float32 or bfloat16"
            )

    def _add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        abar = self._backbone.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return abar.sqrt().float() * latents + (1 - abar).sqrt().float() * noise
