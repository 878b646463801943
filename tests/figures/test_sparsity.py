import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from bigain.config.paper import load_paper
from bigain.figures import sparsity
from bigain.figures.curves import (
    PAIRS,
    Curve,
    Point,
    Variant,
    missing_commands,
    plan_points,
)
from bigain.figures.request import FigureRequest
from bigain.figures.sparsity import Chart, charts_of, draw_charts, place_of, produce
from bigain.figures.style import OPERATORS
from bigain.runs.archive import Archive

WriteRuns = Callable[[Mapping[tuple[str, str], float]], Path]
WriteRecords = Callable[[str, Sequence[float]], Path]
UNET = PAIRS["mini"][0]
NONE, TOME = Variant("none"), Variant("tome", "ratio", 0.7)
SOME = Curve("tome", (Point(0.3, -1.0, -3.0, 1.0), Point(0.7, -20.0, -22.0, -18.0)))


def chart(*curves: Curve, metric: str = "acc1", commands: tuple[str, ...] = ()) -> Chart:
    return Chart("title", metric, curves, is_paper=False, commands=commands)


def test_the_axis_is_stretched_where_downsampling_begins() -> None:
    assert [place_of(each) for each in (0.0, 0.7)] == [0.0, 70.0]
    assert place_of(0.75) == pytest.approx(72.5 + 2.7 * 2.5)
    assert place_of(1.0) > 140


def test_measured_and_printed_values_stand_in_panels_of_their_own(
    call: FigureRequest, write_runs: WriteRuns, write_records: WriteRecords
) -> None:
    points = plan_points(call, UNET, "classification", [NONE, TOME])
    write_runs({(point.run_id, "acc1"): 80.0 for point in points})
    write_records(points[0].run_id, [True, True])
    write_records(points[1].run_id, [True, False])
    archive = Archive(call.results, "mini")
    measured, printed = charts_of(UNET, points, archive, load_paper(), ["a command"])
    assert measured.title == "mini U-Net, Fashion-MNIST\nmeasured, n = 400 images"
    assert [(c.operator, c.points[0].value) for c in measured.curves] == [("tome", -50.0)]
    assert measured.commands == ()
    assert printed.title == "SD-2.0, Pets\nas the paper prints"
    assert printed.is_paper
    assert {curve.operator for curve in printed.curves} == set(OPERATORS) - {"none"}


def test_without_a_run_of_an_operator_the_panel_says_how_to_make_one(
    call: FigureRequest,
) -> None:
    points = plan_points(call, UNET, "generation", [NONE, TOME])
    missing = missing_commands(call, UNET, points, {(points[0].run_id, "frechet_mini")})
    archive = Archive(call.results, "mini")
    measured, _ = charts_of(UNET, points, archive, load_paper(), missing)
    (command,) = measured.commands
    assert command.endswith("task=generation operator=tome operator.ratio=0.7")
    (axis,) = draw_charts([[measured]]).axes
    (text,) = axis.texts
    assert text.get_text().startswith("no run yet\n\npython -m bigain ")
    assert text.get_text().split()[3:] == command.split()


def test_differences_intervals_and_the_baseline_at_0_are_drawn() -> None:
    (axis,) = draw_charts([[chart(SOME)]]).axes
    curve = next(line for line in axis.lines if line.get_marker() == "o")
    assert curve.get_color() == OPERATORS["tome"].colour
    assert np.array_equal(curve.get_ydata(), [-1.0, -20.0])
    bars = [segment[:, 1].tolist() for segment in axis.collections[0].get_segments()]  # type: ignore[attr-defined]
    assert bars == [[-3.0, 1.0], [-22.0, -18.0]]
    levels = [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert levels == [0.0]
    assert axis.get_ylabel() == "Acc@1, points,\nminus no acceleration"
    (axis,) = draw_charts([[chart(Curve("lgtm", (Point(0.3, 70.0),)))]]).axes
    assert not axis.collections, "printed values have no intervals"


def test_a_curve_is_broken_where_a_run_is_missing() -> None:
    points = (Point(0.75, -1.0, -2.0, 0.0), Point(8 / 9, math.nan), Point(0.96, -9.0, -12.0, -6.0))
    (axis,) = draw_charts([[chart(Curve("avg_pool", points), metric="frechet_mini")]]).axes
    line = next(line for line in axis.lines if line.get_marker() == "v")
    assert np.isnan(np.asarray(line.get_ydata(), dtype=float)).tolist() == [False, True, False]
    assert len(axis.collections[0].get_segments()) >= 2  # type: ignore[attr-defined]


def test_no_label_leaves_the_figure() -> None:
    figure = draw_charts([[chart(SOME)] * 4] * 2)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    for axis in figure.axes:
        for text in (axis.xaxis.label, axis.yaxis.label):
            box = text.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= width
            assert 0 <= box.y0 < box.y1 <= height


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [
        ("fid", (-7.0, -14.0, 160.0), "symlog"),
        ("fid", (-7.0, -14.0, 40.0), "linear"),
        ("acc1", (-3.0, -4.0, -80.0), "linear"),
        ("frechet_mini", (-0.1, 0.3, 2.0), "linear"),
    ],
)
def test_only_wide_ranges_of_distances_are_logarithmic(
    metric: str, values: tuple[float, ...], scale: str
) -> None:
    points = (Point(0.75 + at / 20, value) for at, value in enumerate(values))
    curve = Curve("todo", tuple(points))
    (axis,) = draw_charts([[chart(curve, metric=metric)]]).axes
    assert axis.get_yscale() == scale
    assert axis.get_ylabel().endswith("log scale") == (scale == "symlog")


@pytest.mark.usefixtures("only_svg")
def test_the_figure_is_a_function_of_its_two_tables(
    call: FigureRequest,
    write_runs: WriteRuns,
    write_records: WriteRecords,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        sparsity,
        "table_points",
        lambda request, pair, task, *_: plan_points(request, pair, task, [NONE, TOME]),
    )
    points = plan_points(call, UNET, "classification", [NONE, TOME])
    write_runs({(point.run_id, "acc1"): 80.0 for point in points})
    for point in points:
        write_records(point.run_id, [True, False])
    lines = list(produce(call))
    first = [path.read_bytes() for path in sorted(call.folder.iterdir())]
    assert lines == list(produce(call))
    assert first == [path.read_bytes() for path in sorted(call.folder.iterdir())]
    assert "figure 2: mini U-Net, Fashion-MNIST, classification: 2 of 2 points have a run" in lines
    assert "figure 2: mini DiT, Fashion-MNIST, generation: 0 of 2 points have a run" in lines
    assert lines[0] == str(call.folder / "figure2.svg")
