"""Print the paired comparisons of docs/results.md: every pair of runs with committed records.

`python scripts/results.py [mini_unet|mini_dit]` gives one line per pair of runs, over the
images that both saw: accuracy difference in points, and difference of the noise errors with its z.
"""

import sys
from itertools import combinations, groupby
from pathlib import Path

import pandas as pd

from bigain.config.base import SETTING_COLUMNS
from bigain.metrics import image_errors, paired_accuracy, paired_difference
from bigain.runs.archive import Archive

RESULTS = Path(__file__).parents[1] / "results"


def main(backbones: list[str]) -> None:
    """Compare all published runs of each backbone and dataset, pair by pair."""
    archive = Archive(RESULTS, "mini")
    runs = [archive.rows(name)[0].columns for name in archive.run_ids()]
    for (backbone, dataset), group in groupby(runs, key=lambda r: (r["backbone"], r["dataset"])):
        published = {}
        for run in group if backbone in (backbones or [backbone]) else ():
            samples = archive.samples(run["run_id"])
            if samples is not None and run["task"] == "classification":
                settings = [f"{key}={run[key]}" for key in SETTING_COLUMNS if run[key]]
                name = " ".join([run["operator"], *settings])
                published[f"{name} ({len(samples)})"] = samples
        for (a, left), (b, right) in combinations(published.items(), 2):
            _compare(f"{backbone}, {dataset}: {a} - {b}", left, right)


def _compare(title: str, left: pd.DataFrame, right: pd.DataFrame) -> None:
    correct = [s.set_index("image_id")["correct"] for s in (left, right)]
    accuracy = paired_accuracy(*correct)
    error = paired_difference(image_errors(left), image_errors(right))
    print(
        f"{title}: {100 * accuracy.mean:+.1f} points [{100 * accuracy.ci_low:+.1f}, "
        f"{100 * accuracy.ci_high:+.1f}], p = {accuracy.p:.2g}; noise error {error.mean:+.5f}, "
        f"z = {error.z:+.1f}; n = {error.n}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
