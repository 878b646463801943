import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigain.errors import UserError
from bigain.figures.curves import PAIRS, PlannedPoint, plan_points
from bigain.figures.qualitative import (
    MERGING,
    ImageRow,
    draw_rows,
    first_of_each,
    produce_downsampling,
    produce_merging,
)
from bigain.figures.request import FigureRequest

UNET = PAIRS["mini"][0]
CONDITIONS = ("shirt", "bag", "shirt", "coat")


def write_run(results: Path, run_id: str, shade: int, conditions: tuple[str, ...]) -> None:
    """A finished generation run whose images are of one grey."""
    folder = results / "runs" / run_id
    (folder / "images").mkdir(parents=True)
    manifest: dict[str, Any] = {"run_id": run_id, "status": "done", "columns": {}, "config": {}}
    manifest |= {
        "baseline_id": run_id,
        "family_id": run_id,
        "n_images": len(conditions),
        "wall_seconds": 0,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with (folder / "samples.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, ["position", "image_id", "condition"])
        writer.writeheader()
        for number, condition in enumerate(conditions):
            writer.writerow({"position": number, "image_id": number, "condition": condition})
            image = Image.fromarray(np.full((28, 28), shade + number, dtype=np.uint8))
            image.save(folder / "images" / f"{number:06d}.png")


@pytest.fixture
def one(call: FigureRequest) -> FigureRequest:
    return replace(call, backbone="mini_unet")


@pytest.fixture
def points(one: FigureRequest) -> list[PlannedPoint]:
    return plan_points(one, UNET, "generation", MERGING)


def test_one_sample_of_each_condition_in_the_order_of_the_run() -> None:
    assert first_of_each(["b", "a", "b", "c"], 10) == [0, 1, 3]
    assert first_of_each(["b", "a", "b", "c"], 2) == [0, 1]


def test_a_row_per_operator_and_a_column_per_sample() -> None:
    images = tuple(np.full((4, 4), shade, dtype=np.uint8) for shade in (0, 100))
    axes = draw_rows([ImageRow(variant, images) for variant in MERGING], ["coat", "bag"]).axes
    assert len(axes) == 6
    assert [axis.get_title() for axis in axes] == ["coat", "bag", "", "", "", ""]
    names = [axis.get_ylabel() for axis in axes[::2]]
    assert names == ["no acceleration", "ToMe\n70 % merged", "L-GTM\n(BiGain)\n70 % merged"]
    assert {axis.images[0].get_array().max() for axis in axes[1::2]} == {100}  # type: ignore[union-attr]


def test_the_same_samples_of_every_run(one: FigureRequest, points: list[PlannedPoint]) -> None:
    for shade, point in enumerate(points):
        write_run(one.results, point.run_id, 50 * shade, CONDITIONS)
    written = list(produce_merging(one))
    assert written == [
        str(one.folder / f"figure3_mini_unet.{kind}") for kind in ("svg", "pdf", "png")
    ]
    first = [path.read_bytes() for path in sorted(one.folder.iterdir())]
    list(produce_merging(one))
    assert first == [path.read_bytes() for path in sorted(one.folder.iterdir())]


def test_where_runs_are_missing_the_figure_stays_and_the_command_is_named(
    call: FigureRequest, points: list[PlannedPoint]
) -> None:
    write_run(call.results, points[0].run_id, 0, CONDITIONS)
    call.folder.mkdir()
    there = call.folder / "figure3_mini_unet.svg"
    there.write_text("as committed")
    unet, dit = produce_merging(call)
    assert there.read_text() == "as committed"
    assert [path.name for path in call.folder.iterdir()] == [there.name]
    command = "python -m bigain -m backbone=mini_unet dataset=fashion_mnist task=generation"
    assert unet.startswith("figure 3, mini_unet:")
    assert unet.endswith(f"{command} operator=tome,lgtm operator.ratio=0.7")
    assert "operator=none; python -m bigain -m backbone=mini_dit" in dit
    assert list(produce_downsampling(call))[1].startswith("figure 4, mini_dit:")


def test_runs_of_other_conditions_are_refused(
    one: FigureRequest, points: list[PlannedPoint]
) -> None:
    for number, point in enumerate(points):
        write_run(one.results, point.run_id, 0, CONDITIONS[number // 2 :])
    with pytest.raises(UserError, match=f"runs {points[2].run_id} and {points[0].run_id} have"):
        list(produce_merging(one))


def test_a_lost_image_is_named(one: FigureRequest, points: list[PlannedPoint]) -> None:
    for point in points:
        write_run(one.results, point.run_id, 0, CONDITIONS)
    lost = one.results / "runs" / points[1].run_id / "images" / "000001.png"
    lost.unlink()
    with pytest.raises(UserError, match="cannot be read") as caught:
        list(produce_merging(one))
    assert str(lost) in str(caught.value)
