"""Sizes of batches that are measured once: `batch_size=auto`, `task.images_per_forward=auto`.

The first never changes a result, so the fastest is taken, with the operator.  The second names a
run and fills up incomplete batches, so it is the smallest that is hardly slower, without an
operator: all operators then have the same one.

Sizes are timed in turn, several times, and the best time of each counts, because other work on the
machine comes and goes.  Processes that need the same file measure one after another.

The modules are timed as they are, also with `compile=true`: compiling every candidate takes longer
than what a better choice saves.  What a classification computes once for all its batches, the keys
and values of prompts, is there when its sizes are timed, and takes its memory.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from bigain.backbones.base import Backbone
from bigain.devices import synchronize
from bigain.errors import UserError
from bigain.files import parse_json, replace_text
from bigain.patching.projections import KeptProjections
from bigain.patching.sharing import Sharing
from bigain.runs.leases import Lease

__all__ = [
    "LARGEST",
    "MOST_IMAGES",
    "evaluations_per_second",
    "fastest_size",
    "kept_size",
    "sufficient_size",
]

_LOG = logging.getLogger(__name__)

LARGEST = 512
"""The largest candidate: a killed run loses the images of its last batch."""

MOST_IMAGES = 256
"""The largest candidate of images per forward, and the largest that the setting allows."""

_GAIN = 1.03
"""Twice the size must be this many times as fast as the best so far."""

_ROUNDS = 3
"""How often the candidates are timed in turn; the best rate of each counts."""

_FORWARDS = 2
"""Forwards of a candidate in a round; the faster counts, so the first may be slow."""


_Rate = Callable[[int], float | None]


def fastest_size(rate: _Rate) -> int:
    """Double the size of a batch until evaluations per second stop rising, twice, or memory ends.

    Args:
        rate: Evaluations per second of batches of a size; None if they do not fit the memory.

    Raises:
        UserError: A single evaluation does not fit.

    """
    rates, _ = _doubled(rate, LARGEST, "batch_size")
    chosen = max(rates, key=lambda each: rates[each])
    listed = ", ".join(f"{size}: {found:.3g}" for size, found in rates.items())
    _LOG.info("batch_size=auto: %d (evaluations per second: %s)", chosen, listed)
    return chosen


def sufficient_size(rate: _Rate) -> int:
    """The smallest number of images per forward that is within 3 % of the fastest.

    Sizes are doubled as in `fastest_size`.  If memory ends, the largest that fits is left out: an
    operator needs memory of its own, and a batch that shrinks in a run gives other images.

    Args:
        rate: Evaluations per second of forwards of so many images; None if they do not fit.

    Raises:
        UserError: A single image does not fit.

    """
    rates, is_full = _doubled(rate, MOST_IMAGES, "task.images_per_forward")
    sizes = list(rates)[:-1] if is_full and len(rates) > 1 else list(rates)
    enough = max(rates[size] for size in sizes) / _GAIN
    return next(size for size in sizes if rates[size] >= enough)


def _doubled(rate: _Rate, largest: int, setting: str) -> tuple[dict[int, float], bool]:
    """Size -> best rate of 1, 2, 4, ..., and whether memory ended.

    Each round goes as far as the best rates so far say that it pays.
    """
    rates: dict[int, float] = {}
    is_full = False
    for _ in range(_ROUNDS):
        size, best, in_vain = 1, 0.0, 0
        while size <= largest and in_vain < 2:
            found = rate(size)
            if found is None:
                is_full, largest = True, size // 2
                break
            rates[size] = max(found, rates.get(size, 0.0))
            in_vain = in_vain + 1 if rates[size] < _GAIN * best else 0
            size, best = 2 * size, max(best, rates[size])
    rates = {size: found for size, found in rates.items() if size <= largest}
    if not rates:
        raise UserError(
            f"{setting}=auto: one evaluation does not fit the device's memory; allowed: a device "
            "with more memory, a smaller backbone, or dtype=float16"
        )
    return rates, is_full


@torch.inference_mode()
def evaluations_per_second(
    backbone: Backbone,
    device: torch.device,
    size: int,
    classes_each: int = 1,
    *,
    kept: KeptProjections | None = None,
) -> float | None:
    """Of a batch of random latents; None if it does not fit the memory.

    On one thread of a CPU its time is that of the processor, which other work hardly changes.

    Args:
        backbone: The denoiser; an operator may be applied to it.
        device: Where it is.
        size: Evaluations in the batch.
        classes_each: How many classes in a row have the same latents and timestep.  What does not
            depend on the class is computed once for them (`bigain.patching.sharing`).
        kept: The tables from which keys and values of prompts are taken, as in a classification
            (`bigain.patching.projections`); entered.

    """
    seconds, clock = [], _clock(device)
    with suppress(torch.OutOfMemoryError), Sharing(backbone.denoiser) as sharing:
        groups = torch.arange(size) // classes_each
        latents = torch.randn(size, *backbone.latent_shape)[groups].to(device)
        timesteps = groups * 37 % len(backbone.schedule)
        classes = (torch.arange(size) % backbone.num_classes).to(device)
        for _ in range(_FORWARDS):
            synchronize(device)
            began = clock()
            told = backbone.model_timesteps(timesteps)
            with sharing.rows(groups, told), kept.of(classes) if kept else nullcontext():
                backbone.predict(latents, timesteps.to(device), classes)
            synchronize(device)
            seconds.append(clock() - began)
    if len(seconds) == _FORWARDS:
        return size / min(seconds)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _clock(device: torch.device) -> Callable[[], float]:
    """What tells the time of a forward, in s."""
    is_alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if is_alone else time.perf_counter


def kept_size(path: Path, about: Mapping[str, Any], measure: Callable[[], int]) -> int:
    """The size that the JSON file `path` has for what `about` names; else measured and written.

    Processes that start at the same time, such as shards of a run, measure once, one after another.

    Raises:
        UserError: The file is damaged.

    """
    key = json.dumps(about, sort_keys=True)
    known = _read(path).get(key)
    if known is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with Lease(path.parent, path.name, waits=True):
            known = _read(path).get(key)
            if known is None:
                size = measure()
                text = json.dumps({**_read(path), key: size}, indent=2, sort_keys=True)
                replace_text(path, f"{text}\n")
                return size
    _LOG.info("auto: %d, as measured earlier (%s)", known, path)
    return known


def _read(path: Path) -> dict[str, int]:
    if not path.is_file():
        return {}
    with suppress(ValueError):
        found = parse_json(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(type(size) is int for size in found.values()):
            return found
    raise UserError(f"{path}: is damaged; delete it, and what is `auto` is measured again")
