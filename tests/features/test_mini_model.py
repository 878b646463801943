import pytest
import torch

from bigain.features.mini_model import FEATURES, MiniClassifier


@pytest.fixture
def model() -> MiniClassifier:
    torch.manual_seed(0)
    return MiniClassifier().eval()


@torch.inference_mode()
def test_scores_are_a_linear_map_of_the_features(model: MiniClassifier) -> None:
    images = torch.randn(3, 1, 32, 32)
    features = model.features(images)
    assert features.shape == (3, FEATURES) == (3, 64)
    assert features.min() >= 0
    expected = features @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(images), expected)


@torch.inference_mode()
def test_an_image_does_not_depend_on_its_neighbours(model: MiniClassifier) -> None:
    images = torch.randn(4, 1, 32, 32)
    alone = torch.cat([model.features(image[None]) for image in images])
    torch.testing.assert_close(model.features(images), alone, rtol=1e-4, atol=1e-6)


def test_it_is_small() -> None:
    assert sum(p.numel() for p in MiniClassifier().parameters()) < 80_000
