"""Curves of Trackio's page: which runs are points of which curve, and what Trackio is told."""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from bigain.cli.main import main
from bigain.runs.files import read_csv
from bigain.tracking.curves import Curve, curves_of
from bigain.tracking.questions import FACTOR, FLOPS, RATIO
from tests.tracking.commands import environment

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"

Run = tuple[dict[str, Any], dict[str, float]]


def run(name: str, accuracy: float, flops: float | None = None, **settings: Any) -> Run:
    """A run of an operator; what begins with `dataset_` is a setting of the dataset."""
    dataset = {"name": "digits", "limit": settings.pop("dataset_limit", None)}
    config = {
        "backbone": {"name": "net"},
        "dataset": dataset,
        "operator": {"name": name, **settings},
        "task": {"name": "classification"},
        "profile": "mini",
        "seed": 0,
    }
    more = {} if flops is None else {"flops_g": flops}
    return config, {"acc1": accuracy, "acc1_low": accuracy - 1, "wall_seconds": 3.0, **more}


def drawn(curves: list[Curve], x: str) -> dict[str, list[tuple[float, float]]]:
    return {c.view.name: [(point[x], point["acc1"]) for point in c.points] for c in curves}


RUNS = [
    run("none", 90, 10),
    run("tome", 70, 6, ratio=0.7),
    run("tome", 85, 8, ratio=0.3),
    run("tome", 60, 5, ratio=0.7, scope="self+mlp"),
    run("tome", 50, dataset_limit=5, ratio=0.7),
    run("todo", 80, 7, factor=2),
    run("hybrid", 77, 4, ratio=0.5, factor=2),
    run("hybrid", 66, 3, ratio=0.7, factor=2),
    run("hybrid", 55, 2, ratio=0.7, factor=3),
]


def test_a_curve_begins_at_the_baseline_and_has_its_runs_from_left_to_right() -> None:
    found = curves_of(RUNS, RATIO)
    assert drawn(found, "ratio") == {
        "net digits tome": [(0, 90), (0.3, 85), (0.7, 70)],
        "net digits tome self+mlp": [(0, 90), (0.7, 60)],
        # At ratio 0 it would still reduce by its factor.
        "net digits hybrid factor=2": [(0.5, 77), (0.7, 66)],
    }
    assert drawn(curves_of(RUNS, FACTOR), "factor") == {
        "net digits todo": [(1, 90), (2, 80)],
        "net digits hybrid ratio=0.7": [(2, 66), (3, 55)],
    }


def test_races_with_calibrations_of_their_own_are_points_of_one_curve() -> None:
    def raced(digits: str, found: Run) -> Run:
        race = {"z": 2.54, "calibration": digits}
        task = {"name": "classification", "allocation": "racing", "trial_list": [20], "race": race}
        return {**found[0], "task": task}, found[1]

    runs = [raced(str(number), found) for number, found in enumerate(RUNS[:3])]
    assert drawn(curves_of(runs, RATIO), "ratio") == {
        "net digits tome": [(0, 90), (0.3, 85), (0.7, 70)]
    }


def test_over_flops_every_operator_ends_at_the_baseline() -> None:
    assert drawn(curves_of(RUNS, FLOPS), "flops_g") == {
        "net digits tome": [(6, 70), (8, 85), (10, 90)],
        "net digits tome self+mlp": [(5, 60), (10, 90)],
        "net digits todo": [(7, 80), (10, 90)],
        "net digits hybrid factor=2": [(3, 66), (4, 77), (10, 90)],
        "net digits hybrid factor=3": [(2, 55), (10, 90)],
    }


def test_runs_that_differ_in_any_other_setting_are_points_of_different_curves() -> None:
    more = [*RUNS, run("tome", 40, dataset_limit=5, ratio=0.5), run("none", 56, dataset_limit=5)]
    found = curves_of(more, RATIO)
    assert drawn(found, "ratio")["net digits tome n=5"] == [(0, 56), (0.5, 40), (0.7, 50)]
    assert len({curve.view.run_id for curve in found}) == len(found) == 4
    assert all("ratio" not in curve.view.config["operator"] for curve in found)


def test_a_point_has_the_metrics_of_the_questions_alone() -> None:
    keys = {key for curve in curves_of(RUNS, RATIO) for point in curve.points for key in point}
    assert keys == {"ratio", "acc1"}


def stored(folder: Path, project: str) -> list[dict[str, Any]]:
    """What Trackio's own command line says that it was told."""
    sql = "SELECT id, run_name, step, metrics FROM metrics ORDER BY run_name, step"
    program = str(Path(sys.executable).with_name("trackio"))
    done = subprocess.run(
        [program, "query", "project", "--project", project, "--sql", sql, "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(TRACKIO_DIR=str(folder)),
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def test_trackio_is_told_the_numbers_of_the_csv_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    (tmp_path / "mini").symlink_to(RESULTS / "mini")
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in read_csv(RESULTS / "mini" / "runs.csv"):
        is_asked = row["operator"] in ("none", "tome") and row["scope"] in (None, "self")
        is_asked &= "average=mlerp" not in str(row["settings"])
        place = (row["backbone"], row["dataset"], row["task"], row["n"])
        if is_asked and place == ("mini_unet", "fashion_mnist", "classification", 400):
            values[row["run_id"]] |= {"ratio": row["ratio"] or 0.0, row["metric"]: row["value"]}
    assert len(values) >= 3
    arguments = ["dashboard", "--results", str(tmp_path), "--no-page", "--project", "mine"]
    assert main([*arguments, *values]) == 0
    first = stored(tmp_path / "trackio", "mine-against-ratio")
    assert len({row["run_name"] for row in first}) == 1
    points = [json.loads(row["metrics"]) for row in first]
    expected = sorted(values.values(), key=lambda each: float(each["ratio"]))
    for point, each in zip(points, expected, strict=True):
        assert point.keys() == {"ratio", "acc1", "margin_mean", "margin_variance"}
        assert point == {key: each[key] for key in point}

    assert main([*arguments, *values]) == 0
    assert stored(tmp_path / "trackio", "mine-against-ratio") == first
    # Fewer runs: a point less, and no old one beside it.
    (dropped, *_) = (name for name, each in values.items() if each["ratio"] == 0.5)
    assert main([*arguments, *(name for name in values if name != dropped)]) == 0
    fewer = stored(tmp_path / "trackio", "mine-against-ratio")
    left = [point["ratio"] for point in points if point["ratio"] != 0.5]
    assert [json.loads(row["metrics"])["ratio"] for row in fewer] == left
