import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation

from bigain.figures.pareto import draw_pareto
from bigain.locations import CONFIGS
from bigain.metrics import Metric
from bigain.runs.pareto import Group, Point


def point(name: str, flops: float, accuracy: float) -> Point:
    metrics = {
        "flops_g": Metric("flops_g", flops, 1, flops, flops, "GFLOPs"),
        "acc1": Metric("acc1", accuracy, 400, accuracy - 3, accuracy + 3, "percent"),
    }
    return Point(name, f"{name} ratio=0.7", {"classification": name}, metrics, {})


def test_names_of_points_that_lie_together_do_not_cover_each_other() -> None:
    close = [point(f"operator{n}", 0.29 + 1e-4 * n, 86.0 + 0.05 * n) for n in range(4)]
    group = Group("mini_unet", "fashion_mnist", 0, {}, [point("none", 0.33, 86.5), *close])
    figure = draw_pareto([group], str)
    FigureCanvasAgg(figure)
    (axis,) = (each for each in figure.axes if each.get_visible())
    labels = [each for each in axis.texts if isinstance(each, Annotation)]
    assert {label.get_text() for label in labels} == {each.label for each in group.points}
    boxes = [label.get_window_extent() for label in labels]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_only_dominated_points_are_grey() -> None:
    """Of all operators, and of one that is not ours."""
    names = [path.stem for path in (CONFIGS / "operator").glob("*.yaml")] + ["own"]
    best = [point(name, 0.2 + 0.01 * n, 70.0 + n) for n, name in enumerate(sorted(names))]
    dominated = point("sito", 0.9, 60.0)
    figure = draw_pareto([Group("mini_unet", "fashion_mnist", 0, {}, [*best, dominated])], str)
    (axis,) = (each for each in figure.axes if each.get_visible())
    drawn = {
        round(float(np.asarray(bar.lines[0].get_ydata())[0]), 6): to_rgb(bar.lines[0].get_color())
        for bar in axis.containers
        if isinstance(bar, ErrorbarContainer)
    }
    grey = {value for value, colour in drawn.items() if max(colour) - min(colour) < 0.1}
    black = {each.metrics["acc1"].value for each in best if each.operator == "none"}
    assert len(drawn) == len(best) + 1
    assert grey == {60.0} | black
    assert len(set(drawn.values())) == len(drawn)
