"""Finished runs are compared image by image, each with the last one."""

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.metrics import holm, image_errors, paired_accuracy, relative_rise
from bigain.runs.archive import Archive
from bigain.runs.compare import as_plain, compare_all, compare_runs, describe, read_runs
from bigain.runs.samples import read_samples
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]


def test_a_run_against_the_baseline(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    b = make_run(tmp_path, make_config())
    comparison = compare_runs(tmp_path, a.run_id, b.run_id)
    left, right = (read_samples(store.folder).set_index("image_id") for store in (a, b))
    found = {name: each.result for name, each in comparison.differences.items()}
    rise = relative_rise(image_errors(left.reset_index()), image_errors(right.reset_index()))
    accuracy = paired_accuracy(left["correct"], right["correct"])
    assert list(found) == [
        *("best_margin", "pairwise_auc", "acc1_first", "acc1", "eps_error_rise"),
        *("eps_rise_equal", "eps_rise_low", "eps_rise_mid", "eps_rise_high"),
    ], "images have one label"
    assert (found["acc1"], found["eps_error_rise"]) == (accuracy, rise)
    assert accuracy.mean < 0
    assert rise.mean == pytest.approx(0.25)
    assert (comparison.run, comparison.reference, comparison.n) == (a.run_id, b.run_id, 20)
    other = compare_runs(tmp_path, b.run_id, a.run_id).differences
    assert other["acc1"].result.mean == -accuracy.mean
    assert other["eps_error_rise"].result.mean == pytest.approx(1 / 1.25 - 1)


def test_a_run_without_a_readable_image_is_no_race(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    stores = [make_run(tmp_path, make_config(operator=tome)), make_run(tmp_path, make_config())]
    first, reference = read_runs(tmp_path, [store.run_id for store in stores])
    failed = replace(first, samples=first.samples.assign(true_errors=None))
    (comparison,) = compare_all([failed, reference])
    why = comparison.absent["eps_error_rise"]
    assert why.startswith(f"run {first.run_id} has no image ")


def test_runs_of_other_limits_meet_on_their_common_images(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome, dataset__limit=8), rise=0.25)
    b = make_run(tmp_path, make_config(dataset__limit=15))
    assert compare_runs(tmp_path, a.run_id, b.run_id).n == 8


def test_generations_are_compared_image_by_image(
    tmp_path: Path,
    make_config: Make,
    tome: dict[str, Any],
    make_generation: MakeRun,
    generation: dict[str, Any],
) -> None:
    a = make_generation(tmp_path, make_config(operator=tome, task=generation), 2.0)
    b = make_generation(tmp_path, make_config(task=generation), 0.0)
    comparison = compare_runs(tmp_path, a.run_id, b.run_id)
    assert comparison.n == 20
    distance = comparison.differences["frechet_mini"].result
    assert distance.mean == pytest.approx(2.0)
    assert distance.ci_high - distance.ci_low < 1e-9, "paired"
    lines = describe([comparison]).splitlines()
    assert lines[0] == f"{a.run_id} against {b.run_id}, paired over 20 images"
    assert lines[1].startswith("frechet_mini    +2 [")


def test_the_description_names_numbers_intervals_and_tests(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    a = make_run(tmp_path, make_config(operator=tome), rise=0.25)
    b = make_run(tmp_path, make_config())
    comparison = compare_runs(tmp_path, a.run_id, b.run_id)
    first, margin, _, _, second, third, *_, last = describe([comparison]).splitlines()
    assert first == f"{a.run_id} against {b.run_id}, paired over 20 images"
    points = f"{100 * comparison.differences['acc1'].result.mean:+.2f}"
    assert re.fullmatch(rf"acc1 +{re.escape(points)} \[.+, .+\] points, McNemar p = .+", second)
    assert re.fullmatch(r"eps_error_rise +\+25\.00 \[\+25\.00, \+25\.00\] %, z = .+", third)
    assert re.fullmatch(r"best_margin +[+-].+ \[.+, .+\] sigma_t, z = .+", margin)
    assert last == f"sigma_t and equal weights are of run {b.run_id}"


def test_published_runs_are_compared_as_in_their_folders(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    names = [make_run(tmp_path, make_config(operator=tome), rise=0.25).run_id]
    names.append(make_run(tmp_path, make_config()).run_id)
    before = compare_runs(tmp_path, *names)
    Archive(tmp_path, "mini").publish(names)
    shutil.rmtree(tmp_path / "runs")
    assert compare_runs(tmp_path, *names) == before


def several(results: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]) -> list[str]:
    rises = {0.3: 0.4, 0.5: 0.1, 0.7: 0.2}
    runs = [
        make_run(results, make_config(operator={**tome, "ratio": ratio}), rise=rise)
        for ratio, rise in rises.items()
    ]
    return [store.run_id for store in (*runs, make_run(results, make_config()))]


def test_each_of_several_runs_is_compared_with_the_last(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    names = several(tmp_path, make_config, make_run, tome)
    found = compare_all(read_runs(tmp_path, names))
    alone = [compare_runs(tmp_path, name, names[-1]) for name in names[:-1]]
    assert [(each.run, each.reference) for each in found] == [(n, names[-1]) for n in names[:-1]]
    for metric in ("acc1", "eps_error_rise"):
        own = [each.differences[metric] for each in alone]
        together = [each.differences[metric] for each in found]
        assert [each.result for each in together] == [each.result for each in own]
        assert [each.adjusted for each in together] == holm([each.result.p for each in own])
        assert [each.adjusted for each in own] == [each.result.p for each in own], "alone"
    p = [each.differences["acc1"] for each in found]
    assert min(each.adjusted / each.result.p for each in p) >= 1
    assert max(each.adjusted / each.result.p for each in p) > 2, "the smallest of three"
    blocks = describe(found).split("\n\n")
    assert len(blocks) == 3
    assert all(block.count("of 3 runs") == 9 for block in blocks)


def test_a_metric_that_some_runs_lack_is_a_family_of_the_others(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    runs = read_runs(tmp_path, several(tmp_path, make_config, make_run, tome))
    for at, value in ((1, 0.5), (3, 0.75)):
        own = runs[at].samples.assign(average_precision=value)
        runs[at] = replace(runs[at], samples=own)
    found = compare_all(runs)
    assert ["map_image" in each.differences for each in found] == [False, True, False]
    assert [each.differences["acc1"].family for each in found] == [3, 3, 3]
    precision = found[1].differences["map_image"]
    assert precision.result.mean == pytest.approx(-0.25)
    assert precision.family == 1
    assert precision.adjusted == precision.result.p


def test_plain_records_have_the_numbers_of_the_text(
    tmp_path: Path, make_config: Make, make_run: MakeRun, tome: dict[str, Any]
) -> None:
    names = several(tmp_path, make_config, make_run, tome)
    found = compare_all(read_runs(tmp_path, names))
    records = as_plain(found)
    assert len(records) == 27
    first, rise = records[3:5]
    assert [record["scaled_by"] == names[-1] for record in records[:9]] == [
        each["metric"] == "best_margin" or "eps_rise" in each["metric"] for each in records[:9]
    ]
    accuracy = found[0].differences["acc1"]
    assert (first["run"], first["reference"], first["metric"]) == (names[0], names[-1], "acc1")
    assert first["value"] == 100 * accuracy.result.mean
    assert (first["p"], first["p_holm"]) == (accuracy.result.p, accuracy.adjusted)
    assert (first["n"], first["family"], first["unit"]) == (20, 3, "points")
    assert rise["value"] == pytest.approx(40)
    line = describe(found[:1]).splitlines()[4]
    assert f"{first['value']:+.2f} [{first['ci_low']:+.2f}, {first['ci_high']:+.2f}]" in line


def test_numbers_that_do_not_exist_are_none(
    tmp_path: Path, make_config: Make, make_generation: MakeRun, generation: dict[str, Any]
) -> None:
    a = make_generation(tmp_path, make_config(task=generation))
    b = make_generation(tmp_path, make_config(task={**generation, "reference": "split"}, threads=9))
    assert a.run_id == b.run_id, "threads are no part of the id"
    shifted = make_generation(tmp_path, make_config(task=generation, dataset__limit=30), 1.0)
    (record,) = as_plain([compare_runs(tmp_path, shifted.run_id, a.run_id)])
    assert record["value"] == 1.0
    assert record["z"] is None, "infinite: all images differ by the same"
    assert math.isfinite(record["p"])


def test_a_run_is_not_compared_with_itself(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    name = make_run(tmp_path, make_config()).run_id
    with pytest.raises(UserError, match=f"^run_id={name}: named twice"):
        read_runs(tmp_path, [name, name])
