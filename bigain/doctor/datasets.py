"""Whether the images of a dataset are there, as the run itself would look them up.

Every file that a run would use is looked up, and COCO's annotations are read; no image is opened.
"""

from pathlib import Path

from bigain.config import DatasetSettings
from bigain.data import fashion_mnist_files
from bigain.data.layouts import LAYOUTS, search
from bigain.data.loaders import load_dataset
from bigain.doctor.findings import Finding, from_error
from bigain.errors import UserError

__all__ = ["check_dataset"]


def check_dataset(config: DatasetSettings, *, needed: bool = True) -> Finding:
    """The state of the dataset of `config`."""
    if config.name in LAYOUTS:
        found = search(config.name, config.root)
        if found.missing:
            return _not_there(config, found.clue, needed)
    try:
        count = len(load_dataset(config))
    except UserError as error:
        return from_error("datasets", config.name, error, needed=needed)
    except (ImportError, OSError) as error:  # torchvision without its torch, an unreadable folder
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding("datasets", config.name, "problem", what, needed=needed)
    return Finding(
        "datasets", config.name, "ready", f"{count:,} images {_where(config)}", (), needed
    )


def _not_there(config: DatasetSettings, clue: str, needed: bool) -> Finding:
    layout = LAYOUTS[config.name]
    root = Path("data") if config.root is None else config.root
    unset = " (dataset.root and BIGAIN_DATA are not set)" if config.root is None else ""
    places = " or ".join(str(root / folder) for folder in layout.folders)
    advice = (f"get it from {layout.source}", f"lay out {layout.shape} in {places}")
    return Finding("datasets", config.name, "missing", f"{clue}{unset}", advice, needed)


def _where(config: DatasetSettings) -> str:
    if config.name in LAYOUTS:
        return f"in {search(config.name, config.root).folder}"
    if config.name == "fashion_mosaic":
        return "made of the 1,000 that ship"
    found = fashion_mnist_files.find_root(config.root)
    return "of the 1,000 that ship" if found is None else f"in {found}"
