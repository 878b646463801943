"""Print the paired comparisons of docs/results.md: every pair of runs with committed records.

`python scripts/results.py [mini_unet|mini_dit]` gives one line per pair of runs, over the
images that both saw: accuracy difference in points, and difference of the noise errors with its z.
"""

import sys
from itertools import combinations
from pathlib import Path

import pandas as pd

from bigain.metrics import image_errors, paired_accuracy, paired_difference
from bigain.runs.archive import Archive

RESULTS = Path(__file__).parents[1] / "results"


def main(backbones: list[str]) -> None:
    """Compare all published runs of each backbone, pair by pair."""
    runs = pd.read_csv(RESULTS / "mini" / "runs.csv", dtype=str, keep_default_na=False)
    runs = runs[runs["task"] == "classification"].drop_duplicates("run_id")
    for backbone in backbones or ["mini_unet", "mini_dit"]:
        published = {}
        for row in runs[runs["backbone"] == backbone].to_dict("records"):
            samples = Archive(RESULTS, "mini").samples(row["run_id"])
            if samples is not None:
                name = f"{row['operator']} {row['ratio'] or row['factor']}".strip()
                published[f"{name} ({len(samples)})"] = samples
        for (a, left), (b, right) in combinations(published.items(), 2):
            _compare(f"{backbone}: {a} - {b}", left, right)


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
