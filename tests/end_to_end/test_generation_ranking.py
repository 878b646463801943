"""What frechet_mini is for: real before generated before spoilt, each step with its interval.

At equal n, against the other half of the real images that ship.  Image i is of the same class in
all kinds but the wrong ones, so two kinds are compared in pairs, influence by influence.
"""

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from bigain.data.fashion_mnist import FashionMNIST
from bigain.engine.run import run
from bigain.features.base import extract
from bigain.features.mini import MiniExtractor
from bigain.launch.compose import compose_config
from bigain.metrics import (
    FrechetResult,
    PairedResult,
    frechet_with_interval,
    moments_of,
    paired_difference,
)
from bigain.runs.images import RunImages

HALF = 500
Images = list[npt.NDArray[np.uint8]]
Distances = dict[str, FrechetResult]


def distances_of(results: Path, n: int, *overrides: str) -> Distances:
    """Distance of n images of each kind from the last 500 of the 1,000 real ones that ship."""
    command = ["task=generation", "backbone=mini_unet", f"dataset.limit={n}", *overrides]
    places = [f"paths.results={results}", f"paths.cache={results}", "threads=1"]
    folder: Path = run(compose_config([*command, *places]), progress=False).folder
    samples: Images = list(RunImages(folder, n, "png"))
    dataset = FashionMNIST(2 * HALF)
    real: Images = [dataset[i].image for i in range(2 * HALF)]
    shuffle = np.random.default_rng(0).permutation(28 * 28)
    boots_and_bags = [image for i, image in enumerate(samples) if dataset[i].label in {8, 9}]
    kinds: dict[str, Images] = {
        "real": real[:n],
        "samples": samples,
        "shuffled": [image.reshape(-1)[shuffle].reshape(28, 28) for image in samples],
        "wrong classes": (boots_and_bags * n)[:n],
    }
    extractor = MiniExtractor()
    reference = moments_of(extract(extractor, real[HALF:]))
    return {
        kind: frechet_with_interval(extract(extractor, images), reference)
        for kind, images in kinds.items()
    }


def by_image(result: FrechetResult) -> "pd.Series[float]":
    return pd.Series(result.value + result.influences)


def difference(distances: Distances, a: str, b: str) -> PairedResult:
    """Distance of kind a minus that of kind b, with its interval."""
    return paired_difference(by_image(distances[a]), by_image(distances[b]))


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Distances:
    """A hundred images of five steps."""
    return distances_of(tmp_path_factory.mktemp("ranking"), 100, "task.steps=5")


@pytest.mark.parametrize(("spoilt", "factor"), [("wrong classes", 3), ("shuffled", 10)])
def test_generated_before_spoilt(few: Distances, spoilt: str, factor: int) -> None:
    """Apart by many standard errors already at n = 100, not by the luck of a draw.

    Those of wrong classes are twenty images, five times each: a z of 30 stands for one of 13.
    """
    found = difference(few, spoilt, "samples")
    assert found.z > 20
    assert found.ci_low > factor * few["samples"].value
    assert few[spoilt].ci_low > factor * few["samples"].ci_high


def test_a_hundred_images_do_not_tell_generated_from_real(few: Distances) -> None:
    """The order is right, and the interval honest: it holds 0, where 500 images leave it out."""
    assert few["real"].value < few["samples"].value
    found = difference(few, "samples", "real")
    assert found.ci_low < 0 < found.ci_high


@pytest.mark.slow
def test_real_before_generated_before_spoilt(tmp_path: Path) -> None:
    """What the documents show: half against half, with the settings of the published run."""
    distances = distances_of(tmp_path, HALF)
    steps = partial(difference, distances)
    assert steps("samples", "real").ci_low > 0
    for spoilt in ("wrong classes", "shuffled"):
        assert steps(spoilt, "samples").ci_low > 30 * distances["samples"].value
