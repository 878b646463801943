"""Write an operator, register it for runs with a YAML file, sweep it, and see it in a table.

You learn the two files that an operator needs, and how its runs are made and compared.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from bigain.cli.main import main
from bigain.operators import KeyValueReducer, SelectReduction

# The settings and their defaults; the class is in this file, which Python must be able to import.
YAML = "{_target_: own_operator.EveryNth, name: every_nth, step: 2, scope: self}"


@dataclass(frozen=True)
class EveryNth(KeyValueReducer):
    """Keys and values are projected from every `step`-th token."""

    step: int

    def plan(self, metric, grid, draw=None):  # metric: (B, N, C) tokens on a grid of (h, w)
        kept = torch.arange(0, metric.shape[1], self.step, device=metric.device)
        return SelectReduction(kept.expand(len(metric), -1))

    def num_kept(self, grid):
        return -(-grid[0] * grid[1] // self.step)


if __name__ == "__main__":
    Path("operator").mkdir(exist_ok=True)
    Path("operator/every_nth.yaml").write_text(YAML)
    settings = ["-m", f"hydra.searchpath=[file://{Path.cwd()}]"]
    few = ["dataset.limit=4", "task.trial_list=[1,4]"]
    own = ["operator=every_nth", "operator.step=2,4"]
    for sweep in ([*few, "operator=none"], [*few, *own], [*own, "task=efficiency"]):
        main([*settings, *sweep])  # on the command line: python -m bigain -m ...
    main(["joint"])  # the table
