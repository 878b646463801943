"""Where a result comes from: code, packages, machine.

Nothing here may fail or change a result: unknown facts are None.
"""

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bigain.machine import command_output, cpu_model

__all__ = [
    "CONTENTS",
    "PACKAGES",
    "Origin",
    "changed",
    "collect",
    "differing",
    "git_state",
    "now",
    "package_version",
    "package_versions",
    "weights_of",
]

PACKAGES = (
    *("bigain", "torch", "torchvision", "diffusers", "transformers", "safetensors"),
    *(
        "huggingface-hub",
        "numpy",
        "scipy",
        "pandas",
        "pillow",
        "hydra-core",
        "omegaconf",
        "pydantic",
    ),
)
_NOT_WEIGHTS = ("dataset/", "extractor/", "reference/")
"""How the names of hashes begin that are of images, or of what measures generated images."""

CONTENTS = "/files"
"""How the names of hashes end that are of the bytes of image files.  Older manifests lack them."""

_SETTINGS = (".json", ".txt")
"""How the names of a model's settings and vocabularies end.  Older manifests have none of them."""

_REPOSITORY = Path(__file__).parents[2]
_CODE = ("bigain", "configs", "scripts")


@dataclass(frozen=True)
class Origin:
    """What a task knows about the origin of its records.

    Attributes:
        attention_backend: How the model computes attention; None without a forward on numbers.
        hashes: Name -> sha256 of the weights and data that were loaded.
        source: Where the weights came from, as the backbone says.
        notes: Further entries of the manifest.

    """

    attention_backend: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


def collect(origin: Origin = Origin()) -> dict[str, Any]:
    """The part of the manifest about the origin of a run: code, packages, machine, and `origin`."""
    return {
        **git_state(_REPOSITORY),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_model": cpu_model(),
        "cores": os.cpu_count(),
        "torch_threads": _torch_threads(),
        "attention_backend": origin.attention_backend,
        "hashes": dict(origin.hashes),
        "source": dict(origin.source),
        **origin.notes,
    }


def weights_of(hashes: Mapping[str, str]) -> dict[str, str]:
    """The hashes of what determines a record beside its image: weights and their settings."""
    return {name: value for name, value in hashes.items() if not name.startswith(_NOT_WEIGHTS)}


def differing(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """The names under which two runs have different hashes, or only one has a hash; sorted.

    Settings of a model count only if both runs have hashes of settings, and the bytes of image
    files only if both have them and their names and sizes are the same.
    """
    names = {*a, *b}
    for name in [name for name in names if name.endswith(CONTENTS)]:
        whole = name.removesuffix(CONTENTS)
        if not (name in a and name in b) or a.get(whole) != b.get(whole):
            names.discard(name)
    if not all(any(name.endswith(_SETTINGS) for name in hashes) for hashes in (a, b)):
        names = {name for name in names if not name.endswith(_SETTINGS)}
    return sorted(name for name in names if a.get(name) != b.get(name))


def changed(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The names of what is another now.

    Images, extractor and reference are compared where both have a hash.  The weights are compared
    as a set of files, if both have any.
    """
    others = [name for name in found if name in recorded and found[name] != recorded[name]]
    before, present = weights_of(recorded), weights_of(found)
    if not (before and present):
        return others
    return differing(before, present) + [name for name in others if name not in present]


def now() -> str:
    """The time, UTC, ISO 8601, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def git_state(repository: Path) -> dict[str, Any]:
    """`git_commit` and `git_dirty` (code or configuration differs from it) of `repository`.

    Both are None if it is not the top of a git work tree: an installed package that happens to
    lie inside somebody's repository does not belong to that repository.
    """
    top = command_output("git", "-C", str(repository), "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != repository.resolve():
        return {"git_commit": None, "git_dirty": None}
    changes = command_output("git", "-C", str(repository), "status", "--porcelain", "--", *_CODE)
    return {
        "git_commit": command_output("git", "-C", str(repository), "rev-parse", "HEAD"),
        "git_dirty": None if changes is None else changes != "",
    }


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that results may depend on."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch_threads() -> int | None:
    """Threads of torch if it is loaded; importing it for this alone would take seconds."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())
