from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from bigain.config.paper import load_paper
from bigain.figures import sparsity
from bigain.figures.curves import PAIRS, Curve, Point, Variant, plan_points, read_runs
from bigain.figures.request import FigureRequest
from bigain.figures.sparsity import Chart, charts_of, draw_charts, place_of, produce
from bigain.figures.style import OPERATORS

WriteRuns = Callable[[Mapping[tuple[str, str], float]], Path]
UNET = PAIRS["mini"][0]
NONE, TOME = Variant("none"), Variant("tome", "ratio", 0.7)
SOME = Curve("tome", (Point(0.3, 80.0, 78.0, 82.0), Point(0.7, 60.0, 58.0, 62.0)))
BASELINE = Curve("none", (Point(0.0, 85.0, 83.0, 87.0),))


def chart(*curves: Curve, metric: str = "acc1", commands: tuple[str, ...] = ()) -> Chart:
    return Chart("title", metric, curves, is_paper=False, commands=commands)


def test_the_axis_is_stretched_where_downsampling_begins() -> None:
    assert [place_of(each) for each in (0.0, 0.7)] == [0.0, 70.0]
    assert place_of(0.75) == pytest.approx(72.5 + 2.7 * 2.5)
    assert place_of(1.0) > 140


def test_measured_and_printed_values_stand_in_panels_of_their_own(
    call: FigureRequest, write_runs: WriteRuns
) -> None:
    points = plan_points(call, UNET, "classification", [NONE, TOME])
    runs = read_runs(write_runs({(points[1].run_id, "acc1"): 80.0}))
    measured, printed = charts_of(call, UNET, points, points, runs, load_paper())
    assert measured.title == "mini U-Net, Fashion-MNIST\nmeasured, n = 400 images"
    assert [(c.operator, c.points[0].value) for c in measured.curves] == [("tome", 80.0)]
    assert measured.commands == ()
    assert printed.title == "SD-2.0, Pets\nas the paper prints"
    assert printed.is_paper
    assert {curve.operator for curve in printed.curves} == set(OPERATORS)


def test_without_a_run_of_an_operator_the_panel_says_how_to_make_one(
    call: FigureRequest, write_runs: WriteRuns
) -> None:
    points = plan_points(call, UNET, "generation", [NONE, TOME])
    runs = read_runs(write_runs({(points[0].run_id, "frechet_mini"): 0.3}))
    measured, _ = charts_of(call, UNET, points, points, runs, load_paper())
    (command,) = measured.commands
    assert command.endswith("task=generation operator=tome operator.ratio=0.7")
    (axis,) = draw_charts([[measured]]).axes
    (text,) = axis.texts
    assert text.get_text().startswith("no run yet\n\npython -m bigain ")
    assert text.get_text().split()[3:] == command.split()


def test_values_intervals_and_baseline_are_drawn_in_the_operators_colour() -> None:
    (axis,) = draw_charts([[chart(BASELINE, SOME)]]).axes
    curve = next(line for line in axis.lines if line.get_marker() == "o")
    assert curve.get_color() == OPERATORS["tome"].colour
    assert np.array_equal(curve.get_ydata(), [80.0, 60.0])
    bars = [segment[:, 1].tolist() for segment in axis.collections[0].get_segments()]  # type: ignore[attr-defined]
    assert bars == [[78.0, 82.0], [58.0, 62.0]]
    levels = [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == "--"]  # type: ignore[index]
    assert levels == [85.0]
    (axis,) = draw_charts([[chart(Curve("lgtm", (Point(0.3, 70.0),)))]]).axes
    assert not axis.collections, "printed values have no intervals"


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [
        ("fid", (30.0, 215.0), "log"),
        ("fid", (30.0, 40.0), "linear"),
        ("acc1", (3.0, 80.0), "linear"),
        ("frechet_mini", (-0.1, 3.0), "linear"),
    ],
)
def test_only_wide_ranges_of_distances_are_logarithmic(
    metric: str, values: tuple[float, float], scale: str
) -> None:
    curve = Curve("todo", (Point(0.75, values[0]), Point(0.89, values[1])))
    (axis,) = draw_charts([[chart(curve, metric=metric)]]).axes
    assert axis.get_yscale() == scale
    assert axis.get_ylabel().endswith("log scale") == (scale == "log")


@pytest.mark.usefixtures("only_svg")
def test_the_figure_is_a_function_of_its_two_tables(
    call: FigureRequest, write_runs: WriteRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sparsity,
        "table_points",
        lambda request, pair, task, *_: plan_points(request, pair, task, [NONE, TOME]),
    )
    points = plan_points(call, UNET, "classification", [NONE, TOME])
    write_runs({(point.run_id, "acc1"): 80.0 for point in points})
    lines = list(produce(call))
    first = [path.read_bytes() for path in sorted(call.folder.iterdir())]
    assert lines == list(produce(call))
    assert first == [path.read_bytes() for path in sorted(call.folder.iterdir())]
    assert "figure 2: mini U-Net, Fashion-MNIST, classification: 2 of 2 points have a run" in lines
    assert "figure 2: mini DiT, Fashion-MNIST, generation: 0 of 2 points have a run" in lines
    assert lines[0] == str(call.folder / "figure2.svg")
