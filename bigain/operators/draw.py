"""Randomness and time of one operator call at one site.

A random choice is a pure function of (seed, site, timestep of the sample): a CPU generator seeded
from the sha256 of the three.  It is the same for every class of an image and for every image, and
does not depend on the rest of the batch, on the order of calls, on sharding, or on the device.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from bigain.errors import UserError

__all__ = ["Draw"]


@dataclass(frozen=True, eq=False)
class Draw:
    """Where and when an operator is asked for a plan.

    Attributes:
        seed: the seed of the run.
        site: the name of the site, e.g. `transformer_blocks.3`.
        timesteps: (B,), (1,) or 0-d, integers or floats in 0..999; None when there is no time.

    """

    seed: int = 0
    site: str = ""
    timesteps: Tensor | None = None

    def integers(self, count: int, high: int, batch: int, device: torch.device) -> Tensor:
        """(batch, count) integers, uniform in 0..high-1; row b depends on timestep b only.

        Raises:
            UserError: neither one timestep nor one per sample was given.

        """
        times = self._times(batch)
        rows = {t: _integers(self.seed, self.site, t, count, high) for t in set(times)}
        if len(rows) == 1:
            return rows[times[0]].to(device).expand(batch, count)
        return torch.stack([rows[t] for t in times]).to(device)

    def per_sample_timesteps(self, batch: int) -> Tensor | None:
        """The timesteps as (batch,), or None when there are none.

        Raises:
            UserError: neither one timestep nor one per sample was given.

        """
        if self.timesteps is None:
            return None
        flat = self.timesteps.reshape(-1)
        if len(flat) not in (1, batch):
            raise UserError(
                f"timesteps={len(flat)} values: must be one, or one per sample: {batch}"
            )
        return flat.expand(batch)

    def _times(self, batch: int) -> list[float | None]:
        timesteps = self.per_sample_timesteps(batch)
        return [None] * batch if timesteps is None else [float(t) for t in timesteps.tolist()]


@lru_cache(maxsize=2048)
def _integers(seed: int, site: str, time: float | None, count: int, high: int) -> Tensor:
    """(count,) integers on the CPU; a normal tensor even when first asked for in inference mode."""
    key = hashlib.sha256(f"{seed}|{site}|{time!r}".encode()).digest()
    with torch.inference_mode(mode=False):
        generator = torch.Generator().manual_seed(int.from_bytes(key[:4], "little"))
        return torch.randint(high, (count,), generator=generator)
