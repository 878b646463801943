"""The shipped extractor and what its distance tells apart, on the test images that ship."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from bigain.backbones.mini import pad_and_standardise
from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import UserError
from bigain.features.base import extract
from bigain.features.mini import (
    REVISION,
    MiniClassifier,
    MiniExtractor,
    load_classifier,
    mini_weights,
)
from bigain.metrics import frechet_with_interval, moments_of
from bigain.training.extractor import accuracy

Pixels = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def real() -> tuple[Pixels, npt.NDArray[np.int64]]:
    """1,000 test images (n, 28, 28) in the fixed balanced order, and their labels."""
    dataset = FashionMNIST(limit=1000)
    samples = [dataset[i] for i in range(1000)]
    return np.stack([s.image for s in samples]), np.array([s.label for s in samples])


@pytest.fixture(scope="module")
def features() -> Callable[[Pixels], Features]:
    extractor = MiniExtractor()
    return lambda images: extract(extractor, [*images])


def noisy(images: Pixels, deviation: float) -> Pixels:
    noise = np.random.default_rng(0).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 255).astype(np.uint8)


def blurred(images: Pixels) -> Pixels:
    """The mean of 2 x 2 pixels."""
    wide = np.pad(images, ((0, 0), (0, 1), (0, 1))).astype(int)
    sums = wide[:, :-1, :-1] + wide[:, 1:, :-1] + wide[:, :-1, 1:] + wide[:, 1:, 1:]
    return np.asarray(sums // 4, np.uint8)


def shuffled(images: Pixels) -> Pixels:
    flat = images.reshape(len(images), -1)
    return np.random.default_rng(0).permuted(flat, axis=1).reshape(images.shape)


def test_the_shipped_weights_are_the_named_revision_and_small() -> None:
    content = mini_weights().read_bytes()
    assert hashlib.sha256(content).hexdigest()[:12] == REVISION == MiniExtractor().revision
    assert len(content) < 1_000_000
    assert {t.dtype for t in load_file(mini_weights()).values()} == {torch.float16}
    assert REVISION in (mini_weights().parent / "README.md").read_text(encoding="utf-8")


def test_another_revision_is_refused() -> None:
    with pytest.raises(UserError, match=r"extractor\.revision=0123456789ab: allowed: " + REVISION):
        MiniExtractor(revision="0123456789ab")


def test_the_classifier_is_right_on_nine_test_images_in_ten(
    real: tuple[Pixels, npt.NDArray[np.int64]],
) -> None:
    images, labels = torch.from_numpy(pad_and_standardise(real[0])), torch.from_numpy(real[1])
    assert accuracy(load_classifier(mini_weights()), images, labels) >= 0.90


def test_the_ranking_real_corrupted_destroyed(
    real: tuple[Pixels, npt.NDArray[np.int64]], features: Callable[[Pixels], Features]
) -> None:
    """Halves of the real images < mild corruption < shuffled pixels and missing classes.

    Each step by a factor of three, with intervals that do not touch.
    """
    images, labels = real
    half, rest = images[:500], moments_of(features(images[500:]))
    same = frechet_with_interval(features(half), rest)
    mild = [frechet_with_interval(features(f), rest) for f in (noisy(half, 10), blurred(half))]
    wrong = [
        frechet_with_interval(features(f), rest)
        for f in (shuffled(half), images[labels < 5], images[labels == 3])
    ]
    assert max(m.value for m in mild) * 2 < min(w.value for w in wrong)
    assert same.value * 3 < min(m.value for m in mild)
    assert same.ci_high < min(m.ci_low for m in mild)
    assert max(m.ci_high for m in mild) < min(w.ci_low for w in wrong)


def test_an_image_with_its_border_is_the_same_image(
    real: tuple[Pixels, npt.NDArray[np.int64]],
) -> None:
    extractor, image = MiniExtractor(), real[0][0]
    torch.testing.assert_close(
        extractor.prepare(np.pad(image, 2)), extractor.prepare(image), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("shape", [(28, 28, 3), (64, 64), (32, 28)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image 0: .* allowed: \(28, 28\) or \(32, 32\)"):
        extract(MiniExtractor(), [np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("change", ["more", "less"])
def test_weights_of_another_network_are_refused(tmp_path: Path, change: str) -> None:
    state = load_file(mini_weights())
    if change == "more":
        state["x"] = torch.zeros(1)
    else:
        del state["head.bias"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=f"such as {'x' if change == 'more' else 'head.bias'}"):
        load_classifier(tmp_path / "model.safetensors")


@torch.inference_mode()
def test_scores_are_a_linear_map_of_the_features() -> None:
    torch.manual_seed(0)
    model, images = MiniClassifier().eval(), torch.randn(4, 1, 32, 32)
    features = model.features(images)
    assert features.shape == (4, 64)
    assert features.min() >= 0
    torch.testing.assert_close(model(images), features @ model.head.weight.T + model.head.bias)
    alone = torch.cat([model.features(image[None]) for image in images])
    torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-6)
