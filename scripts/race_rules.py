"""The rules of a race beside each other, over recorded errors of the two mini backbones.

    python scripts/race_rules.py     # "Beside the published rules" of docs/racing.md, in seconds

The errors and S are those of `scripts/race_tables.py`; nothing is evaluated.  Printed are the mean
evaluations of an image, and how many of the 100 images the full grid decides alike; where a rule
has weights, as their weighted sum and as the plain sum of all trials says.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bigain.config import ClassificationConfig
from bigain.engine.build_protocol import gaussian_rule
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.tasks.protocol import StagedProtocol
from bigain.tasks.race_model import WEIGHTS, RaceModel, greedy_order, spread_order
from bigain.tasks.race_rules import HalvingRule, RaceRule, StudentRule
from bigain.tasks.racing import RacingProtocol, decide

__all__ = ["RULES", "main", "raced", "staged"]

TABLES = Path(__file__).parents[1] / "tests" / "tasks" / "race_tables.safetensors"
BACKBONES = ("mini_unet", "mini_dit")
RULES: Mapping[str, tuple[str, ...]] = {
    "gaussian, z = 2.54": (),
    "gaussian, z = 2": ("z=2",),
    "gaussian, z = 3": ("z=3",),
    "gaussian, z = 2.54, looks [2,3,5,8,12]": ("looks=[2,3,5,8,12]",),
    "gaussian, z = 2.54, weights of the spread": ("weights=spread",),
    "t_test, p = 0.05": ("rule=t_test", "p=0.05"),
    "t_test, p = 0.01": ("rule=t_test", "p=0.01"),
    "halving": ("rule=halving",),
}
"""Row of the table -> settings of `task.race`; the others are the defaults."""

_Found = tuple[float, int, int]
"""Evaluations; images decided as the weighted sum, and as the plain sum of all trials says."""


def main() -> int:
    """Print the rows; the exit code."""
    tables = load_file(TABLES)
    print(_row("staged [5,20]/[5,1]", [staged(tables[f"{name}.errors"]) for name in BACKBONES]))
    for rule, settings in RULES.items():
        each = ((tables[f"{name}.errors"], tables[f"{name}.covariance"]) for name in BACKBONES)
        print(_row(rule, [raced(settings, *pair) for pair in each]), flush=True)
    return 0


def staged(errors: Tensor) -> _Found:
    """The staged protocol over errors of shape (images, 20, C)."""
    protocol = StagedProtocol((5, 20), (5, 1))
    found = torch.tensor([decide(protocol, 0, table).prediction for table in errors])
    same = int((found == _winners(errors)).sum())
    return float(protocol.evaluations(errors.shape[-1])), same, same


def raced(settings: tuple[str, ...], errors: Tensor, s: Tensor) -> _Found:
    """Races over errors of shape (images, 20, C), with the covariance `s` (20, 20)."""
    overrides = ["task.allocation=racing", *(f"task.race.{each}" for each in settings)]
    config = compose_config(overrides).task_as(ClassificationConfig).of_race
    rule: RaceRule
    weights = WEIGHTS[config.weighing](s)
    if config.rule == "halving":
        rule = HalvingRule(len(s), config.stages or ())
    elif config.rule == "t_test":
        rule = StudentRule(spread_order(s), config.level, config.first)
    else:
        model = RaceModel(s, weights, greedy_order(s, weights))
        rule = gaussian_rule(compose_config(overrides), model)
    decisions = [decide(RacingProtocol(rule, 0.0, 0), 0, table) for table in errors]
    found = torch.tensor([each.prediction for each in decisions])
    taken = sum(each.ledger.evaluations for each in decisions if each.ledger is not None)
    own, plain = _winners(errors * weights[:, None]), _winners(errors)
    return taken / len(errors), int((found == own).sum()), int((found == plain).sum())


def _winners(errors: Tensor) -> Tensor:
    return errors.double().sum(dim=1).argmin(dim=1)


def _row(rule: str, found: list[_Found]) -> str:
    cells = [f"{_short(taken)} | {_alike(own, plain)}" for taken, own, plain in found]
    return f"| {rule} | {' | '.join(cells)} |"


def _short(taken: float) -> str:
    return f"{taken:.1f}".removesuffix(".0")


def _alike(own: int, plain: int) -> str:
    return str(own) if own == plain else f"{own} of its own score, {plain}"


if __name__ == "__main__":
    sys.exit(in_one_line(main))
