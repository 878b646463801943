"""From the file of a calibration to the operator that runs, and whether it belongs to the run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from bigain.config import RunConfig
from bigain.engine.build_operator import build_operator, build_sites
from bigain.errors import UserError
from bigain.files import parse_json
from bigain.operators import (
    ByTimestep,
    Calibrated,
    Compression,
    DiPGO,
    MaskTable,
    MosaicDiff,
    StageWeights,
)
from bigain.operators.stage_weights import Kept
from bigain.patching.selection import SiteSelection
from bigain.runs.operator_calibrations import AGAIN, operator_calibration_id, planned_calibration

__all__ = ["CONTENT", "build_placed", "check_apart_from", "check_calibrated", "read_content"]

CONTENT = "bigain"
"""Where a file of weights has what it says, in its head."""


def build_placed(config: RunConfig) -> tuple[Compression, SiteSelection | None]:
    """The operator of a run as it can be applied, and where.

    One that is calibrated is made from its file, which also says where it acts.

    Raises:
        UserError: A setting is not allowed, or the calibration is missing, damaged or another's.

    """
    operator = build_operator(config.operator)
    if not isinstance(operator, Calibrated):
        return operator, build_sites(config)
    path = planned_calibration(config)
    content = read_content(config, path)
    try:
        return _MADE_FROM[type(operator)](path, content), None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: is damaged ({error!r}); {AGAIN}") from error


def read_content(config: RunConfig, path: Path) -> dict[str, Any]:
    """What the file says beside its weights.

    Raises:
        UserError: It cannot be read, or belongs to other runs.

    """
    try:
        content = _READERS[path.suffix](path)
        belongs_to = content["calibration"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); {AGAIN}") from error
    if belongs_to != operator_calibration_id(config):
        raise UserError(
            f"{path}: is the calibration {belongs_to}; allowed: {operator_calibration_id(config)}, "
            f"of this backbone, operator, trials and classes; {AGAIN}"
        )
    return content


def check_calibrated(config: RunConfig, image_ids: set[int], weights: Mapping[str, str]) -> None:
    """Make sure that the operator of a run was calibrated with its weights, on other images.

    Args:
        config: The run.
        image_ids: Of its images.
        weights: The hashes of its weights by name.

    Raises:
        UserError: It was not.

    """
    if not config.operator.is_calibrated:
        return
    path = planned_calibration(config)
    content = read_content(config, path)
    differ = [n for n, digest in content["hashes"].items() if weights.get(n) != digest]
    if differ:
        raise UserError(f"{path}: was made with another {differ[0]}; {AGAIN}")
    check_apart_from(config, image_ids, content["image_ids"])


def check_apart_from(config: RunConfig, image_ids: set[int], calibrated: Sequence[int]) -> None:
    """Raise UserError if the run has images that its operator is calibrated on.

    Those of the training split have numbers of their own, and no run has one of them.
    """
    if config.operator.trains_apart:
        return
    common = image_ids & set(calibrated)
    if common:
        limit = "null" if config.dataset.limit is None else config.dataset.limit
        raise UserError(
            f"dataset.limit={limit}: {len(common)} of the {len(image_ids)} images are among the "
            f"{len(calibrated)} that calibrate operator={config.operator.name}, the last of the "
            "order; allowed: images without them, such as "
            f"dataset.limit={max(1, len(image_ids) - len(common))}"
        )


def _json_content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
    return content


def _masks(path: Path, content: Mapping[str, Any]) -> MaskTable:
    del path
    masks = {int(t): tuple(gate == "1" for gate in mask) for t, mask in content["masks"].items()}
    counts = {int(t): int(count) for t, count in content["evaluations"].items()}
    return MaskTable(tuple(content["branches"]), masks, counts)


def _head_content(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        content: dict[str, Any] = parse_json(file.metadata()[CONTENT])
    return content


def _weights(path: Path, content: Mapping[str, Any]) -> StageWeights:
    tensors = load_file(path) if path.suffix == ".safetensors" else {}
    modules = {
        name: tuple(
            Kept(tuple(own[name]), tensors[f"{stage}.{name}"]) if name in own else None
            for stage, own in enumerate(content["kept"])
        )
        for name in content["modules"]
    }
    counts = {int(t): int(count) for t, count in content["evaluations"].items()}
    return StageWeights(modules, counts)


_READERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    ".json": _json_content,
    ".safetensors": _head_content,
}
_MADE_FROM: Mapping[type[Calibrated], Callable[[Path, Mapping[str, Any]], ByTimestep]] = {
    DiPGO: _masks,
    MosaicDiff: _weights,
}
"""Settings of a method -> the operator from the file and what it says."""
