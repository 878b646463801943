"""`bigain calibrate`: what a race needs to know before its first image (`bigain.tasks.racing`).

The last images of the dataset's order take all trials; no label is read.  The errors of an image
are kept as soon as they are there, so a killed calibration goes on, and one with more images
computes the new ones alone.  A calibration that is there is kept: another device or batch size
would change its last digits, and with its hash the names of the runs that were made with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset, load_dataset
from bigain.data.whole import load_whole
from bigain.engine.build_operator import check_operator
from bigain.engine.build_protocol import check_apart, check_fit
from bigain.engine.race_errors import gather_errors
from bigain.errors import UserError
from bigain.runs.calibrations import (
    calibration_path,
    read_calibration,
    with_calibration,
    write_calibration,
)
from bigain.runs.files import check_results, make_results
from bigain.tasks.race_model import WEIGHTS, RaceModel, held_out_fit
from bigain.tasks.racing import grid_of

__all__ = ["Calibrated", "calibrate", "check_images"]


@dataclass(frozen=True)
class Calibrated:
    """A calibration that is there.

    Attributes:
        path: Its file.
        fit: Number of trials -> observed variance of the unseen rest over the predicted one.
        computed: Images whose errors were computed by this call.

    """

    path: Path
    fit: Mapping[int, float]
    computed: int


def check_images(config: RunConfig) -> Sequence[int]:
    """The image ids of the calibration that is there or would be made; computes nothing.

    Raises:
        UserError: The rule needs no calibration, data are missing, an image is also one of the run,
            or a calibration that is there is damaged.

    """
    check_operator(config)
    race = config.task_as(ClassificationConfig).of_race
    if not race.is_calibrated:
        allowed = "needs no calibration; allowed: gaussian, t_test"
        raise UserError(f"task.race.rule={race.rule}: {allowed}")
    if _is_there(config):
        ids: Sequence[int] = read_calibration(with_calibration(config))["image_ids"]
    else:
        images = load_whole(config.dataset)
        ids = [images.image_ids[position] for position in _positions(config, images)]
    check_apart(config, ids, load_dataset(config.dataset))
    return ids


def calibrate(config: RunConfig) -> Calibrated:
    """Find the calibration of a race, or make it; with `config.force` make it in any case.

    Raises:
        UserError: As `check_images`; weights are missing, or the calibration of a rule that takes
            the model's variances does not fit images that it was not made from.

    """
    ids = check_images(config)
    path = calibration_path(config)
    if _is_there(config):
        content = read_calibration(with_calibration(config))
        kept = {int(k): ratio for k, ratio in content["fit"].items()}
        check_fit(config, kept)
        return Calibrated(path, kept, 0)
    task = config.task_as(ClassificationConfig)
    check_results(config.paths.results)
    images = load_whole(config.dataset)
    found = gather_errors(config, images, _positions(config, images))
    weigh = WEIGHTS[task.of_race.weighing]
    fit = held_out_fit(found.errors, weigh)
    check_fit(config, fit)
    model = RaceModel.learned(found.errors, weigh)
    content = {
        "hashes": found.hashes,
        "image_ids": ids,
        "timesteps": grid_of(task.trial_list[-1]),
        "order": model.order,
        "fit": fit,
        "covariance": model.s.tolist(),
    }
    make_results(config.paths.results)
    return Calibrated(write_calibration(config, content), fit, found.computed)


def _positions(config: RunConfig, images: Dataset) -> range:
    wanted = config.task_as(ClassificationConfig).of_race.calibration_images
    if wanted >= len(images):
        allowed = f"an integer from 10 to {len(images) - 1}, fewer than the images of the dataset"
        raise UserError(f"task.race.images={wanted}: allowed: {allowed}")
    return range(len(images) - wanted, len(images))


def _is_there(config: RunConfig) -> bool:
    """Whether a calibration is kept."""
    return calibration_path(config).is_file() and not config.force
