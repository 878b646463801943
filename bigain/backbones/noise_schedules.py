"""From clean latents to noise, and the affine maps between what networks predict.

Every model here mixes clean latents x_0 and noise eps, and its velocity v is another mixture:

    x_t = a x_0 + b eps            v = p eps - q x_0            with a p + b q = 1

    variance preserving     a = sqrt(abar_t),  b = sqrt(1 - abar_t)     p = a,  q = b
    straight (flow)         a = 1 - s_t,       b = s_t                  p = 1,  q = 1

The first is that of DDPM (Eq. 1), whose networks predict eps or v; the second that of flow
matching, whose networks predict v.  Two of x_t, x_0, eps and v give the others:

    x_0 = p x_t - b v        eps = q x_t + a v        v = (eps - q x_t) / a

So for the same network the squared error of eps is a^2 times that of v, and the squared error of
x_0 is b^2 times that of v: another score is another weight for each timestep.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bigain.devices import to_device

__all__ = ["SCORES", "NoiseSchedule", "Predicts", "Score", "straight", "variance_preserving"]

Predicts = Literal["noise", "velocity"]
"""What a network is trained to predict."""

Score = Literal["noise", "velocity", "x0"]
"""What the error of a class is measured on."""

SCORES: tuple[Score, ...] = ("noise", "velocity", "x0")


class _Weights(NamedTuple):
    """a, b, p and q of some timesteps, each of shape (B, 1, 1, 1)."""

    a: Tensor
    b: Tensor
    p: Tensor
    q: Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How a model mixes clean latents and noise, and what its network predicts.

    All tables are float64 on the CPU, of shape (T,), by timestep.

    Attributes:
        a, b: Weights of x_0 and eps in x_t.
        p, q: Weights of eps and -x_0 in v.
        alphas_cumprod: abar_t; along a straight path that of the same ratio of signal to noise,
            a^2 / (a^2 + b^2).
        predicts: What the network gives.
        is_straight: Whether the path is that of flow matching, otherwise it preserves the variance.

    """

    a: Tensor
    b: Tensor
    p: Tensor
    q: Tensor
    alphas_cumprod: Tensor
    predicts: Predicts
    is_straight: bool = False

    def __len__(self) -> int:
        """T, the number of timesteps."""
        return len(self.a)

    def add_noise(self, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t, shape (B, C, H, W).

        Args:
            x0: Clean latents, (B, C, H, W) or (1, C, H, W).
            noise: Shape (B, C, H, W).
            timesteps: Integers in 0..T-1, on the CPU, shape (B,).

        """
        at = self._at(timesteps, noise)
        return at.a * x0 + at.b * noise

    def target(self, score: Score, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a perfect network gives for `score`, shape of `noise`; arguments of `add_noise`."""
        if score == "noise":
            return noise
        if score == "x0":
            return x0.expand_as(noise)
        at = self._at(timesteps, noise)
        return at.p * noise - at.q * x0

    def as_score(self, score: Score, output: Tensor, x: Tensor, timesteps: Tensor) -> Tensor:
        """The noise, velocity or clean latents that the output of the network says, (B, C, H, W).

        Args:
            score: Which of them.
            output: Of the network, at `x`, shape (B, C, H, W).
            x: Noisy latents x_t.
            timesteps: Shape (B,); at fractions b / a is interpolated, as samplers do, and s_t along
                a straight path.

        """
        if score == self.predicts:
            return output
        at = self._at(timesteps, output)
        v = output if self.predicts == "velocity" else (output - at.q * x) / at.a
        if score == "velocity":
            return v
        return at.q * x + at.a * v if score == "noise" else at.p * x - at.b * v

    def _at(self, timesteps: Tensor, like: Tensor) -> _Weights:
        """The weights in the precision and on the device of `like`."""
        if timesteps.is_floating_point():
            found = self._between(timesteps.cpu().double())
        else:
            index = timesteps.cpu()
            found = _Weights(*(each[index] for each in (self.a, self.b, self.p, self.q)))
        shaped = (each.view(-1, 1, 1, 1).to(like.dtype) for each in found)
        return _Weights(*(to_device(each, like.device) for each in shaped))

    def _between(self, timesteps: Tensor) -> _Weights:
        """The weights at fractions of timesteps, between those of the two neighbours."""
        low = timesteps.floor().long().clamp(0, len(self) - 1)
        high = (low + 1).clamp(max=len(self) - 1)
        table = self.b if self.is_straight else self.b / self.a
        between = torch.lerp(table[low], table[high], timesteps - low)
        if self.is_straight:
            one = torch.ones_like(between)
            return _Weights(1 - between, between, one, one)
        a = (1 + between.square()).rsqrt()
        b = between * a
        return _Weights(a, b, a, b)


def variance_preserving(alphas_cumprod: Tensor, predicts: Predicts = "noise") -> NoiseSchedule:
    """The schedule of DDPM (Eq. 1).

    Args:
        alphas_cumprod: abar_t, float64, shape (T,).
        predicts: What the network gives.

    """
    a, b = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
    return NoiseSchedule(a, b, a, b, alphas_cumprod, predicts)


def straight(levels: Tensor) -> NoiseSchedule:
    """The schedule of flow matching, whose network predicts the velocity eps - x_0.

    Args:
        levels: s_t in [0, 1), float64, shape (T,).

    """
    a, one = 1 - levels, torch.ones_like(levels)
    abar = a.square() / (a.square() + levels.square())
    return NoiseSchedule(a, levels, one, one, abar, "velocity", is_straight=True)
