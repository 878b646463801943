import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.engine import build
from bigain.engine.build import build_evaluator
from bigain.engine.build_operator import build_sites
from bigain.errors import UserError
from bigain.features.mini import MiniExtractor
from bigain.launch.compose import compose_config
from bigain.operators import ToMe
from bigain.testing.datasets import TINY, write_tiny

CPU = torch.device("cpu")
TASK = ["task=generation"]


def test_sites_come_from_the_backbone() -> None:
    config = compose_config(["backbone=mini_dit", "backbone.sites.blocks=[1,3]"])
    assert build_sites(config).blocks == (1, 3)
    assert build_sites(compose_config([])).levels == (0,)


@pytest.mark.parametrize(
    ("operator", "scope"), [("none", "self"), ("lgtm", "self+mlp"), ("todo", "self")]
)
def test_the_scope_comes_from_the_operator(operator: str, scope: str) -> None:
    given = [f"operator.scope={scope}"] if operator == "lgtm" else []
    assert build_sites(compose_config([f"operator={operator}", *given])).scope == scope


@pytest.mark.parametrize("name", TINY)
def test_every_dataset_is_built_with_its_limit_and_classes(name: str, tmp_path: Path) -> None:
    write_tiny(name, tmp_path)
    command = ["task=efficiency", f"dataset={name}", "dataset.limit=7", f"dataset.root={tmp_path}"]
    config = compose_config(command).dataset
    dataset = build.build_dataset(config)
    assert len(dataset) == 7
    assert len(dataset.class_names) == len(dataset.prompts) == config.facts.num_classes
    assert (dataset.condition_ids is not None) == (config.facts.label_space == "imagenet")


def hooks(model: nn.Module) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.mark.parametrize(("name", "partial"), [("pets", True), ("fashion_mnist", False)])
def test_a_part_of_the_published_lists_is_warned_of(
    name: str, partial: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiny("pets", tmp_path)
    root = [f"dataset.root={tmp_path}"] if partial else []
    given = ["task=efficiency", f"dataset={name}", "dataset.limit=5", *root]
    config = compose_config(given).dataset
    build.warn_of_lists(config, build.build_dataset(config))
    told = ["37 images; published are 3,669" in record.getMessage() for record in caplog.records]
    assert told == ([True] if partial else [])


def test_without_an_operator_the_model_is_not_touched(tiny_dit: nn.Module) -> None:
    before = hooks(tiny_dit)
    with build.build_compression(compose_config(["operator=none"]), tiny_dit):
        assert hooks(tiny_dit) == before
    with build.build_compression(compose_config(["operator=todo"]), tiny_dit):
        assert hooks(tiny_dit) > before
    assert hooks(tiny_dit) == before


def test_the_operator_acts_at_the_configured_sites_with_the_configured_seed(
    tiny_dit: nn.Module,
) -> None:
    config = compose_config(["operator=tome", "backbone.sites.blocks=[1,3]", "seed=5"])
    with build.build_compression(config, tiny_dit) as report:
        assert [use.site.index for use in report.sites] == [1, 3]  # type: ignore[attr-defined]
        assert report.operator == ToMe(0.5)  # type: ignore[attr-defined]


# Generation.


def test_the_mini_extractor_also_tells_classes(tmp_path: Path) -> None:
    config = compose_config([*TASK, f"paths.cache={tmp_path}"])
    evaluator = build_evaluator(config, CPU, progress=False)
    assert isinstance(evaluator.extractor, MiniExtractor)
    assert evaluator.classify is not None
    assert not any(tmp_path.iterdir()), "a reference is computed when it is asked for"
    reference = evaluator.reference()
    assert reference.about["dataset"] == "fashion_mnist"
    assert (reference.about["split"], reference.about["selection"]) == ("test", "all images, 1000")
    assert reference.moments.n == SLICE_SIZE
    (kept,) = (tmp_path / "references").glob("*.npz")
    before = kept.stat().st_mtime_ns
    build_evaluator(config, CPU, progress=False).reference()
    assert kept.stat().st_mtime_ns == before, "computed once"


def statistics(path: Path, dimension: int = 64, **about: object) -> str:
    """The setting that names such a file of pytorch-fid; with a description if there is one."""
    np.savez(path, mu=np.zeros(dimension), sigma=np.eye(dimension))
    if about:
        path.with_suffix(".json").write_text(json.dumps(about))
    return f"task.reference={path}"


def test_a_file_of_statistics_may_take_the_place_of_images(tmp_path: Path) -> None:
    given = statistics(tmp_path / "s.npz")
    config = compose_config([*TASK, given, f"paths.cache={tmp_path / 'cache'}"])
    evaluator = build_evaluator(config, CPU, progress=False)
    assert evaluator.content == hashlib.sha256((tmp_path / "s.npz").read_bytes()).hexdigest()
    reference = evaluator.reference()
    assert reference.features is None
    assert np.array_equal(reference.moments.covariance, np.eye(64))
    assert not (tmp_path / "cache").exists(), "no image was read"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^task\.reference=.*s\.npz: cannot be read as statistics"),
        (b"half", r"^task\.reference=.*s\.npz: cannot be read as statistics"),
    ],
)
def test_a_wrong_file_of_statistics_is_named_before_a_network_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, message: str
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("too early")

    monkeypatch.setattr(build, "MiniExtractor", load)
    if content is not None:
        (tmp_path / "s.npz").write_bytes(content)
    config = compose_config([*TASK, f"task.reference={tmp_path / 's.npz'}"])
    with pytest.raises(UserError, match=message):
        build_evaluator(config, CPU, progress=False)


@pytest.mark.parametrize(
    ("dimension", "about", "message"),
    [
        (2048, {}, r"s\.npz: has dimension=2048; allowed: dimension=64"),
        (64, {"metric": "fid"}, "has metric=fid; allowed: metric=frechet_mini"),
        (64, {"extractor_revision": "0" * 12}, "allowed: extractor_revision=30e50ebb5b15"),
    ],
)
def test_statistics_of_other_features_are_one_line(
    tmp_path: Path, dimension: int, about: dict[str, object], message: str
) -> None:
    config = compose_config([*TASK, statistics(tmp_path / "s.npz", dimension, **about)])
    with pytest.raises(UserError, match=message):
        build_evaluator(config, CPU, progress=False)


def test_missing_weights_of_inception_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = f"task.extractor_weights={tmp_path / 'none.pth'}"
    config = compose_config([*TASK, "task.extractor=inception", missing])
    with pytest.raises(UserError, match=r"none\.pth"):
        build_evaluator(config, CPU, progress=False)


def test_own_images_that_can_never_be_read_are_named_before_a_model_is_loaded(
    tmp_path: Path,
) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / name)
    given = ["backbone=sd20", "dataset=folder", f"dataset.root={tmp_path}"]
    (tmp_path / "b" / "5.png").write_bytes(b"nothing")  # a run survives it
    assert len(build.build_dataset(compose_config(given).dataset)) == 4
    Image.fromarray(np.zeros((4, 4), np.int32)).save(tmp_path / "a" / "3.tif")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "b" / "4.tif")
    with pytest.raises(UserError, match=r"^dataset\.root=.*: 2 of 6 images cannot be") as caught:
        build.build_dataset(compose_config(given).dataset)
    for part in ("a/3.tif (its pixels are 32-bit", "b/4.tif (its pixels are floating"):
        assert part in str(caught.value)
