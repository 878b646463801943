"""`bigain calibrate operator=...`: what an operator is made from, once for all its runs.

The images are the first of the dataset's training split, or the last of the evaluated one
(`operator.split`), with their own labels.  What is measured is kept as soon as it is there
(`bigain.engine.kept_measurements`), so a killed calibration goes on.  The file is written at the
end, as a whole.  A calibration that is there is kept: another device would change its last digits,
and with its hash the names of the runs that were made with it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from bigain.config import RunConfig
from bigain.data.base import Dataset, Selected, load_dataset
from bigain.data.whole import load_training, load_whole
from bigain.devices import choose_threads, limited_threads, resolve_device
from bigain.engine import build
from bigain.engine.build_calibrated import CONTENT, check_apart_from, read_content
from bigain.engine.build_operator import build_operator, check_operator
from bigain.engine.cache_folder import make_cache, named_cache
from bigain.engine.calibrate_masks import calibrate_masks
from bigain.engine.calibrate_stages import calibrate_stages
from bigain.engine.calibration_material import Made, Material
from bigain.errors import UserError
from bigain.files import replace_file, replace_text
from bigain.operators import DiPGO, MosaicDiff
from bigain.runs.files import check_results, make_results
from bigain.runs.operator_calibrations import (
    identity_of,
    operator_calibration_id,
    own_calibration_path,
    planned_calibration,
)

__all__ = ["CalibratedOperator", "calibrate_operator", "check_images_of_operator"]


@dataclass(frozen=True)
class CalibratedOperator:
    """A calibration of an operator that is there.

    Attributes:
        path: Its file.
        computed: Images that were measured by this call.
        summary: What it does, in a few words.

    """

    path: Path
    computed: int
    summary: str


def check_images_of_operator(config: RunConfig) -> list[int]:
    """The image ids of the calibration that is there or would be made; computes nothing.

    Raises:
        UserError: A setting is not allowed, data are missing, an image is also one of the run, or a
            calibration that is there is damaged.

    """
    check_operator(config)
    if _is_there(config):
        ids = list(read_content(config, planned_calibration(config))["image_ids"])
    else:
        ids = _images(config).image_ids
    check_apart_from(config, set(load_dataset(config.dataset).image_ids), ids)
    return ids


def calibrate_operator(config: RunConfig) -> CalibratedOperator:
    """Find the calibration of an operator, or make it; with `config.force` make it in any case.

    Raises:
        UserError: As `check_images_of_operator`; weights are missing, or a folder cannot be used.

    """
    ids = check_images_of_operator(config)
    if _is_there(config):
        path = planned_calibration(config)
        return CalibratedOperator(path, 0, str(read_content(config, path)["summary"]))
    check_results(config.paths.results)
    make_cache(config.paths.cache)
    device = resolve_device(config.device)
    threads = choose_threads(config.threads, is_mini=config.backbone.is_mini)
    images = _images(config)
    with named_cache(config.paths.cache), limited_threads(threads.count):
        backbone = build.build_backbone(
            config.backbone, device, config.dtype, build.build_caches(config)
        )
        backbone.condition_on(images)
        samples = [images[position] for position in range(len(images))]
        size = build.build_batch_size(_as_it_is(config), backbone, device)
        material = Material(config, backbone, samples, size)
        operator = build_operator(config.operator)
        made = _MAKERS[type(operator)](material, operator)
    whole = {
        "calibration": operator_calibration_id(config),
        "settings": identity_of(config),
        "hashes": material.weights,
        "image_ids": ids,
        "dtype": config.dtype,
        "summary": made.summary,
        **made.content,
    }
    return CalibratedOperator(_write(config, whole, made.tensors), made.computed, made.summary)


def _write(config: RunConfig, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Path:
    """JSON, or safetensors with the JSON in its head; the same content has the same bytes."""
    path = own_calibration_path(config, ".safetensors" if tensors else ".json")
    make_results(config.paths.results)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=None if tensors else 1) + "\n"
    if tensors:
        replace_file(path, lambda own: own.write_bytes(save(dict(tensors), {CONTENT: text})))
    else:
        replace_text(path, text)
    return path


def _is_there(config: RunConfig) -> bool:
    return config.operator.calibration is not None and not config.force


def _as_it_is(config: RunConfig) -> RunConfig:
    """The run without its operator, which cannot be applied yet, for the size of a batch."""
    plain = {"_target_": "bigain.operators.Identity", "name": "none"}
    return config.model_copy(update={"operator": type(config.operator).model_validate(plain)})


def _images(config: RunConfig) -> Dataset:
    """The images of the calibration."""
    wanted = int(config.operator.arguments["images"])
    if config.operator.trains_apart:
        return _of_training_split(config, wanted)
    images = load_whole(config.dataset)
    if wanted >= len(images):
        allowed = f"an integer from 1 to {len(images) - 1}, fewer than the images of the dataset"
        raise UserError(f"operator.images={wanted}: allowed: {allowed}")
    return Selected(images, range(len(images) - wanted, len(images)))


def _of_training_split(config: RunConfig, wanted: int) -> Dataset:
    try:
        images = load_training(config.dataset, wanted)
    except UserError as error:
        raise UserError(f"operator.split=training: {error}; or operator.split=evaluated") from error
    if len(images) < wanted:
        allowed = f"an integer from 1 to {len(images)}, the images of the training split"
        raise UserError(f"operator.images={wanted}: allowed: {allowed}")
    return images


_MAKERS: Mapping[type[object], Callable[[Material, Any], Made]] = {
    DiPGO: calibrate_masks,
    MosaicDiff: calibrate_stages,
}
"""Settings of a method -> what calibrates it."""
