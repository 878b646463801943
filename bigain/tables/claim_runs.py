"""The finished runs behind the claims, by the words that a user types for them."""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from bigain.errors import UserError
from bigain.metrics import Metric, paired_difference
from bigain.metrics.trials import Trials
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id
from bigain.runs.pairing import FinishedRun
from bigain.runs.trials import read_trials
from bigain.tables.claims import PairTest
from bigain.tables.differences import Difference, paired_differences, scaled
from bigain.tables.planner import Compose
from bigain.tables.quantities import QUANTITIES
from bigain.tables.trial_cells import TrialValues, trial_differences, trial_values

__all__ = ["ClaimRuns"]

_UNITS = {"acc1": "points", "best_margin": "sigma_t", "frechet_mini": "feature^2"}
"""Of the metrics that have a value of each image."""


class ClaimRuns:
    """Records, errors and counted numbers of the mini profile's runs.

    Args:
        results: The folder of results.
        compose: Makes configurations of overrides.

    """

    def __init__(self, results: Path, compose: Compose) -> None:
        self.folder = results / "mini"
        self._archive = Archive(results, "mini")
        self._compose = compose
        self.run_id = cache(self._run_id)
        self.frame = cache(self._frame)
        self._errors = cache(self._read_errors)
        self.trials = cache(self._trials)

    def has(self, name: str) -> bool:
        """Whether a run is finished, here or published."""
        return self._archive.is_available(name)

    def has_errors(self, name: str) -> bool:
        """Whether the errors of all classes in its first stage are here or published."""
        return self._archive.errors_path(name).is_file()

    def check(self, names: Sequence[str]) -> None:
        """Raise UserError if the runs are not of the same weights and images as the first."""
        for name in names[1:]:
            self._archive.check_comparable(name, names[0])
            own, first = (self.frame(each)["image_id"] for each in (name, names[0]))
            if not own.equals(first):
                raise UserError(f"runs {name}, {names[0]}: do not cover the same images")

    def difference(self, test: PairTest, names: Sequence[str]) -> Difference:
        """First minus second, or that minus (third minus fourth) where the test is of growth.

        Args:
            test: What is compared.
            names: Ids of its runs; of a margin, the baseline at the end.

        """
        if test.start is not None:
            a, b, c, d = (self._by_image(test.metric, name, names[-1]) for name in names[:4])
            found = paired_difference(a - b, c - d)
            return Difference(scaled(test.metric, found, 1.0, _UNITS[test.metric]), found.p)
        if test.metric == "best_margin":
            first, second = (self.trials(name, names[-1]) for name in names[:2])
            return trial_differences(first, second, None)[test.metric]
        row, versus = map(self.frame, names)
        work = QUANTITIES[test.metric].work
        return paired_differences(work, row, versus, None)[test.metric]

    def _by_image(self, metric: str, name: str, baseline: str) -> "pd.Series[float]":
        if metric == "best_margin":
            return self.trials(name, baseline).decisions[metric]
        indexed = self.frame(name).set_index("image_id")
        return 100.0 * indexed["correct"] if metric == "acc1" else indexed["frechet_value"]

    def metric(self, name: str, metric: str) -> Metric:
        """What a run states of itself."""
        return self._archive.metrics(name)[metric]

    def band(self, backbone: str, quantity: str, band: str) -> Metric | None:
        """A quantity of the baseline in bands.csv, over all timesteps; None if it is not there."""
        path = self.folder / "bands.csv"
        wanted = {"backbone": backbone, "operator": "none", "timestep": "all"}
        wanted |= {"band": band, "quantity": quantity}
        if not path.is_file():
            return None
        with path.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle):
                if all(row[key] == value for key, value in wanted.items()):
                    value, low, high = (float(row[key]) for key in ("value", "ci_low", "ci_high"))
                    return Metric(quantity, value, int(row["n"]), low, high, "ratio")
        return None

    def _run_id(self, words: tuple[str, ...]) -> str:
        (config,) = self._compose([words])
        return run_id(config)

    def _frame(self, name: str) -> pd.DataFrame:
        frame = self._archive.samples(name)
        assert frame is not None, "only finished runs are asked for"
        return frame

    def _trials(self, name: str, baseline: str) -> TrialValues:
        """The statistics of single trials of a run, in units of its baseline."""
        return trial_values(self._errors(name), self._errors(baseline).scale)

    def _read_errors(self, name: str) -> Trials:
        found = read_trials(FinishedRun(name, {}, self.frame(name), self._archive))
        if found is None:
            raise UserError(f"run {name}: has no errors of all classes; do it again, force=true")
        return found
