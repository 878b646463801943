"""`bigain calibrate --choose-z`: the smallest z of a race that a second set of images allows.

Learn then test (arXiv:2110.01052): the images take the full grid, and races over the kept errors
are tried with falling z.  A z is accepted while the one-sided 95 % Clopper-Pearson upper bound of
the share of images that the full grid decides otherwise is at most 2 %; the first that is not ends
the search.  So with probability 95 % the chosen z changes at most 2 % of the decisions on images
like these, whatever the distribution of the errors.

The candidates, the 2 % and the 95 % are no settings, by design: the promise holds for a search that
was fixed before the errors were seen, and a limit that is moved until a z passes promises nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bigain.config import ClassificationConfig, RunConfig
from bigain.data.base import Dataset, load_dataset
from bigain.data.whole import load_whole
from bigain.engine.build_protocol import check_apart, check_weights, gaussian_rule
from bigain.engine.race_errors import gather_errors
from bigain.errors import UserError
from bigain.metrics import highest_share
from bigain.runs.calibrations import read_calibration, with_calibration
from bigain.tasks.race_model import WEIGHTS, RaceModel
from bigain.tasks.race_rules import GaussianRule
from bigain.tasks.racing import RacingProtocol, decide

__all__ = ["CANDIDATES", "MOST_CHANGED", "TriedZ", "check_choice", "choose_z"]
__all__ += ["chosen", "tried"]

CANDIDATES = (5.0, 4.0, 3.5, 3.0, 2.75, 2.54, 2.25, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5)
"""The values that are tried, in this order; fixed before any image is seen."""

MOST_CHANGED = 0.02
"""The share of decisions that may change."""

_LEAST_IMAGES = math.ceil(math.log(0.05) / math.log(1 - MOST_CHANGED))
"""With fewer images even no changed decision does not show that share."""


@dataclass(frozen=True)
class TriedZ:
    """A race over the second set of images.

    Attributes:
        z: Its threshold.
        evaluations: Mean of an image.
        changed: How many images the full grid decides otherwise.
        images: Of all of them.

    """

    z: float
    evaluations: float
    changed: int
    images: int

    @property
    def bound(self) -> float:
        """The share of changed decisions, at most, with 95 % confidence."""
        return highest_share(self.changed, self.images)

    @property
    def is_accepted(self) -> bool:
        """Whether the bound is at most `MOST_CHANGED`."""
        return self.bound <= MOST_CHANGED


def check_choice(config: RunConfig) -> None:
    """Raise UserError if no z can be chosen for this race, before anything is computed.

    The images of the choice and of the calibration must not be images of the run.
    """
    race = config.task_as(ClassificationConfig).of_race
    if race.rule != "gaussian":
        raise UserError(
            f"task.race.rule={race.rule}: allowed: gaussian with --choose-z, only this rule has a z"
        )
    if race.calibration_images < _LEAST_IMAGES:
        raise UserError(
            f"task.race.images={race.calibration_images}: allowed: at least {_LEAST_IMAGES} with "
            f"--choose-z, fewer cannot show that {100 * MOST_CHANGED:g} % of the decisions change"
        )
    images = load_whole(config.dataset)
    both = range(_positions(config, images).start, len(images))
    check_apart(config, [images.image_ids[at] for at in both], load_dataset(config.dataset))


def choose_z(config: RunConfig) -> list[TriedZ]:
    """Try falling z on the images before those of the calibration, as many, with all classes.

    Returns:
        The values that were tried; the last accepted one is the choice, and only the last may be
        one that is not accepted.

    Raises:
        UserError: There is no calibration, or not even the largest z is accepted.

    """
    found = with_calibration(config)
    content, images = read_calibration(found), load_whole(config.dataset)
    positions = _positions(config, images)
    gathered = gather_errors(_with_classes(config, len(images.class_names)), images, positions)
    check_weights(config, content["hashes"], gathered.hashes)
    s = torch.tensor(content["covariance"], dtype=torch.float64)
    weighing = config.task_as(ClassificationConfig).of_race.weighing
    model = RaceModel(s, WEIGHTS[weighing](s), tuple(content["order"]))
    results = list(tried(gaussian_rule(config, model), gathered.errors))
    if not results[0].is_accepted:
        first = results[0]
        raise UserError(
            f"--choose-z: {first.changed} of {first.images} images are decided otherwise with "
            f"z={first.z:g}; allowed: task.race.z=inf, a larger task.race.minimum, or "
            "task.allocation=staged"
        )
    return results


def tried(rule: GaussianRule, tables: Tensor) -> Iterator[TriedZ]:
    """Races over these errors, shape (images, trials, classes), until one is not accepted."""
    for z in CANDIDATES:
        audited = RacingProtocol(replace(rule, z=z), audit=1.0, seed=0)
        decisions = [decide(audited, number, table) for number, table in enumerate(tables)]
        ledgers = [(each.prediction, each.ledger) for each in decisions if each.ledger is not None]
        taken = sum(ledger.evaluations for _, ledger in ledgers) / len(tables)
        changed = sum(prediction != ledger.full_prediction for prediction, ledger in ledgers)
        result = TriedZ(z, taken, changed, len(tables))
        yield result
        if not result.is_accepted:
            return


def _positions(config: RunConfig, images: Dataset) -> range:
    wanted = config.task_as(ClassificationConfig).of_race.calibration_images
    if 2 * wanted >= len(images):
        allowed = f"at most {(len(images) - 1) // 2} with --choose-z, which takes as many again"
        raise UserError(f"task.race.images={wanted}: allowed: {allowed}")
    return range(len(images) - 2 * wanted, len(images) - wanted)


def _with_classes(config: RunConfig, classes: int) -> RunConfig:
    """The run whose images take so many classes."""
    task: ClassificationConfig = config.task_as(ClassificationConfig)
    race = task.of_race.model_copy(update={"classes": classes})
    return config.model_copy(update={"task": task.model_copy(update={"race": race})})


def chosen(results: Sequence[TriedZ]) -> TriedZ:
    """The smallest accepted z."""
    return [each for each in results if each.is_accepted][-1]
