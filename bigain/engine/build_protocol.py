"""Which evaluations the images of a run get, by stages or a race, and how these share batches."""

from collections.abc import Callable, Mapping, Sequence

import torch

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset
from bigain.errors import UserError
from bigain.runs.calibrations import calibration_path, read_calibration
from bigain.tasks.packing import Filled, Packed, Separate, Waiting, WholeTrials
from bigain.tasks.protocol import Allocation, StagedProtocol
from bigain.tasks.race_model import WEIGHTS, RaceModel, spread_order
from bigain.tasks.race_rules import GaussianRule, HalvingRule, RaceRule, StudentRule
from bigain.tasks.racing import RacingProtocol

__all__ = [
    "WORST_FIT",
    "build_packing",
    "build_protocol",
    "check_apart",
    "check_fit",
    "check_weights",
    "gaussian_rule",
]

WORST_FIT = 1.5
"""How many times the predicted variance of the unseen trials the observed one may be, at each of
the numbers of trials at which the fit is measured."""


def build_protocol(config: RunConfig, dataset: Dataset) -> tuple[Allocation, Mapping[str, str]]:
    """The protocol of a run, and the hashes of the weights that it was calibrated with.

    Raises:
        UserError: A race has no calibration, or one of another run or with images of `dataset`.

    """
    task = config.task_as(ClassificationConfig)
    if not task.is_race:
        return StagedProtocol(task.trial_list, task.keep_list), {}
    race = task.of_race
    if not race.is_calibrated:
        rule: RaceRule = HalvingRule(task.trial_list[-1], race.stages or ())
        return RacingProtocol(rule, race.audit, config.seed), {}
    content = read_calibration(config)
    check_apart(config, content["image_ids"], dataset)
    s = torch.tensor(content["covariance"], dtype=torch.float64)
    if race.rule == "t_test":
        rule = StudentRule(spread_order(s), race.level, race.first)
    else:
        check_fit(config, {int(k): ratio for k, ratio in content["fit"].items()})
        model = RaceModel(s, WEIGHTS[race.weighing](s), tuple(content["order"]))
        rule = gaussian_rule(config, model)
    return RacingProtocol(rule, race.audit, config.seed), content["hashes"]


def gaussian_rule(config: RunConfig, model: RaceModel) -> GaussianRule:
    """The rule of `task.race.rule=gaussian` with the settings of the run."""
    race = config.task_as(ClassificationConfig).of_race
    return GaussianRule(model, race.threshold, race.first, race.looks)


def build_packing(
    config: RunConfig, protocol: Allocation
) -> tuple[Callable[[], Waiting], str | None]:
    """How evaluations share batches, and why these must not shrink when memory runs out.

    The second is None if they may.
    """
    if config.operator.draws_per_forward:
        return Separate, "operator.draws=per_forward depends on the batch"
    if config.operator.shares_plans:
        return WholeTrials, "operator.plan=shared keeps the classes of an image together"
    return Packed if isinstance(protocol, StagedProtocol) else Filled, None


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


def check_fit(config: RunConfig, fit: Mapping[int, float]) -> None:
    """Raise UserError if the rule takes the variances of a model that predicts them badly.

    The t test takes only the order of the trials from it.

    Args:
        config: A race.
        fit: Number of trials -> observed variance of the unseen rest over the predicted one.

    """
    race = config.task_as(ClassificationConfig).of_race
    worst = max(fit, key=lambda k: fit[k], default=None)  # two trials leave nothing to predict
    if race.rule == "gaussian" and worst is not None and not fit[worst] <= WORST_FIT:
        images = race.calibration_images
        raise UserError(
            f"task.race.images={images}: the calibration does not fit images that it was not made "
            f"from: what is unseen after {worst} trials varies {fit[worst]:.2f} times as much as "
            f"predicted, allowed: at most {WORST_FIT}; give `bigain calibrate` more, "
            f"task.race.images={2 * images}, or use task.allocation=staged"
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
