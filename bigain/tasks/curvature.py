"""H = 2 E[x x^T] of the inputs of layers, over the tokens of calibration images in one stage."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bigain.backbones.base import Backbone
from bigain.devices import to_device
from bigain.patching.branches import Branch
from bigain.patching.narrow import last_layer
from bigain.tasks.batches import MicroBatches
from bigain.tasks.evaluations import draw_trials

__all__ = ["Curvature", "Image", "Tokens", "curvatures", "drawn_timestep", "seen_tokens"]


@dataclass(frozen=True)
class Image:
    """A calibration image: its number, its class and its clean latents (1, C, H, W) on the CPU."""

    image_id: int
    label: int
    latents: Tensor


class Curvature:
    """H of one layer, gathered by a hook, fp32.

    What a forward adds is pending until `commit`: one that runs out of memory is repeated.

    Attributes:
        h: the running mean, shape (in, in).

    """

    def __init__(self) -> None:
        self.h = torch.zeros(())
        self._seen = 0
        self._pending: list[tuple[Tensor, int]] = []

    def discard(self) -> None:
        """Forget what an unfinished forward has added."""
        self._pending.clear()

    def commit(self) -> None:
        """Add what the last forward has seen to H."""
        for product, rows in self._pending:
            self._seen += rows
            self.h = self.h + (product - rows * self.h) / self._seen
        self._pending.clear()

    def see(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """A forward pre-hook of the layer."""
        del module
        x = args[0].flatten(0, -2).float()
        self._pending.append((2 * x.T @ x, len(x)))


class Tokens:
    """Tokens of one sample that an attention or an MLP sees, gathered by hooks.

    Attributes:
        own: of its input.
        keys: of the sequence of its keys and values; `own` for an MLP.

    """

    def __init__(self) -> None:
        self.own = self.keys = 0
        self._context: int | None = None

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A forward pre-hook of the module."""
        del module
        context = kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None)
        self._context = None if context is None else int(context.shape[1])

    def see(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """A forward pre-hook of its last linear layer."""
        del module
        self.own = int(args[0].shape[1])
        self.keys = self.own if self._context is None else self._context


@contextmanager
def seen_tokens(branches: Sequence[Branch]) -> Iterator[Mapping[str, Tokens]]:
    """Path of each branch, an attention or an MLP -> its tokens in the last forward inside."""
    found = {branch.name: Tokens() for branch in branches}
    with ExitStack() as hooks:
        for branch in branches:
            ((_, module),) = branch.modules
            own, layer = found[branch.name], last_layer(branch.part, module)
            around = module.register_forward_pre_hook(own.enter, with_kwargs=True)
            hooks.callback(around.remove)
            hooks.callback(layer.register_forward_pre_hook(own.see).remove)
        yield found


def drawn_timestep(seed: int, image_id: int, stage: tuple[int, int]) -> int:
    """A timestep of the stage, uniform, a function of seed, image and stage."""
    digest = hashlib.sha256(repr((seed, "stage", image_id, *stage)).encode()).digest()
    return stage[0] + int.from_bytes(digest[:8], "little") % (stage[1] - stage[0])


@torch.inference_mode()
def curvatures(
    backbone: Backbone,
    branches: Sequence[Branch],
    images: Sequence[Image],
    stage: tuple[int, int],
    seed: int,
    batches: MicroBatches,
) -> Mapping[str, Curvature]:
    """Path of each branch -> H of its last linear layer, with the model as it is.

    Every image has one timestep of the stage and one noise, under its own class.

    Args:
        backbone: conditioned on the classes.
        branches: attentions and MLPs.
        images: at least one.
        stage: its first timestep, and the one after its last.
        seed: of timesteps and noise.
        batches: cuts the images into batches.

    """
    device = next(backbone.denoiser.parameters()).device
    times = torch.tensor([drawn_timestep(seed, image.image_id, stage) for image in images])
    labels = torch.tensor([image.label for image in images])
    noisy = torch.cat(
        [
            draw_trials(backbone, "noise", seed, image.image_id, image.latents, times[n : n + 1])[1]
            for n, image in enumerate(images)
        ]
    )

    found = {branch.name: Curvature() for branch in branches}

    def evaluate(rows: Tensor) -> Tensor:
        for own in found.values():
            own.discard()
        parts = (to_device(each[rows], device) for each in (noisy, times, labels))
        return backbone.predict_noise(*parts)

    with ExitStack() as hooks:
        for branch in branches:
            ((_, module),) = branch.modules
            own, layer = found[branch.name], last_layer(branch.part, module)
            hooks.callback(layer.register_forward_pre_hook(own.see).remove)
        for _ in batches.run(torch.arange(len(images)), evaluate):
            for each in found.values():
                each.commit()
    return found
