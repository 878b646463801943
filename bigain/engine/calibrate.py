"""`bigain calibrate`: what a race needs to know before its first image (`bigain.tasks.racing`).

The last images of the dataset's order take all trials; no label is read.  The errors of an image
are kept as soon as they are there, so a killed calibration goes on, and one with more images
computes the new ones alone.  A calibration that is there is kept: another device or batch size
would change its last digits, and with its hash the names of the runs that were made with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset, load_dataset
from bigain.data.whole import load_whole
from bigain.engine.build_operator import check_operator
from bigain.engine.build_protocol import check_apart
from bigain.engine.race_errors import gather_errors
from bigain.errors import UserError
from bigain.runs.calibrations import calibration_path, read_calibration, write_calibration
from bigain.tasks.race_model import WEIGHTS, RaceModel, held_out_fit
from bigain.tasks.racing import grid_of

__all__ = ["WORST_FIT", "Calibrated", "calibrate"]

WORST_FIT = 1.5
"""How many times the predicted variance of the unseen trials the observed one may be, at each of
the numbers of trials at which the fit is measured."""


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


def calibrate(config: RunConfig) -> Calibrated:
    """Find the calibration of a race, or make it; with `config.force` make it in any case.

    Raises:
        UserError: Data or weights are missing, an image is also one of the run, the calibration
            does not fit images that it was not made from, or one that is there is damaged.

    """
    check_operator(config)
    rule = config.task_as(ClassificationConfig).of_race.rule
    if not config.task_as(ClassificationConfig).of_race.is_calibrated:
        raise UserError(f"task.race.rule={rule}: needs no calibration; allowed: gaussian, t_test")
    path = calibration_path(config)
    if path.is_file() and not config.force:
        content = read_calibration(config)
        check_apart(config, content["image_ids"], load_dataset(config.dataset))
        return Calibrated(path, {int(k): ratio for k, ratio in content["fit"].items()}, 0)
    task = config.task_as(ClassificationConfig)
    images = load_whole(config.dataset)
    positions = _positions(config, images)
    ids = [images.image_ids[position] for position in positions]
    check_apart(config, ids, load_dataset(config.dataset))
    found = gather_errors(config, images, positions)
    weigh = WEIGHTS[task.of_race.weighing]
    fit = _checked_fit(config, held_out_fit(found.errors, weigh))
    model = RaceModel.learned(found.errors, weigh)
    content = {
        "hashes": found.hashes,
        "image_ids": ids,
        "timesteps": grid_of(task.trial_list[-1]),
        "order": model.order,
        "fit": fit,
        "covariance": model.s.tolist(),
    }
    return Calibrated(write_calibration(config, content), fit, found.computed)


def _positions(config: RunConfig, images: Dataset) -> range:
    wanted = config.task_as(ClassificationConfig).of_race.calibration_images
    if wanted >= len(images):
        allowed = f"an integer from 10 to {len(images) - 1}, fewer than the images of the dataset"
        raise UserError(f"task.race.images={wanted}: allowed: {allowed}")
    return range(len(images) - wanted, len(images))


def _checked_fit(config: RunConfig, fit: Mapping[int, float]) -> Mapping[int, float]:
    worst = max(fit, key=lambda k: fit[k], default=None)  # two trials leave nothing to predict
    if worst is not None and not fit[worst] <= WORST_FIT:
        images = config.task_as(ClassificationConfig).of_race.calibration_images
        raise UserError(
            f"task.race.images={images}: the calibration does not fit images that it was not made "
            f"from: what is unseen after {worst} trials varies {fit[worst]:.2f} times as much as "
            f"predicted, allowed: at most {WORST_FIT}; give `bigain calibrate` more, "
            f"task.race.images={2 * images}, or use task.allocation=staged"
        )
    return fit
