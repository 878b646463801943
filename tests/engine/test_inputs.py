"""A finished run against what its configuration points at now; weights and datasets are tiny."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from pytorch_fid.inception import FID_WEIGHTS_URL

from bigain.backbones.weight_files import weights_path
from bigain.cli.main import main
from bigain.config import RunConfig
from bigain.data import contents
from bigain.data.coco import Coco
from bigain.data.fashion_mnist import CLASSES as FASHION
from bigain.data.pets import Pets
from bigain.engine import inputs
from bigain.engine.build import build_evaluator
from bigain.engine.inputs import INCEPTION_FILE, check_inputs, stamps_of, torch_hub
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.launch.compose import compose_config
from bigain.runs.files import write_manifest
from bigain.runs.identity import run_id
from bigain.runs.manifests import portable
from bigain.runs.store import RunStore
from bigain.testing.backbones import save_tiny_pipeline
from bigain.testing.datasets import write_tiny

READ = [
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
]
SHORT = ["dataset.limit=2", "task.trial_list=[1]", "task.keep_list=[1]"]
Stored = Callable[..., RunStore]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model` and `data` of a finished run below `results`; tests restore what they change."""
    folder = tmp_path_factory.mktemp("finished")
    save_tiny_pipeline("sd20", folder / "model")
    write_tiny("pets", folder / "data")
    run(compose_config(command(folder)), progress=False)
    return folder


def command(place: Path, *more: str) -> list[str]:
    return [
        *("backbone=sd20", f"backbone.path={place / 'model'}", *SHORT),
        *("dataset=pets", f"dataset.root={place / 'data'}"),
        *(f"paths.results={place / 'results'}", f"paths.cache={place / 'cache'}", *more),
    ]


def again(place: Path, *more: str) -> int:
    """Number of records that are computed when the command is repeated."""
    return run(compose_config(command(place, *more)), progress=False).computed


@pytest.fixture
def other() -> Iterator[Callable[[Path], None]]:
    """Changes a byte of a file of weights, or adds white space; restores it after the test."""
    before: dict[Path, bytes] = {}

    def change(path: Path) -> None:
        content = before.setdefault(path, path.read_bytes())
        is_text = path.suffix == ".json"
        path.write_bytes(content + b"\n" if is_text else content[:-1] + bytes([content[-1] ^ 1]))

    yield change
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are hashed from now on."""
    paths: list[Path] = []

    def watched(path: Path) -> str:
        paths.append(path)
        return file_sha256(path)

    monkeypatch.setattr(inputs, "file_sha256", watched)
    return paths


def manifest_path(place: Path) -> Path:
    return place / "results" / "runs" / run_id(compose_config(command(place))) / "manifest.json"


def edit(place: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads(manifest_path(place).read_text())
    change(manifest)
    manifest_path(place).write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", READ)
def test_another_file_of_the_model_is_refused_by_name(
    place: Path, other: Callable[[Path], None], name: str
) -> None:
    other(place / "model" / name)
    with pytest.raises(UserError, match=rf"^backbone\.path=\S+: run .* another {name}; ") as told:
        again(place)
    assert "allowed: restore what it was made with, or force=true" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_command_line_ends_with_code_2_and_one_line(
    place: Path, other: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    other(place / "model" / READ[0])
    assert main(command(place)) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert READ[0] in err


def test_files_that_are_restored_are_the_way_back(
    place: Path, other: Callable[[Path], None]
) -> None:
    path = place / "model" / READ[0]
    content = path.read_bytes()
    other(path)
    path.write_bytes(content)
    assert again(place) == 0


def test_force_makes_the_run_with_the_other_files(
    place: Path, other: Callable[[Path], None], tmp_path: Path
) -> None:
    own = f"paths.results={tmp_path}"
    assert again(place, own) == 2
    other(place / "model" / READ[0])
    assert again(place, own, "force=true") == 2
    assert again(place, own) == 0


def test_unchanged_files_are_not_read(place: Path, hashed: list[Path]) -> None:
    again(place)
    hashed.clear()
    assert again(place) == 0
    assert hashed == []


def test_a_file_with_another_time_is_hashed_once(place: Path, hashed: list[Path]) -> None:
    again(place)
    hashed.clear()
    path = place / "model" / READ[0]
    os.utime(path, (1, 1))
    assert again(place) == 0
    assert hashed == [path]
    assert again(place) == 0
    assert hashed == [path]


def test_a_manifest_without_stamps_is_checked_by_its_hashes_once(
    place: Path, hashed: list[Path], other: Callable[[Path], None]
) -> None:
    edit(place, lambda manifest: manifest.pop("stamps", None))
    assert again(place) == 0
    assert {path.name for path in hashed} >= {Path(READ[0]).name}
    hashed.clear()
    assert again(place) == 0
    assert hashed == []
    edit(place, lambda manifest: manifest.pop("stamps", None))
    other(place / "model" / READ[1])
    with pytest.raises(UserError, match=READ[1]):
        again(place)


def test_a_manifest_of_an_older_version_has_no_hashes_of_settings(
    place: Path, other: Callable[[Path], None]
) -> None:
    whole = manifest_path(place).read_text()

    def older(manifest: dict[str, Any]) -> None:
        hashes = manifest["hashes"].items()
        manifest["hashes"] = {n: h for n, h in hashes if not n.endswith((".json", ".txt"))}
        manifest.pop("stamps", None)

    edit(place, older)
    assert again(place) == 0
    other(place / "model" / READ[0])
    with pytest.raises(UserError, match=READ[0]):
        again(place)
    edit(place, lambda manifest: manifest.pop("hashes"))
    assert again(place) == 0, "nothing was recorded"
    manifest_path(place).write_text(whole)


def test_results_stay_valid_without_the_files(place: Path) -> None:
    for name in ("model", "data"):
        (place / name).rename(place / "away")
        assert again(place) == 0
        (place / "away").rename(place / name)


@pytest.mark.parametrize("damaged", [True, False])
def test_a_finished_run_over_damaged_data_is_refused_as_a_new_one_is(
    tmp_path: Path, damaged: bool
) -> None:
    """Data that is not there cannot be compared; data that is there must be readable."""
    few = ["dataset.limit=2", "task.trial_list=[1]", "task.keep_list=[1]", "backbone=mini_unet"]
    few += [f"paths.results={tmp_path / 'results'}"]
    run(compose_config(few))
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        if damaged:
            (raw / f"{name}-ubyte").write_bytes(b"no IDX")
    config = compose_config([*few, f"dataset.root={tmp_path / 'data'}"])
    if damaged:
        with pytest.raises(UserError, match="t10k-images-idx3-ubyte"):
            run(config)
    else:
        assert run(config).computed == 0


def test_stamps_are_not_published(place: Path) -> None:
    manifest = json.loads(manifest_path(place).read_text())
    assert set(manifest["stamps"]) <= set(manifest["hashes"])
    assert "stamps" not in portable(manifest)


# Datasets.


def test_an_image_in_use_is_an_input_and_others_are_not(place: Path) -> None:
    files = [entry.file for entry in Pets(37, place / "data").entries]
    folder = place / "data" / "oxford-iiit-pet"
    for name, is_used in ((files[2], False), (files[1], True)):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\0")
        if is_used:
            with pytest.raises(UserError, match=r"^dataset\.root=.* another dataset/pets;"):
                again(place)
        else:
            assert again(place) == 0
        (folder / name).write_bytes(content)


def used_image(place: Path) -> Path:
    return place / "data" / "oxford-iiit-pet" / Pets(2, place / "data").entries[0].file


def exchange(path: Path) -> None:
    """Another content of the same size, with the same time."""
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_an_image_of_the_same_size_and_time_is_another_image(
    place: Path, other: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = used_image(place)
    stat = path.stat()
    other(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert main(command(place)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dataset.root={place / 'data'}: run ")
    assert "another dataset/pets/files;" in line
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    assert again(place) == 0


def test_a_copy_of_the_images_with_other_times_is_the_same(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in sorted((place / "data").rglob("*.*")):
        target = tmp_path / source.relative_to(place / "data")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
        os.utime(target, (1, 1))
    assert again(place, f"dataset.root={tmp_path}") == 0
    monkeypatch.setattr(contents, "file_sha256", lambda _: pytest.fail("files are read again"))
    assert again(place, f"dataset.root={tmp_path}") == 0


def test_a_manifest_without_a_hash_of_the_bytes_is_never_refused_for_them(
    place: Path, other: Callable[[Path], None]
) -> None:
    before = json.loads(manifest_path(place).read_text())
    assert "dataset/pets/files" in before["hashes"]
    edit(place, lambda manifest: manifest["hashes"].pop("dataset/pets/files"))
    other(used_image(place))
    assert again(place) == 0
    manifest_path(place).write_text(json.dumps(before))


def test_an_interrupted_run_does_not_go_on_with_other_images_of_the_same_size(
    place: Path, other: Callable[[Path], None], tmp_path: Path
) -> None:
    half = ["shard.count=2", f"paths.results={tmp_path}"]
    assert again(place, *half, "shard.index=0") == 1
    other(used_image(place))
    with pytest.raises(UserError, match=r"was started with another dataset/pets/files;"):
        again(place, *half, "shard.index=1")
    (manifest,) = tmp_path.glob("runs/*/manifest.json")
    older = json.loads(manifest.read_text())
    del older["hashes"]["dataset/pets/files"]
    manifest.write_text(json.dumps(older))
    assert again(place, *half, "shard.index=1") == 1


def test_a_cached_reference_is_not_that_of_other_images_of_the_same_size(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    paths = [tmp_path / "own" / name / "1.bmp" for name in FASHION.names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (28, 28), dtype=np.uint8)).save(path)
    given = ["backbone=mini_dit", "dataset=folder", f"dataset.root={tmp_path / 'own'}"]
    given += ["task=generation", "task.extractor=mini", f"paths.cache={tmp_path / 'cache'}"]

    def features() -> npt.NDArray[np.float64]:
        config = compose_config(given)
        evaluator = build_evaluator(config, torch.device("cpu"), progress=False)
        return np.array(evaluator.load_reference().moments.mean)

    first = features()
    assert np.array_equal(features(), first)
    assert len([*(tmp_path / "cache" / "references").glob("*.npz")]) == 1
    exchange(paths[0])
    assert not np.array_equal(features(), first)


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """A finished run that was made with these hashes."""

    def store(config: RunConfig, hashes: dict[str, str]) -> RunStore:
        made = RunStore(config.paths.results, run_id(config))
        made.folder.mkdir(parents=True)
        manifest = dict.fromkeys(("family_id", "baseline_id", "columns", "wall_seconds"))
        manifest |= {"run_id": made.run_id, "status": "done", "config": {}, "n_images": 2}
        write_manifest(made.folder, {**manifest, "hashes": hashes, "stamps": stamps_of(config)})
        check_inputs(config, made)
        return made

    return store


def refused(config: RunConfig, store: RunStore, name: str) -> None:
    with pytest.raises(UserError, match=f"made with another {name}; allowed: restore"):
        check_inputs(config, store)


@pytest.mark.parametrize("changed", ["annotations", "image"])
def test_a_change_of_coco_is_seen(tmp_path: Path, stored: Stored, changed: str) -> None:
    write_tiny("coco2017", tmp_path)
    given = ["dataset=coco2017", "backbone=sd20", f"dataset.root={tmp_path}", *SHORT]
    config = compose_config([*given, f"paths.results={tmp_path / 'results'}"])
    dataset = Coco(2, tmp_path)
    store = stored(config, {"dataset/coco2017": dataset.content_hash})
    folder = tmp_path / "coco"
    if changed == "image":
        path = folder / dataset.entries[0].file
        path.write_bytes(path.read_bytes() + b"\0")
    else:
        path = folder / "annotations" / "instances_val2017.json"
        content = json.loads(path.read_text())
        content["annotations"].append(
            {"id": 0, "image_id": dataset.image_ids[0], "category_id": 90}
        )
        path.write_text(json.dumps(content))
    refused(config, store, "dataset/coco2017")


def test_coco_is_not_read_if_nothing_changed(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny("coco2017", tmp_path)
    given = ["dataset=coco2017", "backbone=sd20", f"dataset.root={tmp_path}", *SHORT]
    config = compose_config([*given, f"paths.results={tmp_path / 'results'}"])
    store = stored(config, {"dataset/coco2017": Coco(2, tmp_path).content_hash})

    def never(*_: object) -> None:
        raise AssertionError("the annotations are read")

    monkeypatch.setattr(inputs, "load_dataset", never)
    check_inputs(config, store)


# What generated images are measured with.


def test_extractor_and_statistics_are_inputs(tmp_path: Path, stored: Stored) -> None:
    weights, statistics = tmp_path / "w.pth", tmp_path / "s.npz"
    for path in (weights, statistics):
        path.write_bytes(b"first")
    given = ["backbone=sd20", "dataset=pets", "task=generation", "dataset.limit=2"]
    files = [f"task.extractor_weights={weights}", f"task.reference={statistics}"]
    config = compose_config([*given, *files, f"paths.results={tmp_path / 'results'}"])
    digest = file_sha256(weights)
    hashes = {"extractor/inception": digest[:12], "reference/pets": digest}
    store = stored(config, hashes)
    for path, name in ((weights, "extractor/inception"), (statistics, "reference/pets")):
        path.write_bytes(b"other")
        refused(config, store, name)
        path.unlink()
        check_inputs(config, store)


def test_the_images_of_a_reference_are_an_input(tmp_path: Path, stored: Stored) -> None:
    write_tiny("pets", tmp_path)
    given = ["backbone=sd20", "dataset=pets", "task=generation", "dataset.limit=2"]
    root = [f"dataset.root={tmp_path}", "task.reference=images"]
    config = compose_config([*given, *root, f"paths.results={tmp_path / 'results'}"])
    content = Pets(2, tmp_path).content_hash
    store = stored(config, {"reference/pets": content})
    path = tmp_path / "oxford-iiit-pet" / Pets(2, tmp_path).entries[0].file
    path.write_bytes(path.read_bytes() + b"\0")
    refused(config, store, "reference/pets")


def test_shipped_weights_are_inputs(
    tmp_path: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["task=generation", "dataset.limit=2", f"paths.results={tmp_path / 'results'}"]
    config = compose_config(given)
    backbone, extractor = map(weights_path, ("mini_dit", "mini_extractor"))
    hashes = {"mini_dit/model.safetensors": file_sha256(backbone)}
    store = stored(config, {**hashes, "extractor/mini": file_sha256(extractor)[:12]})
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"other")
    monkeypatch.setattr(inputs, "weights_path", lambda _: other)
    refused(config, store, "mini_dit/model.safetensors and another extractor/mini")


def test_torch_hub_is_found_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FID_WEIGHTS_URL.rpartition("/")[2] == INCEPTION_FILE
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv("TORCH_HOME", raising=False)
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        assert str(torch_hub()) == torch.hub.get_dir()
        monkeypatch.setenv(name, str(tmp_path / name))
        assert str(torch_hub()) == torch.hub.get_dir()


# The hub's cache.


def test_a_hub_revision_that_moved_is_refused_if_the_weights_are_others(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "models--mirror--sd2"
    first, second, third = ("1" * 40, "2" * 40, "3" * 40)
    for commit in (first, second, third):
        shutil.copytree(place / "model", cached / "snapshots" / commit)
    weights = cached / "snapshots" / third / READ[0]
    weights.write_bytes(weights.read_bytes()[:-1] + b"\7")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(first)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    own = ["backbone.path=null", "backbone.repository=mirror/sd2", "backbone.revision=main"]
    assert again(place, *own) == 2
    (cached / "refs" / "main").write_text(second)
    assert again(place, *own) == 0, "another commit with the same files"
    (cached / "refs" / "main").write_text(third)
    with pytest.raises(UserError, match=rf"^backbone\.revision=main of mirror/sd2: .*{READ[0]}; "):
        again(place, *own)


def test_a_run_that_was_interrupted_does_not_go_on_with_other_weights(
    place: Path, other: Callable[[Path], None], tmp_path: Path
) -> None:
    half = ["shard.count=2", "shard.index=0", f"paths.results={tmp_path}"]
    assert again(place, *half) == 1
    for name in (READ[0], READ[3]):
        other(place / "model" / name)
        with pytest.raises(UserError, match=rf"was started with another .*{name}.*force=true"):
            again(place, *half[:1], "shard.index=1", *half[2:])


# Runs that use other runs.


def test_an_operator_is_not_compared_with_a_baseline_of_other_weights(
    place: Path, other: Callable[[Path], None], tmp_path: Path
) -> None:
    own = f"paths.results={tmp_path}"
    todo = ["operator=todo", own]
    assert again(place, own) == 2
    other(place / "model" / READ[0])
    told = rf"^operator=todo: its baseline, run \w+, was made with another {READ[0]}; allowed: "
    with pytest.raises(UserError, match=told):
        again(place, *todo)
    assert again(place, own, "force=true") == 2
    assert again(place, *todo) == 2


@pytest.mark.parametrize("changed", ["", "size", "bytes"])
def test_records_are_taken_over_only_from_a_run_of_the_same_images(
    place: Path, tmp_path: Path, changed: str
) -> None:
    own = f"paths.results={tmp_path}"
    assert again(place, own) == 2
    path = place / "data" / "oxford-iiit-pet" / Pets(2, place / "data").entries[0].file
    content = path.read_bytes()
    if changed == "size":
        path.write_bytes(content + b"\0")
    elif changed == "bytes":
        exchange(path)
    assert again(place, own, "dataset.limit=3") == (3 if changed else 1)
    path.write_bytes(content)
