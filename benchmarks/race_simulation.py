"""Races of many classes over simulated errors; `python benchmarks/race_simulation.py`.

No data set of more than ten classes has been raced.  Here the errors of each class are normal with
the covariance S of a mini backbone (that of `scripts/race_tables.py`), independent and of one mean:
no class is better than another, so a race of real images is easier where the true class stands out,
and harder where the model is wrong.  Printed are evaluations, and the share of images that the full
grid decides alike.
"""

import argparse
import math
import sys
from pathlib import Path

import timing
import torch
from safetensors.torch import load_file

from bigain.config import ClassificationConfig
from bigain.engine.build_protocol import gaussian_rule
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.metrics import wilson
from bigain.tasks.protocol import Allocation, StagedProtocol
from bigain.tasks.race_model import WEIGHTS, RaceModel, greedy_order
from bigain.tasks.racing import RacingProtocol, decide

__all__ = ["main", "simulated"]

_TABLES = Path(__file__).parents[1] / "tests" / "tasks" / "race_tables.safetensors"
_STAGED = StagedProtocol((5, 20), (5, 1))


def main() -> None:
    """Print a row for each backbone and number of classes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classes", nargs="+", type=timing.positive, default=[37, 100, 1000])
    parser.add_argument("--images", type=timing.positive, default=1000)
    parser.add_argument("--seed", type=timing.at_least(0), default=0)
    arguments = parser.parse_args()
    tables = load_file(_TABLES)
    config = compose_config(["task.allocation=racing"])
    weighing = config.task_as(ClassificationConfig).of_race.weighing
    for backbone in ("mini_unet", "mini_dit"):
        s = tables[f"{backbone}.covariance"]
        weights = WEIGHTS[weighing](s)
        rule = gaussian_rule(config, RaceModel(s, weights, greedy_order(s, weights)))
        race = RacingProtocol(rule, 0.0, config.seed)
        for classes in arguments.classes:
            found = simulated(race, s, classes, arguments.images, arguments.seed)
            staged = simulated(_STAGED, s, classes, arguments.images, arguments.seed)
            print(f"| {backbone} | {classes} | {found} | {staged} |", flush=True)


def simulated(protocol: Allocation, s: torch.Tensor, classes: int, images: int, seed: int) -> str:
    """Mean evaluations, and the share of decisions of the full grid with Wilson's interval."""
    root, generator = torch.linalg.cholesky(s), torch.Generator().manual_seed(seed)
    taken, same = 0, 0
    for image_id in range(images):
        table = root @ torch.randn(len(s), classes, generator=generator, dtype=torch.float64)
        decision = decide(protocol, image_id, table)
        ledger = decision.ledger
        taken += _STAGED.evaluations(classes) if ledger is None else ledger.evaluations
        same += decision.prediction == int(table.float().double().sum(dim=0).argmin())
    low, high = (math.floor(1000 * end + 0.5) / 10 for end in wilson(same, images))
    return f"{taken / images:.0f} | {100 * same / images:.1f} % [{low}, {high}]"


if __name__ == "__main__":
    sys.exit(in_one_line(main))
