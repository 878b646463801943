import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.features.base import (
    DatasetImages,
    Extractor,
    decode_workers,
    extract,
    feature_blocks,
)
from bigain.features.mini import MiniExtractor
from bigain.metrics import StreamedMoments, moments_of

Images = list[npt.NDArray[np.uint8]]


def images(count: int, side: int = 6) -> Images:
    generator = np.random.default_rng(count)
    return [generator.integers(0, 256, (side, side), dtype=np.uint8) for _ in range(count)]


class Slow(Sequence[npt.NDArray[np.uint8]]):
    """Images whose decoding takes the longer the earlier they come; counts what is decoded."""

    def __init__(self, count: int) -> None:
        self.images = images(count)
        self.decoded: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: Any) -> Any:
        time.sleep(0.002 * (len(self) - position) / len(self))
        self.decoded.append(position)
        self.threads.add(threading.current_thread().name)
        return self.images[position]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_features_are_those_of_the_images_in_their_order(corners: Any, count: int) -> None:
    some = images(count)
    expected = [[i[0, 0], i[0, -1], i[-1, 0], i[-1, -1]] for i in some]
    assert extract(corners, some).tolist() == expected


def test_the_network_always_sees_full_blocks(corners: Any) -> None:
    extract(corners, images(7))
    assert corners.blocks == [3, 3, 3]
    assert [len(piece) for piece in feature_blocks(corners, images(7))] == [3, 3, 1]


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_keep_the_order_and_run_not_far_ahead(corners: Any, workers: int) -> None:
    lazy = Slow(60)
    found = feature_blocks(corners, lazy, workers)
    first = next(found)
    assert len(lazy.decoded) <= 3 + 6 * workers + 1
    rows = np.concatenate([first, *found])
    assert rows.tolist() == extract(corners, lazy.images).tolist()
    assert any("ThreadPool" in name for name in lazy.threads)


def test_a_real_network_gives_the_same_bits_for_any_workers_and_pieces() -> None:
    """Ragged pieces of one stream, folded into one covariance, and everything at once."""
    extractor: Extractor = MiniExtractor()
    dataset = DatasetImages(FashionMNIST(limit=250))
    alone = extract(extractor, dataset)
    for workers in (1, 3):
        stream = StreamedMoments(extractor.dimension)
        for piece in feature_blocks(extractor, dataset, workers):
            for row in piece:
                stream.update(row[None])
        assert np.array_equal(stream.result().covariance, moments_of(alone).covariance)
        assert np.array_equal(extract(extractor, dataset, workers), alone)


def test_what_follows_an_image_does_not_change_it() -> None:
    """The last block is filled up; the filling must not reach the features before it."""
    extractor = MiniExtractor()
    some = [*DatasetImages(FashionMNIST(limit=130))]
    assert np.array_equal(extract(extractor, some[:101]), extract(extractor, some)[:101])


def test_images_of_mixed_sizes_are_refused_unless_allowed(corners: Any) -> None:
    mixed = [*images(4), *images(1, side=9)]
    with pytest.raises(UserError, match=r"image 4: is of size 9x9, but image 0 of 6x6") as told:
        extract(corners, mixed, workers=2)
    assert "\n" not in str(told.value)
    assert extract(corners, mixed, mixed_sizes=True).shape == (5, 4)


def test_what_the_network_cannot_take_is_named(corners: Any) -> None:
    colour = [np.zeros((6, 6, 3), np.uint8)]
    with pytest.raises(UserError, match=r"^image 0: is of shape \(6, 6, 3\)"):
        extract(corners, colour)


def test_no_image_is_an_error(corners: Any) -> None:
    with pytest.raises(UserError, match="images: there are none"):
        extract(corners, [])


def test_a_dataset_is_a_sequence_of_its_images(corners: Any) -> None:
    dataset = FashionMNIST(limit=5)
    sequence = DatasetImages(dataset)
    assert len(sequence) == 5
    assert np.array_equal(sequence[3], dataset[3].image)
    assert extract(corners, sequence).shape == (5, 4)


def test_no_gradient_is_kept(corners: Any) -> None:
    corners.features = lambda block: torch.ones_like(block) * int(torch.is_inference_mode_enabled())
    assert extract(corners, images(2)).min() == 1


def test_a_bar_is_shown_when_asked_for(corners: Any, capsys: pytest.CaptureFixture[str]) -> None:
    extract(corners, images(3))
    assert capsys.readouterr().err == ""
    extract(corners, images(3), progress=True)
    assert "corners" in capsys.readouterr().err


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (4, 4), (64, 8)])
def test_there_is_a_worker_for_each_core_up_to_eight(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    affinity = "sched_getaffinity"
    monkeypatch.setattr(os, affinity, lambda _process: set(range(cores)), raising=False)
    assert decode_workers() == workers
    monkeypatch.delattr(os, affinity)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert decode_workers() == workers
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert decode_workers() == 1
