"""What frechet_mini is for: real before generated before spoilt, by wide margins, at equal n."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bigain.compose import compose_config
from bigain.data.fashion_mnist import FashionMNIST
from bigain.features.base import extract
from bigain.features.mini import MiniExtractor
from bigain.metrics import frechet_distance, moments_of
from bigain.runner import run
from bigain.runs.images import RunImages

N = 100
Images = list[npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Distance of 100 images of each kind from the last 500 of the 1,000 real ones that ship."""
    results = tmp_path_factory.mktemp("ranking")
    command = ["task=generation", "backbone=mini_unet", f"dataset.limit={N}", "task.steps=10"]
    places = [f"paths.results={results}", f"paths.cache={results}", "threads=1"]
    folder: Path = run(compose_config([*command, *places]), progress=False).folder
    samples: Images = list(RunImages(folder, N, "png"))
    dataset = FashionMNIST(1000)
    real: Images = [dataset[i].image for i in range(1000)]
    shuffle = np.random.default_rng(0).permutation(28 * 28)
    boots_and_bags = [image for i, image in enumerate(samples) if dataset[i].label in {8, 9}]
    kinds: dict[str, Images] = {
        "real": real[:N],
        "samples": samples,
        "shuffled": [image.reshape(-1)[shuffle].reshape(28, 28) for image in samples],
        "wrong classes": (boots_and_bags * N)[:N],
    }
    extractor = MiniExtractor()
    reference = moments_of(extract(extractor, real[500:]))
    return {
        kind: frechet_distance(moments_of(extract(extractor, images)), reference)
        for kind, images in kinds.items()
    }


def test_real_before_samples_before_spoilt(distances: dict[str, float]) -> None:
    assert distances["real"] < distances["samples"]
    assert 3 * distances["samples"] < distances["wrong classes"]
    assert 10 * distances["samples"] < distances["shuffled"]
