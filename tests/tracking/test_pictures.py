from typing import Any

import numpy as np

from bigain.tracking.pictures import confusion_counts, confusion_picture, hardest_images


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
    assert np.asarray(confusion_picture(counts)).std() > 0


def test_images_with_several_labels_or_none_have_no_confusion_matrix() -> None:
    assert confusion_counts([]) is None
    assert confusion_counts([{"label": None, "labels": [1, 2], "prediction": 1}]) is None


def test_the_hardest_image_loses_most_against_the_best_other_class() -> None:
    rows = hardest_images(RECORDS)
    assert [row[0] for row in rows] == [8, 10, 9, 7]
    assert [round(row[3], 6) for row in rows] == [-0.3, 0.1, 0.2, 0.4]
    assert hardest_images([{"image_id": 1, "label": 3, "prediction": 2}]) == []
