"""DiT-XL/2 as a backbone: `dit_xl2_512`.  A class is an index among ImageNet's 1,000.

The index after the last one is the null class, which guidance subtracts; classification does not
use it.  The first half of the transformer's output channels is the predicted noise.  The second
half, from which its own sampler takes the variance, is not used.
"""

import torch
from torch import Tensor

from bigain.backbones.base import Classes
from bigain.backbones.pipeline import Caches, Pipeline
from bigain.config import HubBackboneConfig
from bigain.errors import UserError

__all__ = ["ClassConditionalDiT"]


class ClassConditionalDiT(Pipeline):
    """A class-conditional transformer behind the `Backbone` protocol; see `Pipeline`."""

    def __init__(
        self,
        config: HubBackboneConfig,
        device: torch.device,
        dtype: torch.dtype,
        caches: Caches,
    ) -> None:
        super().__init__(config, device, dtype, caches)
        self._name = config.name
        self._ids: Tensor | None = None

    def condition_on(self, classes: Classes) -> None:
        """Make the ImageNet indices of `classes` the conditions: class i is the i-th index.

        Raises:
            UserError: the classes are not ImageNet's, or the model has no such index.

        """
        ids = classes.condition_ids
        if ids is None:
            raise UserError(
                f"backbone={self._name}: its condition is a class index of ImageNet, which the "
                "classes of this dataset do not have; allowed: dataset=imagenet1k or imagenet100"
            )
        known = int(self.denoiser.config.num_embeds_ada_norm)  # type: ignore[union-attr, arg-type]
        if not all(0 <= index < known for index in ids):
            raise UserError(
                f"backbone={self._name}: the dataset has class index {max(ids)}, the model "
                f"knows 0 to {known - 1}"
            )
        self.num_classes = len(ids)
        self._ids = torch.tensor([*ids, known], device=self._device)

    def predict(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        """eps_theta(x_t, c, t) in fp32, shape of `latents` (B, 4, h, w); see `Backbone`."""
        if self._ids is None:
            raise RuntimeError("the backbone has no classes yet: call condition_on first")
        prediction: Tensor = self.denoiser(
            latents.to(self._dtype),
            timestep=timesteps,
            class_labels=self._ids[classes],
            return_dict=False,
        )[0]
        return prediction[:, : latents.shape[1]].float()
