"""Which tokens an operator merges or drops, in a real forward of a model on one image.

A reduction is a pair of linear maps, so its results on unit vectors describe it completely.
`reduce` of the N unit vectors gives the weight of every token in every reduced token; `restore` of
the N' unit vectors gives, for each token, the reduced token whose output it takes.  This works for
any operator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bigain.backbones.base import Backbone
from bigain.operators import (
    Compression,
    KeyValueDownsampler,
    KeyValueReducer,
    Operator,
    Reduction,
    score_map,
)
from bigain.operators.downsampling import pooled_grid
from bigain.operators.recording import Call, Recorder
from bigain.patching.apply import apply
from bigain.patching.report import SiteReport
from bigain.patching.selection import SiteSelection
from bigain.tasks.batches import keyed_noise

__all__ = ["TokenMap", "add_noise", "first_of_each_stage", "token_maps"]


@dataclass(frozen=True, eq=False)
class TokenMap:
    """One plan of an operator in one forward.

    Attributes:
        operator: The operator that made the plan.
        stage: Stage of the model, e.g. `encoder`.
        sites: Names of the sites that use the plan, first the one where it was made.
        grid: Token grid (h, w).
        metric: Input of the operator's plan, (1, N, C).
        timestep: Timestep of the forward.
        reduction: The plan.

    """

    operator: Operator
    stage: str
    sites: tuple[str, ...]
    grid: tuple[int, int]
    metric: Tensor
    timestep: int
    reduction: Reduction

    @property
    def alpha(self) -> float | None:
        """Weight of the nearest token in a key/value downsampling; None for other operators."""
        if not isinstance(self.operator, KeyValueDownsampler):
            return None
        return float(self.operator.schedule.at(torch.tensor([self.timestep])))

    @property
    def weights(self) -> npt.NDArray[np.float32]:
        """(N', N): the weight of every token in every reduced token; each row sums to one."""
        return _numbers(
            self.reduction.reduce(torch.eye(self.tokens, device=self.metric.device)[None])[0]
        )

    @property
    def num_kept(self) -> int:
        """N', the number of reduced tokens."""
        return len(self.weights)

    @property
    def tokens(self) -> int:
        """N = h * w."""
        return self.grid[0] * self.grid[1]

    @property
    def sources(self) -> npt.NDArray[np.int64]:
        """(h, w): index of the reduced token whose output each token takes.

        A key/value reducer restores nothing: every token has its own index.
        """
        if isinstance(self.operator, KeyValueReducer):
            return np.arange(self.tokens).reshape(self.grid)
        taken = self.reduction.restore(torch.eye(self.num_kept, device=self.metric.device)[None])[0]
        return np.asarray(_numbers(taken).argmax(axis=1)).reshape(self.grid)

    @property
    def read(self) -> npt.NDArray[np.bool_]:
        """(h, w): whether a token is part of any reduced token; the others are dropped."""
        return np.asarray(np.abs(self.weights).max(axis=0) > 0).reshape(self.grid)

    @property
    def destinations(self) -> npt.NDArray[np.int64]:
        """(D,) token indices of the destinations of a merge; empty for other operators."""
        dst = getattr(self.reduction, "dst", None)
        return np.empty(0, dtype=np.int64) if dst is None else dst[0].cpu().numpy()

    def scores(self, name: str) -> npt.NDArray[np.float32]:
        """(h, w): the token score `name` of the tokens that the operator saw.

        The operator's own score has the operator's padding, any other zero padding.
        """
        is_own = getattr(self.operator, "score", None) == name
        padding = getattr(self.operator, "padding", "zero") if is_own else "zero"
        return _numbers(score_map(name, self.metric, self.grid, padding)[0])

    def groups(self) -> list[npt.NDArray[np.int64]]:
        """Token indices of each group of two or more with the same output, largest group first."""
        assignment = self.sources.ravel()
        found = [np.flatnonzero(assignment == index) for index in np.unique(assignment)]
        return sorted((group for group in found if len(group) > 1), key=lambda g: (-len(g), g[0]))

    def seen_through(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`image` (H, W), its patches reduced and restored as if they were tokens.

        H and W are multiples of the grid's sides.  Key/value reducers do not restore: downsampling
        gives an image of floor(h/s) x floor(w/s) patches; selection gives the selected patches in
        their places, and NaN elsewhere.
        """
        (h, w), (height, width) = self.grid, image.shape
        patches = image.reshape(h, height // h, w, width // w).transpose(0, 2, 1, 3)
        x = torch.from_numpy(patches.reshape(1, h * w, -1).astype(np.float32)).to(
            self.metric.device
        )
        y = self.reduction.reduce(x)
        if not isinstance(self.operator, KeyValueReducer):
            return _image(_numbers(self.reduction.restore(y)[0]), self.grid, patches.shape[2:])
        if isinstance(self.operator, KeyValueDownsampler):
            small = pooled_grid(self.grid, self.operator.factor)
            return _image(_numbers(y[0]), small, patches.shape[2:])
        seen = np.where(self.read.reshape(-1, 1), _numbers(x[0]), np.nan)
        return _image(seen, self.grid, patches.shape[2:])


@torch.inference_mode()
def token_maps(
    operator: Compression,
    backbone: Backbone,
    latents: Tensor,
    *,
    label: int,
    timestep: int,
    seed: int = 0,
    sites: SiteSelection | None = None,
    device: torch.device | None = None,
) -> tuple[TokenMap, ...]:
    """All plans, in order, of one forward of `backbone` on the noised `latents` (1, C, H, W).

    `device` is the device of the backbone, by default the CPU.

    Raises:
        UserError: The backbone has no such site, or the operator does not fit.

    """
    noise = keyed_noise(seed, "merge map", timestep, shape=tuple(latents.shape))
    noisy = add_noise(backbone, latents, noise, timestep)
    inputs = (noisy, torch.tensor([timestep]), torch.tensor([label]))
    recorder = Recorder(operator)
    with apply(backbone.denoiser, recorder, sites=sites, seed=seed) as report:
        backbone.predict(*(each.to(device or "cpu") for each in inputs))
    return tuple(_token_map(operator, report, timestep, call) for call in recorder.calls)


def add_noise(backbone: Backbone, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """The noisy latents at `timestep`, on the CPU."""
    return backbone.schedule.add_noise(latents.cpu(), noise, torch.tensor([timestep]))


def first_of_each_stage(maps: Sequence[TokenMap]) -> tuple[TokenMap, ...]:
    """The first map of every stage, in order."""
    stages = dict.fromkeys(each.stage for each in maps)
    return tuple(next(each for each in maps if each.stage == stage) for stage in stages)


def _token_map(operator: Compression, report: SiteReport, timestep: int, call: Call) -> TokenMap:
    name, metric, reduction = call
    attentions = [use for use in report.sites if use.part == "self"]
    here = next(use for use in attentions if use.site.name == name)
    acting = operator.for_stage(here.site.stage)
    if acting is None or here.grid is None:
        raise AssertionError(f"{name} was planned without an operator or a grid")
    served = [
        use.site.name
        for use in attentions
        if use is here
        or (
            acting.shared_in_stage
            and (use.site.stage, use.site.level) == (here.site.stage, here.site.level)
        )
    ]
    stage, grid = here.site.stage, here.grid
    return TokenMap(acting.planner, stage, tuple(served), grid, metric, timestep, reduction)


def _numbers(x: Tensor) -> npt.NDArray[np.float32]:
    return np.asarray(x.float().cpu().numpy())


def _image(
    tokens: npt.NDArray[np.float32], grid: tuple[int, int], patch: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """(h * w, p * q) patches of p x q pixels as an image (h * p, w * q)."""
    patches = tokens.reshape(*grid, *patch).transpose(0, 2, 1, 3)
    return patches.reshape(grid[0] * patch[0], grid[1] * patch[1])
