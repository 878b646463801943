from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.tracking.pictures import (
    Media,
    confusion_counts,
    confusion_picture,
    hardest_images,
    media_of,
)


def record(image_id: int, label: int, scores: list[float]) -> dict[str, Any]:
    prediction = int(np.argmin(scores))
    return {"image_id": image_id, "label": label, "prediction": prediction, "scores": scores}


RECORDS = [
    record(7, 0, [0.1, 0.5, 0.9]),
    record(8, 0, [0.4, 0.1, 0.9]),
    record(9, 2, [0.4, 0.3, 0.1]),
    record(10, 2, [0.9, 0.8, 0.7]),
]


def test_rows_are_labels_and_columns_predictions() -> None:
    counts = confusion_counts(RECORDS)
    assert counts is not None
    assert counts.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 2]]


def test_a_cell_is_as_dark_as_its_share_of_the_row() -> None:
    picture = confusion_picture(np.array([[3, 1], [0, 0]]))
    side = picture.width // 2
    shades = {
        (row, column): picture.getpixel((side + 200 * column - 100, side + 200 * row - 100))
        for row in (0, 1)
        for column in (0, 1)
    }
    white, blue = np.array([255, 255, 255]), np.array([8, 48, 107])
    for place, share in {(0, 0): 0.75, (0, 1): 0.25, (1, 0): 0, (1, 1): 0}.items():
        assert shades[place] == tuple((white + share * (blue - white)).round())
    assert confusion_picture(np.eye(1000, dtype=np.int64)).width > 1000


def test_images_with_several_labels_or_none_have_no_confusion_matrix() -> None:
    assert confusion_counts([]) is None
    assert confusion_counts([{"label": None, "labels": [1, 2], "prediction": 1}]) is None


def test_the_hardest_image_loses_most_against_the_best_other_class() -> None:
    rows = hardest_images(RECORDS)
    assert [row[0] for row in rows] == [8, 10, 9, 7]
    assert [round(row[3], 6) for row in rows] == [-0.3, 0.1, 0.2, 0.4]
    assert hardest_images([{"image_id": 1, "label": 3, "prediction": 2}]) == []


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        ([0.3, None, 0.5], [(1, 0, 0, pytest.approx(0.2), "[0.3, null, 0.5]")]),
        ([None, 0.2, 0.1], []),
        ([0.3, None, None], []),
        ([], []),
    ],
)
def test_an_image_whose_margin_is_not_known_is_left_out(
    scores: list[float | None], rows: list[Any]
) -> None:
    known = {"image_id": 1, "label": 0, "prediction": 0, "scores": scores, "margin_mean": 5.0}
    assert hardest_images([known]) == rows


def test_published_records_without_scores_are_ranked_by_their_mean_margin() -> None:
    published = [
        {"image_id": at, "label": 0, "prediction": None if mean is None else 1, "margin_mean": mean}
        for at, mean in enumerate([0.5, None, -0.25])
    ]
    assert hardest_images(published) == [(2, 0, 1, -0.25, ""), (0, 0, 1, 0.5, "")]


def test_only_classified_images_have_a_confusion_matrix(tmp_path: Path) -> None:
    assert media_of("generation", RECORDS, tmp_path) == Media({}, {})
    assert media_of("classification", RECORDS, tmp_path).pictures.keys() == {"confusion_matrix"}
