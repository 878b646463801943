"""Whether results, caches and downloads fit on the disk.

What a run writes is estimated from its settings: per image a record with a score and a number of
trials for each class, in the journal and in samples.csv, or a generated image; in the cache the
latents of each image and the embedding of each prompt.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from bigain.config import RunConfig
from bigain.doctor.findings import Finding
from bigain.errors import UserError
from bigain.runs.files import check_results

__all__ = ["cache_bytes", "check_disk", "result_bytes"]

_RECORD, _CLASS = 1_000, 50
"""Bytes of an image on record and of each class of it, in two files; measured, rounded up."""
_PIXEL = 2
"""Bytes of a pixel of a generated image as PNG."""
_TOKENS, _FLOAT = 77, 4
_MINI_SIDE, _LATENT_PIXELS = 28, 8
"""Side of a mini backbone's images, and of the square of pixels behind a latent of the others."""


@dataclass(frozen=True)
class _Place:
    subject: str
    folder: Path
    needs: float
    holds: str = ""


def check_disk(
    configs: Sequence[RunConfig], downloads: float = 0.0, *, needed: bool = True
) -> list[Finding]:
    """The folders that `configs` write to, together with a download of so many bytes."""
    places = _places(configs, downloads)
    needs: dict[int, float] = {}
    for place in places:
        disk = _nearest(place.folder).stat().st_dev
        needs[disk] = needs.get(disk, 0.0) + place.needs
    return [
        _finding(place, needs[_nearest(place.folder).stat().st_dev], needed) for place in places
    ]


def result_bytes(config: RunConfig) -> float:
    """About what the records of a run take."""
    if not config.needs_images:
        return _RECORD
    if config.task.name == "generation":
        return config.dataset.num_images * (_RECORD + _PIXEL * _side(config) ** 2)
    return config.dataset.num_images * (_RECORD + _CLASS * config.dataset.facts.num_classes)


def cache_bytes(config: RunConfig) -> float:
    """About what latents and prompt embeddings of a run take; never more than the caches may."""
    if config.backbone.is_mini or not config.needs_images:
        return 0.0
    settings, bound = config.backbone.architecture.settings, config.cache.gigabytes * 1e9
    latent = int(settings["in_channels"]) * int(settings["sample_size"]) ** 2 * _FLOAT
    width = int(settings.get("cross_attention_dim", 0))
    encoded = config.dataset.num_images if config.task.name == "classification" else 0
    latents = encoded * latent * config.cache.latents
    prompts = config.dataset.facts.num_classes * _TOKENS * width * _FLOAT * config.cache.prompts
    return min(float(latents), bound) + min(float(prompts), bound)


def _side(config: RunConfig) -> int:
    """Pixels along a generated image."""
    if config.backbone.is_mini:
        return _MINI_SIDE
    return int(config.backbone.architecture.settings["sample_size"]) * _LATENT_PIXELS


def _places(configs: Sequence[RunConfig], downloads: float) -> list[_Place]:
    results = dict.fromkeys(config.paths.results for config in configs)
    caches = dict.fromkeys(config.paths.cache for config in configs if not config.backbone.is_mini)
    places = [
        _Place(
            "results", folder, sum(result_bytes(c) for c in configs if c.paths.results == folder)
        )
        for folder in results
    ]
    for folder in caches:
        # Runs of one backbone and dataset share their entries.
        shared = {
            (c.backbone.name, c.dataset.name): cache_bytes(c)
            for c in configs
            if c.paths.cache == folder
        }
        bound = max(c.cache.gigabytes for c in configs if c.paths.cache == folder)
        held = f"holds {_size(_held(folder))}, at most {bound:g} GB of latents and of prompts"
        places.append(_Place("cache", folder, max(sum(shared.values()) - _held(folder), 0.0), held))
    if downloads:
        places.append(_Place("hub's cache", Path(constants.HF_HUB_CACHE), downloads))
    return places


def _finding(place: _Place, all_needs: float, needed: bool) -> Finding:
    free = shutil.disk_usage(_nearest(place.folder)).free
    told = f"{place.folder}: {_size(free)} free, needs about {_size(place.needs)}"
    what = f"{told}; {place.holds}" if place.holds else told
    try:
        check_results(place.folder)
    except UserError:
        what = f"{place.folder}: is no folder that one can write to"
        other = (f"another folder: {_SETTING[place.subject]}",)
        return Finding("disk", place.subject, "problem", what, other, needed)
    if free < all_needs:
        advice = (
            f"free {_size(all_needs - free)} there",
            f"another disk: {_SETTING[place.subject]}",
        )
        return Finding("disk", place.subject, "problem", what, advice, needed)
    return Finding("disk", place.subject, "ready", what, needed=needed)


_SETTING = {
    "results": "paths.results=DIR or BIGAIN_RESULTS",
    "cache": "paths.cache=DIR or BIGAIN_CACHE",
    "hub's cache": "HF_HOME",
}


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def _held(folder: Path) -> float:
    """Bytes of all files below `folder`."""
    return float(sum(_sizes(folder)))


def _sizes(folder: Path) -> Iterable[int]:
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(above) / name).stat().st_size
            except OSError:  # another process may delete it now
                continue


def _size(count: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"
