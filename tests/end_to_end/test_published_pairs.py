"""Each published backbone with each dataset that it goes with, tiny, from files to metrics.csv.

Both are in the exact layouts of the real ones, and everything between is what a real run uses; only
the protocol is shorter.  Among the images are one with alpha, a grey, a CMYK, a tiny and a
truncated one.
"""

from pathlib import Path

import pytest

from bigain.doctor.examine import Request, examine_runs
from bigain.engine.run import run
from bigain.launch.compose import compose_config
from bigain.runs.samples import read_samples
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import ODDITIES, TINY, TRUNCATED, write_tiny
from bigain.testing.runs import read_metrics

PROMPTED = ("sd20", "sd15", "sdxl")
ALL = [(name, dataset) for name in PROMPTED for dataset in TINY]
ALL += [("dit_xl2_512", "imagenet100"), ("dit_xl2_512", "imagenet1k")]
FAST = {
    *(("sd20", "imagenet1k"), ("sd15", "pets"), ("sdxl", "coco2017")),
    ("dit_xl2_512", "imagenet100"),
}
"""Each backbone and each dataset once; `make test-slow` takes all pairs."""
PAIRS = [
    pytest.param(*pair, marks=[] if pair in FAST else pytest.mark.slow, id="-".join(pair))
    for pair in ALL
]
IMAGES = len(ODDITIES) + 1
CLASSES = {"pets": 37, "imagenet1k": 1000, "imagenet100": 100, "coco2017": 80}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/<backbone>`, `data/<dataset>` and a cache for all; not to be changed by a test."""
    folder = tmp_path_factory.mktemp("published")
    for name in (*PROMPTED, "dit_xl2_512"):
        save_tiny_pipeline(name, folder / "models" / name)
    for dataset in TINY:
        write_tiny(dataset, folder / "data" / dataset)
    return folder


@pytest.mark.parametrize(("backbone", "dataset"), PAIRS)
def test_a_pair_is_ready_runs_and_counts_every_image(
    backbone: str, dataset: str, place: Path, tmp_path: Path
) -> None:
    config = compose_config(
        [
            *("profile=paper", "device=cpu", "dtype=float32", "batch_size=128"),
            *(f"backbone={backbone}", f"backbone.path={place / 'models' / backbone}"),
            *(f"dataset={dataset}", f"dataset.root={place / 'data' / dataset}"),
            *(f"dataset.limit={IMAGES}", "task.trial_list=[1,2]", "task.keep_list=[3,1]"),
            *("operator=lgtm", "operator.ratio=0.7"),
            *(f"paths.results={tmp_path}", f"paths.cache={place / 'cache'}"),
        ]
    )
    assert not [found for found in examine_runs(Request((config,))) if found.stops]
    outcome = run(config, progress=False)
    assert (outcome.status, outcome.computed) == ("done", IMAGES)
    samples = read_samples(outcome.folder)
    metrics = read_metrics(outcome.folder).set_index("metric")
    assert samples["failure"].notna().tolist() == [i == TRUNCATED for i in range(IMAGES)]
    assert not samples["correct"][TRUNCATED]
    read = samples[samples["failure"].isna()]
    assert {len(scores) for scores in read["scores"]} == {CLASSES[dataset]}
    assert all(0 <= prediction < CLASSES[dataset] for prediction in read["prediction"])
    assert metrics.loc["acc1", "n"] == IMAGES, "what cannot be read is counted as wrong"
    assert metrics.loc["failed_images", "value"] == 1
    precisions = {"map_image", "map_class"} & set(metrics.index)
    assert bool(precisions) == (dataset == "coco2017")
