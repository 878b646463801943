"""Errors of the two mini backbones, which tests/tasks/test_race_minis.py races over.

    python scripts/race_tables.py --root DIR --cache DIR --results DIR

Of the last 250 images of Fashion-MNIST's fixed order, each at all 20 trials and ten classes: the
first 100 are kept as they are (fp32), and the last 150, the images of a default calibration, as
their covariance (fp64).  50,000 evaluations of each backbone; images whose errors are in `--cache`
are not computed again.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bigain.engine.calibrate import calibrate
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.runs.calibrations import errors_folder, read_calibration
from bigain.tasks.race_model import covariance

__all__ = ["main"]

_TABLES = Path(__file__).parents[1] / "tests" / "tasks" / "race_tables.safetensors"
_BACKBONES = ("mini_dit", "mini_unet")
_RACED, _CALIBRATING = 100, 150


def main() -> None:
    """Compute what is missing and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, help="the full Fashion-MNIST; default: what ships")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, help="where calibrations are made")
    arguments = parser.parse_args()
    place = [f"paths.cache={arguments.cache}", f"paths.results={arguments.results}"]
    place += [] if arguments.root is None else [f"dataset.root={arguments.root}"]
    tensors: dict[str, Tensor] = {}
    for backbone in _BACKBONES:
        errors = _errors([*place, f"backbone={backbone}"])
        tensors[f"{backbone}.errors"] = errors[:_RACED].float().contiguous()
        tensors[f"{backbone}.covariance"] = covariance(errors[_RACED:])
    save_file(tensors, _TABLES)


def _errors(overrides: list[str]) -> Tensor:
    """All errors of the last images, in the order of the dataset, shape (250, 20, 10)."""
    own = ["task.allocation=racing", f"task.race.images={_RACED + _CALIBRATING}", "dataset.limit=4"]
    calibrate(compose_config([*overrides, *own]))
    config = compose_config([*overrides, *own])
    (folder,) = errors_folder(config).iterdir()
    ids = read_calibration(config)["image_ids"]
    kept = [json.loads((folder / f"{image_id}.json").read_text("utf-8")) for image_id in ids]
    return torch.tensor(kept, dtype=torch.float64)


if __name__ == "__main__":
    sys.exit(in_one_line(main))
