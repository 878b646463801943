"""Evaluations and decisions of races beside the staged protocol; `python benchmarks/racing.py`.

The images of one row are the same for both, in pairs.  `--images fresh` takes them from the test
split of Fashion-MNIST behind the first 2,000, on some of which the rule and its z were chosen, so
it needs the full split (`--root`); both runs are made.  `--images shipped` takes the last of those
that ship, and the committed staged runs.  Either way the race is calibrated on the last images of
the full split.  `--images calibration` makes no runs: both protocols decide from the errors that
the calibration kept, each tenth of its images with the model of the others.  A killed benchmark
goes on.
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import timing
import torch

from bigain.config import ClassificationConfig
from bigain.data.fashion_mnist import SLICE_SIZE, FashionMNIST
from bigain.data.whole import load_whole
from bigain.engine.build_protocol import gaussian_rule
from bigain.errors import in_one_line
from bigain.launch.compose import compose_config
from bigain.metrics import paired_accuracy, wilson
from bigain.runs.calibrations import errors_folder, read_calibration
from bigain.runs.files import make_results
from bigain.runs.identity import run_id
from bigain.runs.pairing import FinishedRun, read_finished
from bigain.tasks.protocol import StagedProtocol
from bigain.tasks.race_model import WEIGHTS, RaceModel
from bigain.tasks.racing import RacingProtocol, decide

__all__ = ["main", "row"]

_PROTOCOL = StagedProtocol((5, 20), (5, 1))
_STAGED = _PROTOCOL.evaluations(10)
_ORDERS = {
    "fresh": slice(2 * SLICE_SIZE, 3 * SLICE_SIZE),
    "shipped": slice(SLICE_SIZE - 1, None, -1),
}
"""Which images of the test split's order come first."""
_PARTS = 10
_RACE = "task.allocation=racing"
_MINI = ["mini_dit", "mini_unet"]


def main() -> None:
    """Make the runs that are missing, print a line for each backbone, and write them as CSV."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbones", nargs="+", choices=_MINI, default=_MINI)
    parser.add_argument("--images", choices=[*_ORDERS, "calibration"], default="fresh")
    parser.add_argument("--count", type=timing.positive, default=1000)
    parser.add_argument("--z", help="instead of the default, such as `--choose-z` has chosen")
    parser.add_argument("--root", type=Path, help="the folder of the full Fashion-MNIST")
    parser.add_argument("--results", type=Path, required=True, help="where the runs are made")
    parser.add_argument("--csv", type=Path, help="rows of other images or backbones in it stay")
    arguments = parser.parse_args()
    timing.check_csv(arguments.csv)
    whole = FashionMNIST.open_all(arguments.root).image_ids
    is_held_out, is_fresh = arguments.images == "calibration", arguments.images == "fresh"
    order = "fresh" if is_held_out else arguments.images
    make_results(arguments.results, "--results")
    index = arguments.results / f"{order}.txt"
    index.write_text("".join(f"{image_id}\n" for image_id in whole[_ORDERS[order]]))
    known = _rows(arguments.csv)
    race = [_RACE] if arguments.z is None else [_RACE, f"task.race.z={arguments.z}"]
    for backbone in arguments.backbones:
        place = [f"paths.results={arguments.results.resolve()}", f"backbone={backbone}"]
        place += [] if arguments.root is None else [f"dataset.root={arguments.root.resolve()}"]
        own = [*place, f"dataset.index={index.resolve()}", f"dataset.limit={arguments.count}"]
        _bigain("calibrate", *own)
        z = compose_config([*own, *race]).task_as(ClassificationConfig).of_race.z
        key = {"backbone": backbone, "images": arguments.images, "z": str(z)}
        if is_held_out:
            found = key | row(*_held_out([*own, *race])) | timing.conditions()
        else:
            staged = _made(own) if is_fresh else _committed(backbone)
            found = key | row(_made([*own, *race]).samples, staged.samples) | timing.conditions()
        print(found, flush=True)
        known = [each for each in known if any(each[name] != key[name] for name in key)]
        known = sorted([*known, found], key=lambda each: [each[name] for name in key])
        timing.write_rows(arguments.csv, known)


def row(race: pd.DataFrame, staged: pd.DataFrame) -> dict[str, Any]:
    """The columns of a CSV row that a race and a staged run over the same images fill."""
    before = staged.set_index("image_id")[["prediction", "correct"]].add_suffix("_staged")
    pair = race.set_index("image_id").join(before)
    if pair["correct_staged"].isna().any():
        raise ValueError("the staged run lacks an image of the race")
    right, old = pair["correct"].astype(bool), pair["correct_staged"].astype(bool)
    difference = paired_accuracy(right, old)
    same = int((pair["prediction"] == pair["prediction_staged"]).sum())
    low, high = wilson(same, len(pair))
    taken = pair["evaluations"]
    return {
        "n": len(pair),
        "evaluations": round(taken.mean(), 2),
        "evaluations_p10": int(taken.quantile(0.1)),
        "evaluations_p90": int(taken.quantile(0.9)),
        "staged_evaluations": _STAGED,
        "share": round(taken.mean() / _STAGED, 4),
        "rounds": round(pair["rounds"].mean(), 2),
        "acc1": round(100 * right.mean(), 2),
        "staged_acc1": round(100 * old.mean(), 2),
        "gained": int((right & ~old).sum()),
        "lost": int((~right & old).sum()),
        "difference": round(100 * difference.mean, 2),
        "ci_low": round(100 * difference.ci_low, 2),
        "ci_high": round(100 * difference.ci_high, 2),
        "same_decision": round(100 * same / len(pair), 2),
        "same_low": round(100 * low, 2),
        "same_high": round(100 * high, 2),
        "spent": round(100 * pair["spent"].mean(), 2),
    }


def _held_out(overrides: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of the race and of the staged protocol over the images of the calibration."""
    config = compose_config(overrides)
    weigh = WEIGHTS[config.task_as(ClassificationConfig).of_race.weighing]
    (folder,) = errors_folder(config).iterdir()
    ids = read_calibration(config)["image_ids"]
    kept = [json.loads((folder / f"{image_id}.json").read_text("utf-8")) for image_id in ids]
    tables, part = torch.tensor(kept, dtype=torch.float64), torch.arange(len(ids)) % _PARTS
    models = [RaceModel.learned(tables[part != fold], weigh) for fold in range(_PARTS)]
    rules = [gaussian_rule(config, model) for model in models]
    dataset = load_whole(config.dataset)
    labels = {dataset[at].image_id: dataset[at].label for at in range(len(dataset))[-len(ids) :]}
    race, staged = [], []
    for number, (image_id, table) in enumerate(zip(ids, tables, strict=True)):
        raced = decide(RacingProtocol(rules[number % _PARTS], 0.0, config.seed), image_id, table)
        assert raced.ledger is not None
        own = {"image_id": image_id, "prediction": raced.prediction, **vars(raced.ledger)}
        race.append({**own, "correct": raced.prediction == labels[image_id]})
        plain = decide(_PROTOCOL, image_id, table).prediction
        own = {"image_id": image_id, "prediction": plain}
        staged.append({**own, "correct": plain == labels[image_id]})
    return pd.DataFrame(race), pd.DataFrame(staged)


def _made(overrides: list[str]) -> FinishedRun:
    """The run, made if it is missing."""
    _bigain(*overrides)
    config = compose_config(overrides)
    return read_finished(config.paths.results, run_id(config))


def _committed(backbone: str) -> FinishedRun:
    """The staged run of the 1,000 images that ship."""
    results = timing.ROOT / "results"
    config = compose_config([f"backbone={backbone}", f"dataset.limit={SLICE_SIZE}"])
    return read_finished(results, run_id(config))


def _bigain(*words: str) -> None:
    """Carry out a command, which says itself what is wrong."""
    code = subprocess.run([sys.executable, "-m", "bigain", *words], check=False, cwd=timing.ROOT)
    if code.returncode:
        raise SystemExit(code.returncode)


def _rows(path: Path | None) -> list[dict[str, Any]]:
    if path is None or not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


if __name__ == "__main__":
    sys.exit(in_one_line(main))
