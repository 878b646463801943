"""One point per image, where both runs have a score."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from PIL import Image

from bigain.figures.paired_scores import draw_scores, png_of
from bigain.runs.archive import Archive
from bigain.runs.pairing import FinishedRun


def run_of(columns: Mapping[str, Any], task: str = "classification") -> FinishedRun:
    return FinishedRun(
        "x", {"config": {"task": {"name": task}}}, pd.DataFrame(columns), Archive(Path(), "mini")
    )


def classified(n: int, seed: int) -> FinishedRun:
    draw = np.random.default_rng(seed)
    return run_of(
        {
            "image_id": np.arange(n),
            "correct": draw.random(n) > 0.3,
            "true_errors": [[float(value)] for value in draw.random(n)],
            "margin_mean": draw.random(n),
        }
    )


def points(axis: Any) -> dict[str, list[tuple[float, float]]]:
    drawn = [each for each in axis.collections if isinstance(each, PathCollection)]
    return {
        str(each.get_label()): sorted(map(tuple, np.asarray(each.get_offsets()).tolist()))
        for each in drawn
    }


def test_points_are_the_scores_of_the_images_of_both() -> None:
    a, b = classified(50, 0), classified(40, 1)
    figure = draw_scores(a, b, ("A", "B"))
    errors, margins = figure.axes
    assert (errors.get_xlabel(), errors.get_ylabel()) == ("B", "A")
    right = pd.DataFrame({"a": a.samples["correct"][:40], "b": b.samples["correct"]})
    chosen = right.index[right["a"] & ~right["b"].astype(bool)]
    expected = sorted(
        zip(b.samples["margin_mean"][chosen], a.samples["margin_mean"][chosen], strict=True)
    )
    found = points(margins)
    assert found[f"only A right ({len(chosen)})"] == expected
    assert sum(map(len, found.values())) == 40
    assert [sum(map(len, points(axis).values())) for axis in (errors, margins)] == [40, 40]


def test_images_without_a_score_are_left_out() -> None:
    a, b = classified(10, 0), classified(10, 1)
    a.samples.at[3, "true_errors"] = None
    a.samples.loc[3, "margin_mean"] = np.nan
    counts = [sum(map(len, points(axis).values())) for axis in draw_scores(a, b, ("A", "B")).axes]
    assert counts == [9, 9]


def test_generations_have_one_panel_also_without_a_classifier() -> None:
    columns = {"image_id": [0, 1], "frechet_value": [1.0, 2.0]}
    runs = [run_of({**columns, **more}, "generation") for more in ({}, {"frechet_value": [3, 4]})]
    (axis,) = draw_scores(cast(Any, runs[0]), runs[1], ("A", "B")).axes
    ((drawn),) = points(axis).values()
    assert drawn == [(3.0, 1.0), (4.0, 2.0)]


@pytest.mark.parametrize("n", [1, 10_000])
def test_the_picture_is_small_for_any_number_of_images(n: int) -> None:
    a, b = classified(n, 0), classified(n, 1)
    png = png_of(draw_scores(a, b, ("A", "B")))
    assert len(png) < 600_000
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (1152, 648)
    assert png == png_of(draw_scores(a, b, ("A", "B")))
