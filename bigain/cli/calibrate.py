"""`bigain calibrate key=value ...`: what a race or an operator needs once for its runs.

The arguments are those of the run, also `-m` and several values.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError

if TYPE_CHECKING:
    from bigain.launch.plan import Plan

__all__ = ["main"]

_HELP = """usage: bigain calibrate [-m] [--choose-z] key=value ...

Calibrate the race of task.allocation=racing (docs/racing.md) for the run that the same arguments
make: the last task.race.images images of the dataset's order take all trials, without labels.
One calibration serves all runs of one backbone, operator, loss, grid, precision and seed.

With operator=dip_go or another operator that is calibrated (docs/pruning.md), make what it runs
from: operator.images images with their labels, the first of the training split where the dataset
has one, otherwise the last of its order (operator.split).  It serves all runs of one backbone,
operator, trial and keep list, and dataset.  A killed one goes on where it stopped.

A calibration that is there is kept; force=true makes it again, which renames the runs.

  --choose-z   then try falling z on as many images before those, with all classes, and print the
               smallest that changes at most 2 % of the decisions (95 % confidence)
"""

_RACING = "task.allocation=racing"
_CHOOSE = "--choose-z"


def main(arguments: Sequence[str]) -> int:
    """Make the calibration of each run of the command line that has none yet."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_HELP)
        return 0
    from bigain.launch.plan import plan_runs  # noqa: PLC0415 -- loads Hydra

    is_sweep = bool({"-m", "--multirun"} & set(arguments))
    chooses = _CHOOSE in arguments
    overrides = [each for each in arguments if each not in ("-m", "--multirun", _CHOOSE)]
    flag = next((each for each in overrides if each.startswith("-") and "=" not in each), None)
    if flag is not None:
        raise UserError(f"{flag}: no such flag; allowed: -m, --multirun, {_CHOOSE}, --help")
    # The operator is known without the task, whose settings may be those of a race only.
    beside = [each for each in overrides if not each.startswith("task")]
    kinds = {run.config.operator.is_calibrated for run in plan_runs(beside, is_sweep).runs}
    if kinds == {True}:
        return _calibrate_operators(plan_runs(overrides, is_sweep), chooses=chooses)
    if len(kinds) > 1:
        raise UserError("operator: allowed: only operators that are calibrated, or only others")
    return _calibrate_races(plan_runs([_RACING, *overrides], is_sweep), chooses=chooses)


def _calibrate_operators(plan: "Plan", *, chooses: bool) -> int:
    if chooses:
        raise UserError(f"{_CHOOSE}: allowed: without it, because no race is calibrated")
    from bigain.engine.calibrate_operator import (  # noqa: PLC0415 -- loads torch
        calibrate_operator,
        check_images_of_operator,
    )

    for run in plan.runs:
        check_images_of_operator(run.config)
    for run in plan.runs:
        found = calibrate_operator(run.config)
        measured = f"{_images(found.computed)} measured"
        sys.stdout.write(f"{run.config.title}: {found.path} ({found.summary}; {measured})\n")
    return 0


def _calibrate_races(plan: "Plan", *, chooses: bool) -> int:
    for run in plan.runs:
        task = run.config.task
        if not (isinstance(task, ClassificationConfig) and task.is_race):
            raise UserError("task.allocation=staged: allowed: racing, which `calibrate` is for")

    from bigain.engine.calibrate import calibrate, check_images  # noqa: PLC0415 -- loads torch
    from bigain.engine.choose_z import check_choice  # noqa: PLC0415

    for run in plan.runs:
        check_images(run.config)
        if chooses:
            check_choice(run.config)
    for run in plan.runs:
        found = calibrate(run.config)
        fit = ", ".join(f"{ratio:.2f} after {k}" for k, ratio in found.fit.items())
        sys.stdout.write(
            f"{run.config.title}: {found.path} ({_images(found.computed)} computed; variance of "
            f"the unseen trials over the predicted one: {fit})\n"
        )
        if chooses:
            _choose(run.config)
    return 0


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _choose(config: RunConfig) -> None:
    """Print what each z takes and changes, and the override of the choice."""
    from bigain.engine.choose_z import choose_z, chosen  # noqa: PLC0415 -- loads torch

    results = choose_z(config)
    for each in results:
        verdict = "" if each.is_accepted else ", too many"
        sys.stdout.write(
            f"  z={each.z:g}: {each.evaluations:.1f} evaluations, {each.changed} of {each.images} "
            f"images decided otherwise (at most {100 * each.bound:.2f} %){verdict}\n"
        )
    sys.stdout.write(f"{config.title}: task.race.z={chosen(results).z:g}\n")
