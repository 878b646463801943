"""Names, records and stated metrics of finished runs have to agree."""

import csv
import gzip
import io
import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import Metric, frechet_with_interval, moments_of, wilson
from bigain.runs.archive import Archive
from bigain.runs.audit import audit, audit_names, check_metrics
from bigain.runs.collect import collect, publish_runs
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]

COMMITTED = Path(__file__).parents[2] / "results"


@pytest.fixture
def names(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> tuple[str, str]:
    """No acceleration and ToMe, published, without their folders."""
    configs = make_config(), make_config(operator=tome)
    for config, rise in zip(configs, (0.0, 0.2), strict=True):
        make_run(tmp_path, config, rise)
    publish_runs(tmp_path, "mini", map(run_id, configs))
    shutil.rmtree(tmp_path / "runs")
    assert baseline_id(configs[1]) == run_id(configs[0])
    return run_id(configs[0]), run_id(configs[1])


def edit(results: Path, change: Callable[[dict[str, str]], None]) -> None:
    path = results / "mini" / "runs.csv"
    lines = list(csv.DictReader(path.open(newline="")))
    for line in lines:
        change(line)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def test_what_is_committed_agrees() -> None:
    audit(COMMITTED, "mini")
    assert sum(map(bool, audit_names(COMMITTED, "mini").values())) > 60


@pytest.mark.usefixtures("names")
def test_what_was_published_agrees(tmp_path: Path) -> None:
    audit(tmp_path, "mini")


def test_without_runs_nothing_disagrees(tmp_path: Path) -> None:
    audit(tmp_path, "mini")
    assert audit_names(tmp_path, "mini") == {}


@pytest.mark.parametrize("metric", ["acc1", "eps_error", "eps_error_rise", "margin_variance"])
@pytest.mark.parametrize("parts", [("value", "ci_low", "ci_high"), ("ci_low",), ("n",)])
def test_a_metric_that_its_records_do_not_give_is_named(
    tmp_path: Path, names: tuple[str, str], metric: str, parts: tuple[str, ...]
) -> None:
    def change(line: dict[str, str]) -> None:
        for part in parts if (line["run_id"], line["metric"]) == (names[1], metric) else ():
            shifted = float(line[part]) * 0.98 if part != "n" else float(line["n"]) - 1
            line[part] = f"{shifted:.17g}"

    edit(tmp_path, change)
    path = Archive(tmp_path, "mini").published_samples_path(names[1])
    with pytest.raises(
        UserError, match=rf"run {names[1]}: {metric}.*, but {path} (gives|and those)"
    ):
        audit(tmp_path, "mini")


def test_the_rise_is_not_judged_without_the_records_of_no_acceleration(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    def change(line: dict[str, str]) -> None:
        for part in ("value", "ci_low", "ci_high") if line["metric"] == "eps_error_rise" else ():
            line[part] = str(float(line[part]) * 1.02)

    edit(tmp_path, change)
    Archive(tmp_path, "mini").published_samples_path(names[0]).unlink()
    audit(tmp_path, "mini")


def test_records_that_lost_images_are_named(tmp_path: Path, names: tuple[str, str]) -> None:
    path = Archive(tmp_path, "mini").published_samples_path(names[1])
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress("".join(text.splitlines(keepends=True)[:-3]).encode()))
    with pytest.raises(UserError, match=rf"acc1, n=20, but {path} gives 17: they contradict"):
        audit(tmp_path, "mini")
    path.write_bytes(gzip.compress(text.splitlines(keepends=True)[0].encode()))
    with pytest.raises(UserError, match=rf"{path}: holds no image; put back"):
        audit(tmp_path, "mini")


@pytest.mark.parametrize("which", [0, 1])
def test_the_same_run_done_again_differs_by_rounding_alone(
    tmp_path: Path, names: tuple[str, str], which: int
) -> None:
    """Other threads, batches or devices, of the run itself or of the one it is compared with."""
    path = Archive(tmp_path, "mini").published_samples_path(names[which])
    lines = list(csv.DictReader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))
    draw = random.Random(0)
    for line in lines:
        errors = json.loads(line["true_errors"])
        line["true_errors"] = json.dumps([e * (1 + 1e-5 * draw.gauss(0, 1)) for e in errors])
        line["margin_mean"] = str(float(line["margin_mean"]) * (1 + 1e-5 * draw.gauss(0, 1)))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_bytes(gzip.compress(buffer.getvalue().encode()))
    audit(tmp_path, "mini")


def test_a_run_of_ones_own_is_not_compared_with_what_others_published(
    tmp_path: Path,
    names: tuple[str, str],
    make_config: Make,
    make_run: MakeRun,
    tome: dict[str, Any],
) -> None:
    """Rows and records that were published together agree, whatever the folder holds since."""
    make_run(tmp_path, make_config(operator=tome), 0.5)
    audit(tmp_path, "mini")
    collect(tmp_path)
    audit(tmp_path, "mini")
    rise = Archive(tmp_path, "mini").metrics(names[1])["eps_error_rise"]
    assert rise.value == pytest.approx(50)


def test_two_names_on_one_configuration_are_an_error(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """All files of a run were copied under another name, which was put into them."""
    false, name = "0" * 16, names[1]
    shutil.copy(
        Archive(tmp_path, "mini").published_samples_path(name),
        Archive(tmp_path, "mini").published_samples_path(false),
    )
    text = Archive(tmp_path, "mini").published_manifest_path(name).read_text()
    Archive(tmp_path, "mini").published_manifest_path(false).write_text(text.replace(name, false))
    rows = tmp_path / "mini" / "runs.csv"
    head, *lines = rows.read_text().splitlines(keepends=True)
    copies = [line.replace(name, false) for line in lines if line.startswith(name)]
    rows.write_text("".join([head, *copies, *lines]))
    for look in (audit, audit_names):
        with pytest.raises(UserError, match=rf"{false}\.json: .* of run {name}: two runs claim"):
            look(tmp_path, "mini")


def test_the_manifest_of_a_run_that_names_no_place_tells_its_name(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    found = audit_names(tmp_path, "mini")
    assert set(found) == set(names)
    assert json.loads(json.dumps(found[names[1]]))["run_id"] == names[1]


FEATURES = np.random.default_rng(0).normal(size=(40, 3))
DISTANCE = frechet_with_interval(FEATURES + 1, moments_of(FEATURES))


def generation() -> tuple[dict[str, Metric], pd.DataFrame]:
    low, high = (100 * end for end in wilson(30, 40))
    stated = {
        "frechet_mini": Metric(
            "frechet_mini", DISTANCE.value, 40, DISTANCE.ci_low, DISTANCE.ci_high, "feature^2"
        ),
        "class_agreement": Metric("class_agreement", 75.0, 40, low, high, "percent"),
        "recall": Metric("recall", 0.3, 40, 0.2, 0.4, "share"),
    }
    columns = {
        "image_id": range(40),
        "frechet_value": DISTANCE.value + DISTANCE.influences,
        "correct": [i < 30 for i in range(40)],
    }
    return stated, pd.DataFrame(columns)


def test_the_values_of_the_jackknife_give_the_distance_and_its_interval() -> None:
    stated, frame = generation()
    check_metrics("metrics", stated, Path("records"), frame)
    assert DISTANCE.ci_low > 0


@pytest.mark.parametrize(
    ("metric", "change"),
    [
        ("frechet_mini", {"value": 0.0, "ci_low": 0.0}),
        ("frechet_mini", {"ci_high": 9.0}),
        ("class_agreement", {"n": 41}),
        ("class_agreement", {"value": 74.0}),
        ("class_agreement", {"ci_low": float("nan")}),
    ],
)
def test_samples_that_do_not_give_a_metric_are_named(
    metric: str, change: Mapping[str, Any]
) -> None:
    stated, frame = generation()
    stated[metric] = replace(stated[metric], **change)
    with pytest.raises(UserError, match=rf"^metrics: {metric}.*=.*, but records gives"):
        check_metrics("metrics", stated, Path("records"), frame)


def test_times_and_flops_are_compared_too() -> None:
    frame = pd.DataFrame(
        {
            "image_id": [0, 1, 2],
            "measure": "time",
            "flops": None,
            "baseline_flops": None,
            "ms_per_step": [10.0, 11.0, 12.0],
            "baseline_ms_per_step": [12.0, 12.5, 13.0],
            "steps": 5,
            "batch_size": 4,
        }
    )
    stated = {"speedup": Metric("speedup", 2.0, 3, 1.0, 3.0, "ratio")}
    with pytest.raises(UserError, match=r"^m: speedup=2, but r gives 1\.13"):
        check_metrics("m", stated, Path("r"), frame)
