import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from bigain.errors import UserError
from bigain.training import data as training_data
from bigain.training.data import TrainingData, load_training_data

NULL = 10


def test_a_batch_is_a_function_of_seed_and_step(data: TrainingData) -> None:
    first = data.batch(3, 4, 0, 0.1, NULL)
    torch.randn(10)
    again = data.batch(3, 4, 0, 0.1, NULL)
    assert torch.equal(first.noise, again.noise)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.noise, data.batch(4, 4, 0, 0.1, NULL).noise)
    assert not torch.equal(first.noise, data.batch(3, 4, 1, 0.1, NULL).noise)


def test_an_epoch_shows_every_image_once_across_batch_borders(data: TrainingData) -> None:
    indices = torch.cat([data._indices(step * 3, 3, seed=5) for step in range(7)])
    for epoch in range(3):
        assert sorted(indices[epoch * 7 : epoch * 7 + 7].tolist()) == list(range(7))
    assert indices[:7].tolist() != indices[7:14].tolist()


def test_timesteps_are_stratified_inside_a_batch(data: TrainingData) -> None:
    for step in range(5):
        timesteps = data.batch(step, 5, 0, 0.0, NULL).timesteps
        assert (timesteps // 200).tolist() == [0, 1, 2, 3, 4]


def test_labels_are_dropped_at_the_rate_asked_for(data: TrainingData) -> None:
    labels = torch.cat([data.batch(step, 7, 0, 0.3, NULL).labels for step in range(400)])
    share = float((labels == NULL).double().mean())
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 2800) ** 0.5
    kept = data.batch(0, 7, 0, 0.0, NULL)
    assert bool((kept.labels != NULL).all())
    assert all(
        torch.equal(image, data.images[data.labels == label][0])
        for image, label in zip(kept.images, kept.labels, strict=True)
    )


def test_missing_data_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"training\.data_root=.*dataset-fashion-mnist.*torchvision"
    ):
        load_training_data(tmp_path)


def test_validation_is_cut_off_the_training_split_and_test_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "TRAINING_IMAGES", 8)
    images = np.arange(10, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    labels = np.arange(10, dtype=np.uint8)
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(
                n.to_bytes(4, "big") for n in array.shape
            )
            content = header + array.tobytes() if prefix == "train" else b"never to be read"
            (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    data = load_training_data(tmp_path)
    assert data.labels.tolist() == list(range(8))
    assert data.validation_labels.tolist() == [8, 9]
    assert data.images.shape == (8, 1, 32, 32)
