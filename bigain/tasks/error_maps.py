"""Error maps eps - eps_theta(x_t, c, t) of an image, with and without operators.

They are the maps whose mean squares are the errors of `bigain.tasks.classifier`: trials, noise and
classes are the same.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.devices import to_device
from bigain.errors import UserError
from bigain.metrics.bands import BandErrors, band_losses
from bigain.tasks.batches import MicroBatches
from bigain.tasks.evaluations import draw_trials

__all__ = ["BandRecorder"]

Compress = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class BandRecorder:
    """Errors by band of images, with and without operators.

    Attributes:
        backbone: The denoiser, without an operator.
        timesteps: Of the trials, at least two.
        operators: Each applies one to the denoiser.
        seed: Seed of the noise.
        batches: Evaluations per forward.
        device: Where the backbone is.

    """

    backbone: Backbone
    timesteps: tuple[int, ...]
    operators: Sequence[Compress]
    seed: int
    batches: MicroBatches
    device: torch.device

    @torch.inference_mode()
    def errors(self, image_id: int, latents: Tensor, label: int) -> list[BandErrors]:
        """Those of one image: without an operator, then under each.

        The wrong class of a trial is the hardest one in the others: with the smallest sum of
        losses there, without an operator.  Chosen by the trial itself it would owe a part of its
        small loss to the noise, which every change of the prediction undoes.

        Args:
            image_id: Its number, part of the key of the noise.
            latents: Its clean latents, shape (1, C, H, W).
            label: Its class.

        Raises:
            UserError: An error is not finite.

        """
        timesteps = torch.tensor(self.timesteps)
        noise, noisy = draw_trials(self.backbone, "noise", self.seed, image_id, latents, timesteps)
        classes = torch.arange(self.backbone.num_classes).expand(len(timesteps), -1)
        plain = noise[:, None] - self._predicted(noisy, timesteps, classes)
        losses = plain.square().flatten(2).mean(dim=2)
        of_others = losses.sum(dim=0) - losses
        of_others[:, label] = torch.inf
        wrong = of_others.argmin(dim=1)
        trial = torch.arange(len(timesteps))
        pair = torch.stack([torch.full_like(wrong, label), wrong], dim=1)
        usual = plain[trial[:, None], pair]
        found = [_errors(usual, usual)]
        for applied in self.operators:
            with applied():
                own = noise[:, None] - self._predicted(noisy, timesteps, pair)
            found.append(_errors(own, usual))
        if not all(np.isfinite(each.true + each.wrong).all() for each in found):
            raise UserError(
                f"image_id={image_id}: a noise error is not finite; the network overflows in this "
                "precision, allowed: dtype=float32 or bfloat16"
            )
        return found

    def _predicted(self, noisy: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta on the CPU, shape (S, K, C, H, W), of `classes` (S, K) at each trial."""
        trials = torch.arange(len(timesteps)).repeat_interleave(classes.shape[1])
        labels = classes.flatten()

        def predict(rows: Tensor) -> Tensor:
            own = trials[rows]
            inputs = (noisy[own], timesteps[own], labels[rows])
            return self.backbone.predict_noise(*(to_device(each, self.device) for each in inputs))

        chunks = [found.cpu() for _, found in self.batches.run(torch.arange(len(trials)), predict)]
        maps = torch.cat(chunks).float()
        return maps.view(*classes.shape, *maps.shape[1:])


def _errors(own: Tensor, usual: Tensor) -> BandErrors:
    """Of the error maps (S, 2, C, H, W) of the true and the wrong class, one image."""
    true, wrong = (band_losses(own[:, k].numpy())[None] for k in (0, 1))
    return BandErrors(true, wrong, band_losses((usual[:, 0] - own[:, 0]).numpy())[None])
