"""Checks of Python, the versions of packages, the settings of the hub, and the extras.

The allowed versions are those of `pyproject.toml` if it is beside the package, otherwise those of
the installed package's metadata.  No package is imported: torch alone would take longer than all
the other checks.
"""

import importlib.util
import os
import platform
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from bigain.doctor.findings import Finding
from bigain.locations import CONFIGS

__all__ = ["EXTRAS", "check_environment", "check_extras"]

EXTRAS = {
    "coco": "dataset=coco2017",
    "joblib": "hydra/launcher=joblib",
    "slurm": "hydra/launcher=submitit_slurm, submitit_local",
    "ray": "hydra/launcher=ray",
    "wandb": "tracking=wandb",
    "trackio": "tracking=trackio",
}
"""Extra -> what needs it."""

_PACKAGE = "bigain"
_PYPROJECT: Path = CONFIGS.parent / "pyproject.toml"
_IMPORTED_AS = {
    "hydra-core": "hydra",
    "hydra-joblib-launcher": "hydra_plugins",
    "hydra-ray-launcher": "hydra_plugins",
    "hydra-submitit-launcher": "hydra_plugins",
    "pillow": "PIL",
}
_SHOWN = ("torch", "diffusers", "transformers")
_TORCHVISION_AHEAD = 15
"""torch 2.N goes with torchvision 0.(N + 15), and with no other."""


@dataclass(frozen=True)
class _Declared:
    """The requirements that the package declares."""

    python: str
    packages: Sequence[Requirement]
    extras: Mapping[str, Sequence[Requirement]]


def check_environment() -> list[Finding]:
    """Python, packages and the hub; one finding for all packages if all of them fit."""
    declared = _declared()
    bad = [*_wrong(declared.packages), *_wrong_pair()]
    good = [] if bad else [_well(len(declared.packages))]
    return [_python(declared.python), *bad, *good, _hub()]


def check_extras(needed: Collection[str]) -> list[Finding]:
    """The optional packages; the extras in `needed` are required."""
    declared = _declared()
    return [_extra(name, declared.extras.get(name, ()), name in needed) for name in EXTRAS]


def _declared() -> _Declared:
    project = _PYPROJECT.is_file() and tomllib.loads(_PYPROJECT.read_text("utf-8"))["project"]
    return _of_project(project) if project else _of_metadata()


def _of_project(project: Mapping[str, Any]) -> _Declared:
    packages = [Requirement(text) for text in project["dependencies"]]
    extras = project.get("optional-dependencies", {})
    own = {name: [Requirement(text) for text in texts] for name, texts in extras.items()}
    return _Declared(project["requires-python"], packages, own)


def _of_metadata() -> _Declared:
    texts = metadata.requires(_PACKAGE) or []
    all_of_them = [Requirement(text) for text in texts]

    def of(extra: str) -> list[Requirement]:
        return [r for r in all_of_them if r.marker is None or r.marker.evaluate({"extra": extra})]

    core = of("")
    names = {requirement.name for requirement in core}
    extras = {name: [r for r in of(name) if r.name not in names] for name in EXTRAS}
    return _Declared(metadata.metadata(_PACKAGE)["Requires-Python"] or "", core, extras)


def _python(allowed: str) -> Finding:
    version = platform.python_version()
    fits = SpecifierSet(allowed).contains(version, prereleases=True)
    advice = () if fits else ("make setup with such a Python first in PATH",)
    what = f"{version} ({allowed})" if fits else f"{version} is not {allowed}"
    return Finding("environment", "python", "ready" if fits else "problem", what, advice)


def _wrong(requirements: Collection[Requirement]) -> Iterator[Finding]:
    """A finding for each package that is missing or of a version that is not allowed."""
    for requirement in requirements:
        found, name = _version(requirement.name), requirement.name
        install = (f"pip install '{name}{requirement.specifier}'", "make setup")
        if found is None:
            yield Finding("environment", name, "missing", "is not installed", install)
        elif not requirement.specifier.contains(found, prereleases=True):
            what = f"{found}, not of {requirement.specifier}"
            yield Finding("environment", name, "problem", what, install)
        elif importlib.util.find_spec(_module(name)) is None:
            what = f"{found} is installed, but there is no module {_module(name)}"
            yield Finding(
                "environment", name, "problem", what, (f"pip install --force-reinstall {name}",)
            )


def _wrong_pair() -> Iterator[Finding]:
    torch, torchvision = _version("torch"), _version("torchvision")
    if torch is None or torchvision is None:
        return
    wanted = Version(torch).minor + _TORCHVISION_AHEAD
    if Version(torchvision).minor != wanted:
        what = f"{torchvision} is not the one of torch {torch}"
        advice = (f"pip install 'torchvision==0.{wanted}.*'",)
        yield Finding("environment", "torchvision", "problem", what, advice)


def _well(count: int) -> Finding:
    shown = ", ".join(f"{name} {_version(name)}" for name in _SHOWN)
    return Finding("environment", "packages", "ready", f"{count} in their ranges; {shown}")


def _hub() -> Finding:
    if constants.is_offline_mode():
        what = f"offline (HF_HUB_OFFLINE is set), cache {constants.HF_HUB_CACHE}"
    else:
        what = f"may be asked for models, cache {constants.HF_HUB_CACHE}"
    stray = os.environ.get("TRANSFORMERS_OFFLINE") and not constants.is_offline_mode()
    advice = ("TRANSFORMERS_OFFLINE alone has no effect: set HF_HUB_OFFLINE=1",) if stray else ()
    return Finding("environment", "hub", "ready", what, advice)


def _extra(name: str, packages: Sequence[Requirement], needed: bool) -> Finding:
    bad = list(_wrong(packages))
    if not bad:
        shown = ", ".join(f"{each.name} {_version(each.name)}" for each in packages)
        return Finding("optional", name, "ready", f"{shown}, for {EXTRAS[name]}", (), needed)
    faults = ", ".join(f"{each.subject} {each.what}" for each in bad)
    install = (f"pip install -e '.[{name}]' in the clone",)
    return Finding(
        "optional", name, bad[0].status, f"{faults}; for {EXTRAS[name]}", install, needed
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _module(name: str) -> str:
    return _IMPORTED_AS.get(name, name.replace("-", "_"))
