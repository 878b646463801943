import math
import threading

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import average_precision_score

from bigain.backbones.base import Backbone
from bigain.data.base import Sample
from bigain.data.images import UnreadableImage
from bigain.errors import UserError
from bigain.runs.errors import packed
from bigain.tasks import classification
from bigain.tasks.classification import classify_images, failed_record, latents_of, to_record
from bigain.tasks.classifier import LOSSES, Classification, DiffusionClassifier
from bigain.tasks.protocol import StagedProtocol

PIXELS = np.zeros((8, 8), np.uint8)


class EightByEight:
    class_names = tuple("abcdefghij")
    prompts = tuple(f"a photo of a {name}." for name in "abcdefghij")
    condition_ids = None
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


def test_margins_and_true_errors_use_the_first_stage_only() -> None:
    nan = math.nan
    errors = torch.tensor([[1.0, 2.0, 4.0], [2.0, 2.5, 6.0], [9.0, 9.0, nan]])
    result = Classification(0, errors.nanmean(dim=0), errors, timesteps=(1, 2, 3), first_stage=2)
    record = to_record(Sample(7, 0, PIXELS), result)
    assert record["true_errors"] == [1.0, 2.0]
    assert record["margin_mean"] == np.mean([1.0, 0.5, 3.0, 4.0])
    expected = np.mean([np.var([1.0, 0.5], ddof=1), np.var([3.0, 4.0], ddof=1)])
    assert math.isclose(record["margin_variance"], expected)
    assert record["scores"] == [4.0, 4.5, 5.0]
    assert record["trials"] == [3, 3, 2]
    assert record["first_stage"] == packed([1, 2], errors[:2].numpy())
    assert record["correct"] is True


def test_a_single_trial_has_no_variance_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    errors = torch.tensor([[1.0, 2.0, 4.0]])
    result = Classification(0, errors.nanmean(dim=0), errors, timesteps=(1,), first_stage=1)
    record = to_record(Sample(7, 0, PIXELS), result)
    assert math.isnan(record["margin_variance"])
    assert record["margin_mean"] == 2.0
    assert not recwarn.list


ERRORS = torch.tensor([[1.0, 2.0, 4.0, 5.0], [2.0, 2.5, 6.0, 9.0], [9.0, 9.0, math.nan, math.nan]])
STAGED = Classification(1, ERRORS.nanmean(dim=0), ERRORS, timesteps=(1, 2, 3), first_stage=2)


def several(*labels: int) -> Sample:
    return Sample(7, None, PIXELS, labels)


def test_one_label_has_no_more_in_its_record_than_before() -> None:
    assert list(to_record(Sample(7, 0, PIXELS), STAGED)) == [
        *("image_id", "label", "prediction", "correct", "scores", "trials", "true_errors"),
        *("margin_mean", "margin_variance", "first_stage"),
    ]


@pytest.mark.parametrize(("labels", "correct"), [((), False), ((0, 2), False), ((1, 3), True)])
def test_a_prediction_is_correct_if_it_is_one_of_the_labels(
    labels: tuple[int, ...], correct: bool
) -> None:
    record = to_record(several(*labels), STAGED)
    assert (record["label"], record["labels"]) == (None, list(labels))
    assert record["correct"] is correct


@pytest.mark.parametrize("labels", [(0,), (1,), (0, 3), (1, 2, 3)])
def test_the_precision_ranks_the_staged_winner_first(labels: tuple[int, ...]) -> None:
    """Scores are 4, 4.5, 5, 7; the winner is class 1 although class 0 has the lower mean."""
    record = to_record(several(*labels), STAGED)
    assert record["scores"] == [4.0, 4.5, 5.0, 7.0]
    confidence = [3, 4, 2, 1]
    expected = average_precision_score([c in labels for c in range(4)], confidence)
    assert record["average_precision"] == pytest.approx(expected)


def test_errors_and_margins_of_several_labels_are_means_over_them() -> None:
    record = to_record(several(0, 2), STAGED)
    assert record["true_errors"] == [2.5, 4.0]
    differences = np.array([[2.0 - 2.5, 5.0 - 2.5], [2.5 - 4.0, 9.0 - 4.0]])
    assert record["margin_mean"] == pytest.approx(differences.mean())
    assert record["margin_variance"] == pytest.approx(differences.var(axis=0, ddof=1).mean())


def test_without_a_label_there_is_no_true_error_and_no_margin() -> None:
    record = to_record(several(), STAGED)
    assert record["true_errors"] == []
    assert record["average_precision"] == 0
    for name in ("margin_mean", "margin_variance"):
        assert math.isnan(record[name])


@pytest.mark.parametrize("sample", [Sample(7, 2, PIXELS), several(1, 2), several()])
def test_a_failed_image_has_the_columns_of_the_others_and_the_reason(sample: Sample) -> None:
    record = failed_record(sample, "x.jpg: cut short")
    assert list(record) == [*to_record(sample, STAGED), "failure"]
    assert (record["image_id"], record["label"], record["correct"]) == (7, sample.label, False)
    assert record["failure"] == "x.jpg: cut short"
    assert record["prediction"] is record["scores"] is record["true_errors"] is None
    assert record["first_stage"] is None


def test_the_precision_of_a_failed_image_is_zero_if_it_has_a_label() -> None:
    assert failed_record(several(1, 2), "cut")["average_precision"] == 0
    assert failed_record(several(), "cut")["average_precision"] == 0


class WithBrokenImages(EightByEight):
    """Every second image cannot be read."""

    def __getitem__(self, position: int) -> Sample:
        whole = super().__getitem__(position)

        def read() -> npt.NDArray[np.uint8]:
            if position % 2:
                raise UnreadableImage(f"{position}.jpg: cut short")
            return whole.image

        return Sample(whole.image_id, whole.label, read)


def test_a_run_goes_on_over_images_that_cannot_be_read(backbone: Backbone) -> None:
    whole, broken = EightByEight(), WithBrokenImages()
    positions = [3, 0, 1, 2]
    found = list(classify_images(classifier(backbone), backbone, broken, positions))
    expected = list(classify_images(classifier(backbone), backbone, whole, positions))
    assert [r["image_id"] for r in found] == [103, 100, 101, 102]
    assert [r.get("failure") for r in found] == ["3.jpg: cut short", None, "1.jpg: cut short", None]
    assert all(r["seconds"] >= 0 for r in found)
    for one, other in zip(found, expected, strict=True):
        if "failure" not in one:
            assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize(("device", "thread"), [("cpu", "MainThread"), ("cuda", "images_0")])
def test_images_are_encoded_in_order_and_on_cuda_beside_the_batches(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, device: str, thread: str
) -> None:
    threads: set[str] = set()
    encode = backbone.encode

    def noted(image: npt.NDArray[np.uint8]) -> torch.Tensor:
        threads.add(threading.current_thread().name)
        return encode(image)

    monkeypatch.setattr(backbone, "encode", noted)
    monkeypatch.setattr(classification, "on_own_stream", lambda _device, function: function)
    dataset = WithBrokenImages()
    samples, ids = [dataset[position] for position in (4, 1, 0, 2, 3, 5, 0)], []
    for sample, latents in latents_of(backbone, samples, torch.device(device)):
        ids.append(sample.image_id)
        if sample.image_id % 2:
            with pytest.raises(UnreadableImage, match="cut short"):
                latents()
        else:
            assert torch.equal(latents(), encode(dataset[sample.image_id - 100].image))
    assert ids == [104, 101, 100, 102, 103, 105, 100]
    assert threads == {thread}


def test_another_number_of_classes_than_the_backbones_is_refused(backbone: Backbone) -> None:
    dataset = EightByEight()
    dataset.class_names = tuple("abc")
    with pytest.raises(UserError, match="dataset with 3 classes: the backbone has 10 class"):
        next(classify_images(classifier(backbone), backbone, dataset, [0]))
