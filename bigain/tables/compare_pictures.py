"""The images of compared runs as they stand in a page: small, and inside of it.

Classified images come from the dataset of a run, where it is now; they are shown only if they are
those of the run, by the hash in its manifest or else by their labels.  Generated images come from
the folders of the runs, if their files are those of the records.
"""

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from pydantic import ValidationError

from bigain.config import DatasetConfig
from bigain.config.base import import_target
from bigain.data.base import OpenedDataset, load_dataset
from bigain.data.images import UnreadableImage
from bigain.data.places import with_root
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.runs.images import RunImages
from bigain.runs.pairing import FinishedRun
from bigain.runs.store import RunStore

__all__ = ["Pictures", "class_names", "dataset_pictures", "generated_pictures"]

_LARGEST = 160
"""Pixels of the longer side."""
_LOSSLESS = 64
"""Up to this size images keep every pixel."""

_NOT_HERE = "The images are not on the machine that made this page."
_OTHERS = "The images on the machine that made this page are others than those of the runs."


@dataclass(frozen=True)
class Pictures:
    """The images of runs by id.

    Attributes:
        of: Returns the address of an image for its id; empty if it cannot be shown.
        missing: Why no image is shown; empty if they are.
        why: What exactly is missing, for the terminal.

    """

    of: Callable[[int], str] = field(default=lambda _: "")
    missing: str = ""
    why: str = ""


def dataset_pictures(runs: Sequence[FinishedRun]) -> Pictures:
    """The images that the runs classified, from the first run whose images are here."""
    faults: list[Pictures] = []
    for run in runs:
        try:
            dataset = load_dataset(_settings(run))
        except (UserError, ValidationError, OSError, ImportError, AttributeError) as error:
            faults.append(Pictures(missing=_NOT_HERE, why=" ".join(str(error).split())))
            continue
        if _are_those(dataset, run):
            return Pictures(_reader(dataset))
        faults.append(Pictures(missing=_OTHERS, why=f"those of run {run.run_id} are others"))
    return faults[0]


def generated_pictures(run: FinishedRun) -> Pictures:
    """The images that a run generated; those whose file is gone or changed are left out."""
    images = RunImages(
        RunStore(run.archive.results, run.run_id).folder,
        len(run.samples),
        run.config["task"]["image_format"],
    )
    hashes = dict(zip(run.samples["image_id"], run.samples["sha256"], strict=True))

    def read(image_id: int) -> str:
        if images.missing([{"image_id": image_id, "sha256": hashes[image_id]}]):
            return ""
        return _address(images[image_id])

    is_here = images.path(next(iter(hashes))).is_file()
    return Pictures(read) if is_here else Pictures(missing=_NOT_HERE)


def class_names(runs: Sequence[FinishedRun]) -> Callable[[Any], str]:
    """The name of a class by its index; the index itself where the names are not known."""
    for run in runs:
        try:
            settings = _settings(run)
            known: Any = import_target(settings.target)
            names = getattr(known, "class_names", None)
            if names is None and hasattr(known, "classes"):
                names = known.classes().names
            names = load_dataset(settings).class_names if names is None else names
        except (UserError, ValidationError, OSError, ImportError, AttributeError):
            continue
        return lambda index, names=names: _name(index, names)  # type: ignore[misc]
    return lambda index: _name(index, ())


def _name(index: Any, names: Sequence[str]) -> str:
    if pd.isna(index):
        return "none"
    return names[int(index)] if 0 <= int(index) < len(names) else f"class {int(index)}"


def _settings(run: FinishedRun) -> DatasetConfig:
    """The dataset of a run, as it is found on this machine now.

    A published configuration has no paths.  Without the file of `dataset.index` all images of the
    split are taken, among which those of the run are found by their ids.
    """
    from omegaconf import OmegaConf  # noqa: PLC0415 -- dear to import

    own = {key: value for key, value in run.config["dataset"].items() if value is not None}
    path = CONFIGS / "dataset" / f"{own['name']}.yaml"
    shipped: Any = OmegaConf.load(path) if path.is_file() else {}
    plain = {"_target_": shipped.get("_target_"), "root": None, "limit": None} | own
    is_own = getattr(import_target(str(plain["_target_"])), "is_own", False)
    if "fingerprint" in plain and "index" not in plain and not is_own:
        plain |= {"fingerprint": None, "limit": None}
    return with_root(DatasetConfig.model_validate(plain))


def _are_those(dataset: OpenedDataset, run: FinishedRun) -> bool:
    """Whether these are the images of the run, as far as its files tell."""
    recorded = run.hashes.get(f"dataset/{run.config['dataset']['name']}")
    if recorded is not None and len(dataset) == len(run.samples):
        return dataset.content_hash == recorded
    places = {image_id: place for place, image_id in enumerate(dataset.image_ids)}
    records = run.samples.to_dict("records")
    if not all(int(record["image_id"]) in places for record in records):
        return False
    return all(
        dataset[places[int(record["image_id"])]].labels == _labels(record) for record in records
    )


def _labels(record: Mapping[Any, Any]) -> tuple[int, ...]:
    several = record.get("labels")
    return tuple(several) if isinstance(several, list) else (int(record["label"]),)


def _reader(dataset: OpenedDataset) -> Callable[[int], str]:
    places = {image_id: place for place, image_id in enumerate(dataset.image_ids)}

    def read(image_id: int) -> str:
        try:
            return _address(dataset[places[image_id]].image)
        except (UnreadableImage, UserError):
            return ""

    return read


def _address(image: npt.NDArray[np.uint8]) -> str:
    """The image as the address of an <img>: PNG if it is small, else a JPEG made small."""
    picture = Image.fromarray(image)
    is_small = max(picture.size) <= _LOSSLESS
    picture.thumbnail((_LARGEST, _LARGEST))
    kind = "PNG" if is_small else "JPEG"
    written = io.BytesIO()
    (picture if is_small else picture.convert("RGB")).save(written, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"
