"""Metrics, records and manifests of what is published have to agree."""

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
from bigain.runs.check import check_metrics, check_published
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
    """The baseline and ToMe, published, without their folders."""
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
    archive = Archive(COMMITTED, "mini")
    names = archive.run_ids()
    assert check_published(COMMITTED)["mini"] == len(names) > 90
    described = set()
    for name in names:
        columns, manifest = archive.rows(name)[0].columns, archive.manifest(name)
        assert manifest is not None
        config = manifest["config"]
        task = config["task"]
        size = config["dataset"].get("limit"), str(task.get("trial_list")), task.get("measure")
        described.add((*(cell for key, cell in columns.items() if key != "run_id"), *size))
    assert len(described) == len(names), (
        "columns, trials, images and what is measured tell runs apart"
    )


def test_what_was_published_agrees(tmp_path: Path, names: tuple[str, str]) -> None:
    assert check_published(tmp_path) == {"mini": len(names)}


def test_without_runs_nothing_disagrees(tmp_path: Path) -> None:
    assert check_published(tmp_path) == {}


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
        check_published(tmp_path)


def test_the_rise_is_not_compared_without_the_records_of_the_baseline(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    def change(line: dict[str, str]) -> None:
        for part in ("value", "ci_low", "ci_high") if line["metric"] == "eps_error_rise" else ():
            line[part] = str(float(line[part]) * 1.02)

    edit(tmp_path, change)
    archive = Archive(tmp_path, "mini")
    archive.published_samples_path(names[0]).unlink()
    archive.published_manifest_path(names[0]).unlink()
    archive.published_errors_path(names[0]).unlink()
    check_published(tmp_path)


def test_records_that_lost_images_are_named(tmp_path: Path, names: tuple[str, str]) -> None:
    path = Archive(tmp_path, "mini").published_samples_path(names[1])
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress("".join(text.splitlines(keepends=True)[:-3]).encode()))
    with pytest.raises(UserError, match=rf"n_images=20, but {path} has 17; restore"):
        check_published(tmp_path)
    path.write_bytes(gzip.compress(text.splitlines(keepends=True)[0].encode()))
    with pytest.raises(UserError, match=rf"but {path} has 0; restore"):
        check_published(tmp_path)


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
    check_published(tmp_path)


def test_a_run_of_ones_own_is_not_compared_with_what_others_published(
    tmp_path: Path,
    names: tuple[str, str],
    make_config: Make,
    make_run: MakeRun,
    tome: dict[str, Any],
) -> None:
    """Rows and records that were published together agree, whatever the folder holds since."""
    make_run(tmp_path, make_config(operator=tome), 0.5)
    check_published(tmp_path)
    collect(tmp_path)
    check_published(tmp_path)
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
    for look in (lambda: check_published(tmp_path), Archive(tmp_path, "mini").check_names):
        with pytest.raises(UserError, match=rf"{false}\.json: .* of run {name}: two runs claim"):
            look()


def test_what_is_published_in_part_is_named(tmp_path: Path, names: tuple[str, str]) -> None:
    archive, name = Archive(tmp_path, "mini"), names[1]
    paths = (archive.published_samples_path(name), archive.published_manifest_path(name))
    for path, kind in zip(paths, ("records", "manifest"), strict=True):
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(UserError, match=rf"run {name} is published without {kind}; restore"):
            check_published(tmp_path)
        path.write_bytes(content)
    rows = archive.runs_csv.read_text().splitlines(keepends=True)
    archive.runs_csv.write_text("".join(row for row in rows if not row.startswith(name)))
    with pytest.raises(UserError, match=rf"run {name} is published without rows in runs\.csv"):
        check_published(tmp_path)


def test_rows_that_were_only_collected_have_nothing_to_compare(
    tmp_path: Path, names: tuple[str, str], make_config: Make, make_run: MakeRun
) -> None:
    make_run(tmp_path, make_config(seed=3))
    collect(tmp_path)
    assert len(Archive(tmp_path, "mini").run_ids()) == 3
    assert check_published(tmp_path) == {"mini": len(names)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["columns"].update(ratio=0.5), r"ratio=0\.7, but .*\.json has 0\.5"),
        (lambda m: m.update(n_images=19), r"\.json: n_images=19, but .*\.csv\.gz has 20"),
        (lambda m: m["config"]["operator"].update(ratio=0.5), r"has the configuration of run"),
    ],
)
def test_a_manifest_that_says_something_else_is_named(
    tmp_path: Path,
    names: tuple[str, str],
    change: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    path = Archive(tmp_path, "mini").published_manifest_path(names[1])
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=message):
        check_published(tmp_path)


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
