"""BiGain: token compression for joint generation and classification with diffusion models.

    with bigain.apply(unet, bigain.operators.LGTM(ratio=0.7)) as report:
        ...

Importing the package loads no torch; the names below load what they need when first used.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigain import operators
    from bigain.patching.apply import apply, remove
    from bigain.patching.report import SiteReport
    from bigain.patching.selection import SiteSelection

__all__ = ["SiteReport", "SiteSelection", "__version__", "apply", "operators", "remove"]

_HOMES = {
    "SiteReport": "bigain.patching.report",
    "SiteSelection": "bigain.patching.selection",
    "apply": "bigain.patching.apply",
    "remove": "bigain.patching.apply",
}

try:
    __version__ = version("bigain")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "unknown"


def __getattr__(name: str) -> Any:
    if name == "operators":
        return import_module("bigain.operators")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
