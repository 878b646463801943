"""Which evaluations the images of a run get: its stages, or its race with the calibration."""

from collections.abc import Mapping, Sequence

import torch

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset
from bigain.errors import UserError
from bigain.runs.calibrations import calibration_path, read_calibration
from bigain.tasks.protocol import Allocation, StagedProtocol
from bigain.tasks.race_model import RaceModel
from bigain.tasks.racing import RaceRule, RacingProtocol

__all__ = ["build_protocol", "check_apart", "check_weights"]


def build_protocol(config: RunConfig, dataset: Dataset) -> tuple[Allocation, Mapping[str, str]]:
    """The protocol of a run, and the hashes of the weights that it was calibrated with.

    Raises:
        UserError: A race has no calibration, or one of another run or with images of `dataset`.

    """
    task = config.task_as(ClassificationConfig)
    if not task.is_race:
        return StagedProtocol(task.trial_list, task.keep_list), {}
    content, race = read_calibration(config), task.of_race
    check_apart(config, content["image_ids"], dataset)
    rule = RaceRule(race.threshold, race.minimum, race.looks, race.audit)
    s = torch.tensor(content["covariance"], dtype=torch.float64)
    model = RaceModel(s, tuple(content["order"]))
    return RacingProtocol(model, rule, config.seed), content["hashes"]


def check_weights(
    config: RunConfig, calibrated_with: Mapping[str, str], found: Mapping[str, str]
) -> None:
    """Raise UserError if a race was calibrated with other weights than were found."""
    differ = [name for name, digest in calibrated_with.items() if found.get(name) != digest]
    if differ:
        raise UserError(
            f"{calibration_path(config)}: was made with another {differ[0]}; allowed: restore it, "
            "or make the calibration again with `bigain calibrate` of the same arguments and "
            "force=true"
        )


def check_apart(config: RunConfig, image_ids: Sequence[int], dataset: Dataset) -> None:
    """Raise UserError if the run has images that its race is calibrated with."""
    common = set(image_ids) & set(dataset.image_ids)
    if common:
        raise UserError(
            f"dataset.limit={'null' if config.dataset.limit is None else config.dataset.limit}: "
            f"{len(common)} of the {len(dataset)} images calibrate the race, the last "
            f"{len(image_ids)} of the order; allowed: images without them, such as "
            f"dataset.limit={max(1, len(dataset) - len(common))}"
        )
