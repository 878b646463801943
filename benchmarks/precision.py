"""Decisions in bfloat16, compiled, beside the committed ones in float32.

`python benchmarks/precision.py`.  Both classify the first images of the shipped slice by the
defaults of the protocol, with the same noise.  The committed runs are those of 1,000 images.
"""

import argparse
import sys
from itertools import product
from pathlib import Path
from typing import Any

import timing
import torch
from gpu_correct import HEADLINES, Records, compare

from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.engine.tasks import build_task
from bigain.errors import UserError, in_one_line
from bigain.launch.compose import compose_config
from bigain.metrics import wilson
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id

__all__ = ["committed", "main", "row"]

_MINI = ("mini_unet", "mini_dit")
_SETTINGS = ("dtype=bfloat16", "compile=true")


def main() -> None:
    """Classify, print a line for each backbone and operator, and write them as CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=_MINI, default=_MINI)
    parser.add_argument("--operators", nargs="+", choices=list(HEADLINES), default=["none"])
    parser.add_argument("--count", type=timing.positive, default=500, help="images (500)")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    if options.count > SLICE_SIZE:
        raise UserError(f"--count={options.count}: allowed: 1 to {SLICE_SIZE}")
    torch.set_num_threads(1)
    cases = {
        (backbone, operator): (f"backbone={backbone}", *HEADLINES[operator])
        for backbone, operator in product(options.backbones, options.operators)
    }
    references = {case: committed(own) for case, own in cases.items()}
    file = timing.RowFile(options.csv, {**timing.conditions(), "threads": 1})
    for (backbone, operator), own in cases.items():
        limit = f"dataset.limit={options.count}"
        task = build_task(compose_config([*own, *_SETTINGS, limit]))
        records = [dict(record) for record in task.records(task.ids)]
        file.add(
            backbone=backbone, operator=operator, **row(records, references[backbone, operator])
        )
        print(*file.rows[-1].items(), flush=True)


def committed(own: tuple[str, ...]) -> Records:
    """The committed records of 1,000 images in float32.

    Raises:
        UserError: There are none of these settings.

    """
    words = [*own, f"dataset.limit={SLICE_SIZE}"]
    samples = Archive(timing.ROOT / "results", "mini").samples(run_id(compose_config(words)))
    if samples is None:
        raise UserError(f"no committed records of {' '.join(words)}")
    return [dict(sample) for _, sample in samples.iterrows()]


def row(records: Records, reference: Records) -> dict[str, Any]:
    """The columns of a CSV row that the two fill; shares in per cent, with Wilson's interval."""
    found = compare(records, reference)
    predicted = {record["image_id"]: record["prediction"] for record in reference}
    low, high = wilson(found.equal_predictions, found.images)
    others = [
        str(record["image_id"])
        for record in records
        if record["prediction"] != predicted[record["image_id"]]
    ]
    return {
        "settings": " ".join(_SETTINGS),
        "images": found.images,
        "equal_predictions": found.equal_predictions,
        "equal_percent": round(100 * found.equal_predictions / found.images, 2),
        "equal_low": round(100 * low, 2),
        "equal_high": round(100 * high, 2),
        "largest_relative": float(f"{found.largest_relative:.3g}"),
        "other_images": " ".join(others),
    }


if __name__ == "__main__":
    sys.exit(in_one_line(main))
