import math

import numpy as np
import numpy.typing as npt
import torch

from bigain.backbones.base import Backbone
from bigain.data.base import Sample
from bigain.tasks.classification import classify_images, to_record
from bigain.tasks.classifier import Classification, DiffusionClassifier
from bigain.tasks.losses import LOSSES
from bigain.tasks.protocol import StagedProtocol


class EightByEight:
    class_names = tuple("abcdefghij")
    content_hash = "none"

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self._images: npt.NDArray[np.uint8] = generator.integers(0, 256, (6, 8, 8), dtype=np.uint8)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, position: int) -> Sample:
        return Sample(image_id=100 + position, label=position % 3, image=self._images[position])

    @property
    def image_ids(self) -> list[int]:
        return [100 + i for i in range(6)]


def classifier(backbone: Backbone) -> DiffusionClassifier:
    return DiffusionClassifier(
        backbone,
        StagedProtocol((5, 20), (5, 1)),
        LOSSES["l2"],
        seed=0,
        batch_size=8,
        device=torch.device("cpu"),
    )


def test_one_record_per_position_in_the_order_asked(backbone: Backbone) -> None:
    records = list(classify_images(classifier(backbone), backbone, EightByEight(), [4, 0, 2]))
    assert [r["image_id"] for r in records] == [104, 100, 102]
    assert [r["label"] for r in records] == [1, 0, 2]
    assert all(r["correct"] == (r["prediction"] == r["label"]) for r in records)
    assert all(len(r["scores"]) == 10 and len(r["true_errors"]) == 5 for r in records)
    assert all(r["seconds"] > 0 for r in records)


def test_subsets_give_the_same_records_as_the_whole(backbone: Backbone) -> None:
    def run(positions: list[int]) -> dict[int, dict[str, object]]:
        records = classify_images(classifier(backbone), backbone, EightByEight(), positions)
        return {r["image_id"]: {k: v for k, v in r.items() if k != "seconds"} for r in records}

    whole = run(list(range(6)))
    assert run([5, 3]) | run([0, 1, 2, 4]) == whole


def test_margins_and_true_errors_use_the_first_stage_only() -> None:
    nan = math.nan
    errors = torch.tensor([[1.0, 2.0, 4.0], [2.0, 2.5, 6.0], [9.0, 9.0, nan]])
    result = Classification(prediction=0, errors=errors, timesteps=(1, 2, 3), first_stage=2)
    record = to_record(7, 0, result)
    assert record["true_errors"] == [1.0, 2.0]
    assert record["margin_mean"] == np.mean([1.0, 0.5, 3.0, 4.0])
    expected = np.mean([np.var([1.0, 0.5], ddof=1), np.var([3.0, 4.0], ddof=1)])
    assert math.isclose(record["margin_variance"], expected)
    assert record["scores"] == [4.0, 4.5, 5.0]
    assert record["trials"] == [3, 3, 2]
    assert record["correct"] is True
