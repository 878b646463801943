from collections.abc import Callable, Mapping
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

WriteRuns = Callable[[Mapping[tuple[str, str], float]], Path]
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
    points: list[PlannedPoint], write_runs: WriteRuns, tmp_path: Path
) -> None:
    none, tome, _ = (point.run_id for point in points)
    other = "2c507d4e499e2bdb"  # the same operator, 1,000 images
    runs = read_runs(
        write_runs(
            {(none, "acc1"): 86.5, (tome, "acc1"): 80.0, (tome, "kid"): 1.0, (other, "acc1"): 1.0}
        )
    )
    curves = {curve.operator: curve.points for curve in measured_curves(points, runs, "acc1")}
    assert set(curves) == {"none", "tome"}
    (point,) = curves["tome"]
    assert (point.sparsity, point.value, point.low, point.high) == (0.7, 80.0, 78.0, 82.0)
    assert measured_curves(points, read_runs(tmp_path / "no.csv"), "acc1") == []


def test_the_papers_curves_are_its_printed_values() -> None:
    curves = {c.operator: c.points for c in paper_curves(load_paper(), UNET, "classification")}
    assert [point.value for point in curves["tome"]] == [
        *(80.10, 79.88, 78.44, 76.42, 72.96, 69.93, 65.76),
    ]
    assert [point.value for point in curves["none"]] == [81.03], "in two tables, shown once"
    assert [point.sparsity for point in curves["todo"]][:2] == [0.75, pytest.approx(8 / 9)]
    distances = {c.operator: c.points for c in paper_curves(load_paper(), DIT, "generation")}
    assert distances["todo"][1].value == 190.18
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
