"""`batch_size=auto`: the size of a batch with the most evaluations per second, measured once.

The modules are timed as they are, also with `compile=true`: compiling every candidate takes longer
than what a better choice saves.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bigain.backbones.base import Backbone
from bigain.devices import synchronize
from bigain.errors import UserError
from bigain.files import parse_json, replace_text

__all__ = ["LARGEST", "evaluations_per_second", "fastest_size", "kept_size"]

_LOG = logging.getLogger(__name__)

LARGEST = 512
"""The largest candidate: a killed run loses the images of its last batch."""

_GAIN = 1.03
"""Twice the size must be this many times as fast as the best so far."""

_FORWARDS = 4
"""Forwards of each candidate; the fastest counts, so the first may be slow."""


def fastest_size(rate: Callable[[int], float | None]) -> int:
    """Double the size of a batch until evaluations per second stop rising, twice, or memory ends.

    Args:
        rate: Evaluations per second of batches of a size; None if they do not fit the memory.

    Raises:
        UserError: A single evaluation does not fit.

    """
    rates: dict[int, float] = {}
    size, best, in_vain = 1, 0.0, 0
    while size <= LARGEST and in_vain < 2 and (found := rate(size)) is not None:
        rates[size] = found
        in_vain = in_vain + 1 if found < _GAIN * best else 0
        size, best = 2 * size, max(best, found)
    if not rates:
        raise UserError(
            "batch_size=auto: one evaluation does not fit the device's memory; allowed: a device "
            "with more memory, a smaller backbone, or dtype=float16"
        )
    chosen = max(rates, key=lambda each: rates[each])
    listed = ", ".join(f"{size}: {found:.3g}" for size, found in rates.items())
    _LOG.info("batch_size=auto: %d (evaluations per second: %s)", chosen, listed)
    return chosen


@torch.inference_mode()
def evaluations_per_second(backbone: Backbone, device: torch.device, size: int) -> float | None:
    """Of a batch of random latents; None if it does not fit the memory."""
    seconds = []
    with suppress(torch.OutOfMemoryError):
        latents = torch.randn(size, *backbone.latent_shape).to(device)
        timesteps = (torch.arange(size) * 37 % len(backbone.alphas_cumprod)).to(device)
        classes = (torch.arange(size) % backbone.num_classes).to(device)
        for _ in range(_FORWARDS):
            synchronize(device)
            began = time.perf_counter()
            backbone.predict_noise(latents, timesteps, classes)
            synchronize(device)
            seconds.append(time.perf_counter() - began)
    if len(seconds) == _FORWARDS:
        return size / min(seconds)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def kept_size(path: Path, about: Mapping[str, Any], measure: Callable[[], int]) -> int:
    """The size that the JSON file `path` has for what `about` names; else measured and written.

    Raises:
        UserError: The file is damaged.

    """
    key = json.dumps(about, sort_keys=True)
    known = _read(path).get(key)
    if known is not None:
        _LOG.info("batch_size=auto: %d, as measured earlier (%s)", known, path)
        return known
    size = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps({**_read(path), key: size}, indent=2, sort_keys=True) + "\n")
    return size


def _read(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    with suppress(ValueError):
        found = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(type(size) is int for size in found.values()):
            return found
    raise UserError(f"{path}: is damaged; delete it, and batch_size=auto is measured again")
