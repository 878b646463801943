import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bigain.config.paper import PaperKey, PaperValue, load_paper
from bigain.errors import UserError
from bigain.figures.curves import (
    PAIRS,
    PlannedPoint,
    Variant,
    measured_curves,
    missing_commands,
    paper_curves,
    plan_points,
    read_runs,
    sweeps,
    table_points,
)
from bigain.figures.request import FigureRequest
from bigain.runs.archive import Archive

WriteRuns = Callable[[Mapping[tuple[str, str], float]], Path]
WriteRecords = Callable[[str, Sequence[float]], Path]
UNET, DIT = PAIRS["mini"]
TOME, LGTM = Variant("tome", "ratio", 0.7), Variant("lgtm", "ratio", 0.7)


@pytest.fixture
def points(call: FigureRequest) -> list[PlannedPoint]:
    return plan_points(call, UNET, "classification", [Variant("none"), TOME, LGTM])


@pytest.mark.parametrize(
    ("variant", "sparsity", "name"),
    [
        (Variant("none"), 0.0, ""),
        (Variant("tome", "ratio", 0.3), 0.3, "ratio=0.3"),
        (Variant("todo", "factor", 2), 0.75, "factor=2"),
        (Variant("ie_kvd", "factor", 3), 8 / 9, "factor=3"),
        (Variant("avg_pool", "factor", 8), 63 / 64, "factor=8"),
    ],
)
def test_sparsity_is_the_share_that_goes(variant: Variant, sparsity: float, name: str) -> None:
    assert variant.sparsity == pytest.approx(sparsity)
    assert variant.name == name
    assert variant.overrides[0] == f"operator={variant.operator}"


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_the_tables_plan_the_points(call: FigureRequest, task: str) -> None:
    unet, dit = (table_points(call, pair, task) for pair in (UNET, DIT))
    assert len(unet) == 1 + 2 * 7 + 3 * 7
    assert len(dit) == 1 + 2 * 7 + 3 * 4
    small = table_points(call, UNET, task, "default")
    assert {point.variant.name for point in small} == {
        *("", "ratio=0.3", "ratio=0.5", "ratio=0.7", "factor=2", "factor=3", "factor=4")
    }
    own = plan_points(call, UNET, task, [point.variant for point in small])
    assert [point.run_id for point in small] == [point.run_id for point in own]
    assert [point.variant for point in small][:2] == [
        Variant("none"),
        Variant("tome", "ratio", 0.3),
    ]


def test_the_paper_profile_has_no_points_that_the_paper_does_not_print(
    call: FigureRequest,
) -> None:
    request, imagenet100 = replace(call, profile="paper"), PAIRS["paper"][1]
    names = {
        task: {point.variant.name for point in table_points(request, imagenet100, task)}
        for task in ("classification", "generation")
    }
    assert "factor=8" in names["classification"]
    assert not any("factor" in name for name in names["generation"])


def test_points_are_the_profiles_own_runs(call: FigureRequest, points: list[PlannedPoint]) -> None:
    """The ids of results/mini/runs.csv of 400 images, seed 0; 1,000 images have another id."""
    assert [point.run_id for point in points] == [
        *("955529b7d29b001c", "db8ff76f3eadc01e", "bdf1db7e1168ae58"),
    ]
    (one,) = plan_points(call, UNET, "generation", [Variant("none")])
    assert (one.run_id, one.config.dataset.num_images) == ("1d196229f466f46c", 1000)
    (other,) = plan_points(
        replace(call, extra=("dataset.limit=1000",)), UNET, "classification", [TOME]
    )
    assert other.run_id == "2c507d4e499e2bdb"


def test_curves_hold_the_planned_runs_and_no_others(
    call: FigureRequest,
    points: list[PlannedPoint],
    write_runs: WriteRuns,
    write_records: WriteRecords,
) -> None:
    archive = Archive(call.results, "mini")
    none, tome, lgtm = (point.run_id for point in points)
    other = "2c507d4e499e2bdb"  # the same operator, 1,000 images
    rows = {(name, "acc1"): 1.0 for name in (tome, other)}
    write_runs(rows)
    for name in (tome, other):
        write_records(name, [True, False, False, True])
    assert measured_curves(points, archive) == [], "nothing without the baseline"
    write_records(none, [True, True, True, True])
    write_runs(rows | {(none, "acc1"): 1.0, (lgtm, "acc1"): 1.0})
    (curve,) = measured_curves(points, archive)
    (point,) = curve.points
    assert (curve.operator, point.sparsity, point.value) == ("tome", 0.7, -50.0)
    assert point.low < -50.0 < point.high


def test_a_planned_run_that_is_missing_is_a_gap(
    call: FigureRequest, write_runs: WriteRuns, write_records: WriteRecords
) -> None:
    variants = [Variant("none"), *(Variant("todo", "factor", each) for each in (2, 3, 4))]
    none, two, three, four = plan_points(call, UNET, "classification", variants)
    done = (none, two, four)
    write_runs({(each.run_id, "acc1"): 1.0 for each in done})
    for each in done:
        write_records(each.run_id, [True, False])
    planned, archive = [none, two, three, four], Archive(call.results, "mini")
    (curve,) = measured_curves(planned, archive, {each.run_id for each in planned})
    assert [math.isnan(point.value) for point in curve.points] == [False, True, False]
    (curve,) = measured_curves(planned, archive, {each.run_id for each in done})
    assert [point.sparsity for point in curve.points] == [0.75, 1 - 1 / 16]


def test_distances_are_paired_over_samples(
    call: FigureRequest, write_runs: WriteRuns, write_records: WriteRecords
) -> None:
    none, tome = plan_points(call, UNET, "generation", [Variant("none"), TOME])
    write_runs({(each.run_id, "frechet_mini"): 1.0 for each in (none, tome)})
    write_records(none.run_id, [0.0, 9.0, 1.0])
    write_records(tome.run_id, [1.0, 11.0, 4.0])
    (curve,) = measured_curves([none, tome], Archive(call.results, "mini"))
    (point,) = curve.points
    half = 4.302653 / 3**0.5  # t quantile of 2 degrees times the standard error of 1, 2, 3
    assert (point.value, point.low, point.high) == pytest.approx((2.0, 2 - half, 2 + half))


def test_the_papers_curves_are_its_printed_values_minus_the_baselines() -> None:
    curves = {c.operator: c.points for c in paper_curves(load_paper(), UNET, "classification")}
    assert [point.value + 81.03 for point in curves["tome"]] == pytest.approx(
        [80.10, 79.88, 78.44, 76.42, 72.96, 69.93, 65.76]
    )
    assert set(curves) == {"tome", "lgtm", "todo", "avg_pool", "ie_kvd"}
    assert [point.sparsity for point in curves["todo"]][:2] == [0.75, pytest.approx(8 / 9)]
    distances = {c.operator: c.points for c in paper_curves(load_paper(), DIT, "generation")}
    assert distances["todo"][1].value == pytest.approx(190.18 - 47.53)
    key = PaperKey(4, "sd20", "pets", "tome", "ratio=0.7", "acc1")
    lost = {key: PaperValue("", "lost", "", "classification")}
    assert paper_curves(lost, UNET, "classification") == []


def test_commands_make_what_is_missing_and_nothing_else(
    call: FigureRequest, points: list[PlannedPoint], write_runs: WriteRuns
) -> None:
    none, tome, lgtm = (point.run_id for point in points)
    start = "backbone=mini_unet dataset=fashion_mnist task=classification"
    assert missing_commands(call, UNET, points, {}) == [
        f"python -m bigain {start} operator=none",
        f"python -m bigain -m {start} operator=tome,lgtm operator.ratio=0.7",
    ]
    runs = read_runs(write_runs({(none, "acc1"): 1.0, (tome, "acc1"): 1.0, (lgtm, "kid"): 1.0}))
    assert missing_commands(call, UNET, points, runs) == [
        f"python -m bigain {start} operator=lgtm operator.ratio=0.7"
    ]
    assert sweeps(call, UNET, []) == []


# Requests.


def test_the_default_profile_is_not_named_and_other_settings_are(
    call: FigureRequest,
) -> None:
    other = replace(call, profile="paper", extra=("seed=1",))
    assert call.command("operator=none") == "python -m bigain operator=none"
    assert other.command("operator=tome,lgtm", sweep=True) == (
        "python -m bigain -m profile=paper operator=tome,lgtm seed=1"
    )


def test_all_backbones_or_the_requested_one(call: FigureRequest) -> None:
    names = ["sd20", "sd20", "dit_xl2_512"]
    assert call.chosen(names) == ["sd20", "dit_xl2_512"]
    assert replace(call, backbone="sd20").chosen(names) == ["sd20"]
    with pytest.raises(UserError, match=r"^--backbone=sd2: allowed: sd20, dit_xl2_512; did you"):
        replace(call, backbone="sd2").chosen(names)
