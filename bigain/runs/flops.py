"""FLOPs of one evaluation of a run's denoiser, where they were counted before.

Counting loads torch and takes seconds, on a large model minutes.  The counts of the tables' own
runs ship in `bigain/assets/flops.json` (`scripts/count_flops.py`); others are kept in
`<paths.cache>/flops.json`.
"""

import json
from contextlib import suppress
from pathlib import Path

from bigain.files import parse_json, replace_text
from bigain.locations import ASSETS
from bigain.runs.identity import Config, canonical
from bigain.runs.provenance import package_version

__all__ = ["SHIPPED_FLOPS", "flops_name", "keep_flops", "known_flops"]

SHIPPED_FLOPS = ASSETS / "flops.json"
"""FLOPs of an evaluation of every run of the tables, by `flops_name`."""

_KEPT = "flops.json"


def flops_name(config: Config) -> str:
    """What the count of a run depends on: backbone, operator, sites and size of the image.

    Args:
        config: The configuration of the run, or what is published of it.

    """
    plain = json.loads(canonical(config))
    parts = [plain["backbone"]["name"], plain["operator"], plain["backbone"].get("sites")]
    side = plain["backbone"].get("image_side")
    return json.dumps([*parts, *([side] if side else [])], sort_keys=True)


def known_flops(config: Config, cache: Path | None = None) -> int | None:
    """The FLOPs that ship or that this version of the package counted; None if neither.

    Args:
        config: The configuration of the run, or what is published of it.
        cache: The folder `paths.cache`.

    """
    name = flops_name(config)
    shipped = _read(SHIPPED_FLOPS)
    if name in shipped or cache is None:
        return shipped.get(name)
    return _read(cache / _KEPT).get(_kept_name(name))


def keep_flops(config: Config, cache: Path, flops: int) -> None:
    """Keep a count in the folder `paths.cache`; where that cannot be, it is counted again."""
    known = _read(cache / _KEPT) | {_kept_name(flops_name(config)): flops}
    with suppress(OSError):
        replace_text(cache / _KEPT, json.dumps(known, indent=1, sort_keys=True) + "\n")


def _kept_name(name: str) -> str:
    return f"{package_version('bigain') or 'unknown'} {name}"


def _read(path: Path) -> dict[str, int]:
    """The counts of a file; a damaged file has none."""
    try:
        found: dict[str, int] = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
