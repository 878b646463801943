"""Random draws of operators, and the timesteps of a call.

A draw is a pure function of (seed, site, timestep of the sample): a CPU generator is seeded with
the sha256 of the three.  It is the same for all images and classes, and does not depend on the rest
of the batch, the order of calls, sharding, or the device (`paired`).

`RandomKey.per_sample` adds the sample's own input: its draw is a pure function of (seed, site,
timestep, values of that sample's model input).  All classes of one image and noise share it, and
images and noises differ.

The paper's released code draws once per forward for the whole batch.  `RandomKey.per_forward` does
so too: its draw is a pure function of (seed, site, values of the tensors that the model was called
with).  Equal forwards have equal draws, so a repeated run repeats its results; but the draw depends
on what is in the batch.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from bigain.errors import UserError

__all__ = ["DRAWS", "Groups", "RandomKey", "fingerprints"]

Groups = tuple[tuple[int, ...], ...]
"""The row numbers of each group; every row of a batch is in one."""

DRAWS = ("paired", "per_sample", "per_forward")
"""How an operator draws: by timestep of the sample, by its timestep and its model input, or once
per forward."""


@dataclass(frozen=True, eq=False)
class RandomKey:
    """Seed, site and timesteps of one plan.

    Attributes:
        seed: the seed of the run.
        site: the name of the site, e.g. `transformer_blocks.3`.
        timesteps: (B,), (1,) or 0-d, integers or floats in [0, 999]; None if there are none.
        inputs: The tensors that the model was called with, in any order.
        on_cpu: The values of `timesteps` on the CPU, if they are there anyway: a draw then does not
            wait for the device.
        sample: (B, ...) or (1, ...): what the model was given to denoise.
        known: Gives the fingerprints of the rows of `sample`, (B,) or (1,), which all sites of a
            forward share; None: each site computes them.
        groups: Rows that may share a plan (`bigain.operators.SharedPlan`); None: each has its own.

    """

    seed: int = 0
    site: str = ""
    timesteps: Tensor | None = None
    inputs: tuple[Tensor, ...] = ()
    on_cpu: Tensor | None = None
    sample: Tensor | None = None
    groups: Groups | None = None
    known: Callable[[], Tensor] | None = None

    def drawing(self, draws: str, like: Tensor) -> "RandomKey":
        """The key of the same site that draws as `draws`, one of `DRAWS`, says.

        Args:
            draws: `paired` is this key itself.
            like: a tensor of the batch: gives B and the device.

        Raises:
            UserError: as `per_sample`.

        """
        if draws == "per_sample":
            return self.per_sample(like)
        return self.per_forward(like) if draws == "per_forward" else self

    def per_sample(self, like: Tensor) -> "RandomKey":
        """The key of the same site whose row b depends only on timestep b and row b of `sample`.

        Args:
            like: a tensor of the batch: gives B.

        Raises:
            UserError: there is no sample, or its rows are neither 1 nor B.

        """
        rows = 0 if self.sample is None else len(self.sample)
        if self.sample is None or rows not in (1, len(like)):
            allowed = f"a key whose sample has 1 row or {len(like)} rows"
            raise UserError(
                f"draws=per_sample: the key's sample has {rows} rows; allowed: {allowed}"
            )
        times = self._times(len(like))
        found = self.known() if self.known else fingerprints(self.sample, times)
        return replace(self, site=f"{self.site}|sample", timesteps=found, on_cpu=None)

    def per_forward(self, like: Tensor) -> "RandomKey":
        """The key of the same site whose draws belong to this forward: one for the whole batch.

        Args:
            like: any tensor on the device of the draws.

        """
        fingerprint: Tensor = torch.ops.bigain.fingerprint(like, list(self.inputs))
        return replace(self, site=f"{self.site}|forward", timesteps=fingerprint, on_cpu=None)

    def integers(self, count: int, high: int, like: Tensor) -> Tensor:
        """(B, count) integers, uniform in 0..high-1; row b depends only on timestep b.

        Args:
            count: integers per sample.
            high: upper bound, exclusive.
            like: a tensor of the batch: gives B and the device.

        Raises:
            UserError: the number of timesteps is neither 1 nor B.

        """
        times = self._times(len(like))
        drawn: Tensor = torch.ops.bigain.integers(like, times, self.seed, self.site, count, high)
        return drawn

    def normals(self, count: int, like: Tensor) -> Tensor:
        """(B, count) standard normal numbers in fp32; row b depends only on timestep b.

        Args:
            count: numbers per sample.
            like: a tensor of the batch: gives B and the device.

        Raises:
            UserError: the number of timesteps is neither 1 nor B.

        """
        times = self._times(len(like))
        drawn: Tensor = torch.ops.bigain.normals(like, times, self.seed, self.site, count)
        return drawn

    def per_sample_timesteps(self, batch: int) -> Tensor | None:
        """The timesteps as (batch,), or None if there are none.

        Raises:
            UserError: the number of timesteps is neither 1 nor `batch`.

        """
        return None if self.timesteps is None else _per_row(self.timesteps, batch)

    def _times(self, batch: int) -> Tensor | None:
        """As `per_sample_timesteps`, on the CPU if they are there."""
        known = self.timesteps if self.on_cpu is None else self.on_cpu
        return None if known is None else _per_row(known, batch)


def fingerprints(sample: Tensor, timesteps: Tensor | None) -> Tensor:
    """A hash of each row of `sample` with its timestep: (B,) or (1,) fp32 integers below 2^24.

    Args:
        sample: (B, ...) or (1, ...).
        timesteps: (B,), (1,) or 0-d; None if there are none.

    """
    batch = max(len(sample), 1 if timesteps is None else timesteps.numel())
    rows = sample.expand(batch, *sample.shape[1:])
    times = None if timesteps is None else _per_row(timesteps, batch)
    found: Tensor = torch.ops.bigain.fingerprints(rows, times)
    return found


def _per_row(timesteps: Tensor, batch: int) -> Tensor:
    flat = timesteps.reshape(-1)
    if len(flat) not in (1, batch):
        raise UserError(f"timesteps={len(flat)} values: allowed: 1, or one per sample: {batch}")
    return flat.expand(batch)


# A draw is a custom operation of torch: `torch.compile` cannot trace a generator, and the meta
# device, where FLOPs are counted, needs shapes only.
_LIBRARY = torch.library.Library("bigain", "DEF")
_LIBRARY.define(
    "integers(Tensor like, Tensor? timesteps, int seed, str site, int count, int high) -> Tensor"
)
_LIBRARY.define("fingerprint(Tensor like, Tensor[] inputs) -> Tensor")
_LIBRARY.define("fingerprints(Tensor sample, Tensor? timesteps) -> Tensor")
_LIBRARY.define("normals(Tensor like, Tensor? timesteps, int seed, str site, int count) -> Tensor")
_DEVICES = ("CPU", "CUDA", "MPS")


def _drawn_integers(
    like: Tensor, timesteps: Tensor | None, seed: int, site: str, count: int, high: int
) -> Tensor:
    return _per_sample(like, timesteps, lambda time: _integers(seed, site, time, count, high))


def _drawn_normals(
    like: Tensor, timesteps: Tensor | None, seed: int, site: str, count: int
) -> Tensor:
    return _per_sample(like, timesteps, lambda time: _normals(seed, site, time, count))


def _fingerprint(like: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """(1,) fp32: a hash of the set of `inputs`, an integer below 2^24."""
    return like.new_tensor([_number(sorted({_hash(each) for each in inputs}))], dtype=torch.float32)


def _fingerprints(sample: Tensor, timesteps: Tensor | None) -> Tensor:
    """(B,) fp32: a hash of each row of `sample` with its timestep, an integer below 2^24."""
    times = [None] * len(sample) if timesteps is None else timesteps.float().tolist()
    rows = zip(sample.detach().cpu(), times, strict=True)
    numbers = [_number([_hash(row), repr(time).encode()]) for row, time in rows]
    return sample.new_tensor(numbers, dtype=torch.float32)


def _number(parts: Sequence[bytes]) -> int:
    """An integer below 2^24, which fp32 holds exactly."""
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest()[:3], "little")


def _hash(values: Tensor) -> bytes:
    """Of type, shape and bytes."""
    plain = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    kind = f"{values.dtype}|{tuple(values.shape)}|".encode()
    return hashlib.sha256(kind + plain.numpy().tobytes()).digest()


def _no_integers(
    like: Tensor, timesteps: Tensor | None, seed: int, site: str, count: int, high: int
) -> Tensor:
    del timesteps, seed, site, high
    return like.new_empty(len(like), count, dtype=torch.int64)


def _no_normals(like: Tensor, timesteps: Tensor | None, seed: int, site: str, count: int) -> Tensor:
    del timesteps, seed, site
    return like.new_empty(len(like), count, dtype=torch.float32)


def _no_fingerprint(like: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    del inputs
    return like.new_empty(1, dtype=torch.float32)


def _no_fingerprints(sample: Tensor, timesteps: Tensor | None) -> Tensor:
    del timesteps
    return sample.new_empty(len(sample), dtype=torch.float32)


for _device in _DEVICES:
    _LIBRARY.impl("fingerprint", _fingerprint, _device)
    _LIBRARY.impl("fingerprints", _fingerprints, _device)
    _LIBRARY.impl("integers", _drawn_integers, _device)
    _LIBRARY.impl("normals", _drawn_normals, _device)
torch.library.register_fake("bigain::fingerprint", _no_fingerprint, lib=_LIBRARY)
torch.library.register_fake("bigain::fingerprints", _no_fingerprints, lib=_LIBRARY)
torch.library.register_fake("bigain::integers", _no_integers, lib=_LIBRARY)
torch.library.register_fake("bigain::normals", _no_normals, lib=_LIBRARY)


def _per_sample(
    like: Tensor, timesteps: Tensor | None, row: Callable[[float | None], Tensor]
) -> Tensor:
    """A (B, count) tensor on the device of `like`; row b is `row(timesteps[b])`.

    Timesteps are rounded to single precision, so 978.6 gives the same draw in any precision.
    """
    if timesteps is None:
        return _there(row(None).expand(len(like), -1).contiguous(), like)
    times: list[float] = timesteps.float().tolist()
    distinct = {time: number for number, time in enumerate(dict.fromkeys(times))}
    drawn = torch.stack([row(time) for time in distinct])
    own = torch.tensor([distinct[time] for time in times])
    return _there(drawn, like)[_there(own, like)]


def _there(drawn: Tensor, like: Tensor) -> Tensor:
    """On the device of `like`; the CPU does not wait for a GPU."""
    pinned = drawn.pin_memory() if like.is_cuda else drawn
    return pinned.to(like.device, non_blocking=True)


@lru_cache(maxsize=2048)
def _integers(seed: int, site: str, time: float | None, count: int, high: int) -> Tensor:
    """(count,) integers on the CPU; never an inference tensor, so training may use them later."""
    with torch.inference_mode(mode=False):
        return torch.randint(high, (count,), generator=_generator(seed, site, time))


@lru_cache(maxsize=256)
def _normals(seed: int, site: str, time: float | None, count: int) -> Tensor:
    """(count,) numbers on the CPU; never an inference tensor, so training may use them later."""
    with torch.inference_mode(mode=False):
        generator = _generator(seed, site, time)
        return torch.randn(count, generator=generator, dtype=torch.float32)


def _generator(seed: int, site: str, time: float | None) -> torch.Generator:
    key = hashlib.sha256(f"{seed}|{site}|{time!r}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:4], "little"))
