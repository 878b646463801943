"""`bigain calibrate key=value ...`: what `task.allocation=racing` needs once for its runs.

The arguments are those of the run, also `-m` and several values.
"""

import sys
from collections.abc import Sequence

from bigain.errors import UserError

__all__ = ["main"]

_HELP = """usage: bigain calibrate [-m] key=value ...

Calibrate the race of task.allocation=racing (docs/racing.md) for the run that the same arguments
make: the last task.race.images images of the dataset's order take all trials, without labels.
One calibration serves all runs of one backbone, operator, loss, grid, precision and seed.  One that
is there is kept; force=true makes it again, which renames the runs.
"""

_RACING = "task.allocation=racing"


def main(arguments: Sequence[str]) -> int:
    """Make the calibration of each run of the command line that has none yet."""
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(_HELP)
        return 0
    from bigain.launch.plan import plan_runs  # noqa: PLC0415 -- loads Hydra

    is_sweep = bool({"-m", "--multirun"} & set(arguments))
    overrides = [each for each in arguments if each not in ("-m", "--multirun")]
    flag = next((each for each in overrides if each.startswith("-") and "=" not in each), None)
    if flag is not None:
        raise UserError(f"{flag}: no such flag; allowed: -m, --multirun, --help")
    plan = plan_runs([*overrides, _RACING], is_sweep)

    from bigain.engine.calibrate import calibrate  # noqa: PLC0415 -- loads torch

    for run in plan.runs:
        found = calibrate(run.config)
        fit = ", ".join(f"{ratio:.2f} after {k}" for k, ratio in found.fit.items())
        sys.stdout.write(
            f"{run.config.title}: {found.path} ({found.computed} images computed; variance of the "
            f"unseen trials over the predicted one: {fit})\n"
        )
    return 0
