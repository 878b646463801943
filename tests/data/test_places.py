"""What `dataset.root=null` stands for, with and without BIGAIN_DATA."""

from pathlib import Path

import pytest

from bigain.data.base import load_dataset
from bigain.data.places import unused_variable, warn_of_variable, with_root
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.testing.datasets import write_tiny

PUBLISHED = ("pets", "imagenet1k", "imagenet100", "coco2017")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "all").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BIGAIN_DATA", raising=False)
    monkeypatch.setattr("bigain.data.fashion_mnist._DEBIAN_ROOT", Path("nowhere"))


def root(name: str, *settings: str) -> Path | None:
    own = ["task=efficiency", f"dataset={name}", *settings]
    return compose_config(own).dataset.root


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_variable_is_the_folder_of_a_dataset_that_does_not_ship(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert root(name) is None
    monkeypatch.setenv("BIGAIN_DATA", "../all")
    assert root(name) == Path.cwd() / "../all"
    assert root(name, "paths.data=/mine") == Path("/mine")
    assert root(name, "dataset.root=/mine") == Path("/mine")


@pytest.mark.parametrize("name", PUBLISHED)
def test_data_in_the_working_directory_is_found_from_any_other(name: str) -> None:
    write_tiny(name, Path("data"))
    assert root(name) == Path.cwd() / "data"


@pytest.mark.parametrize("name", ["fashion_mnist", "fashion_mosaic"])
def test_without_its_files_in_the_variables_folder_the_shipped_images_are_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual = load_dataset(compose_config([f"dataset={name}", "dataset.limit=20"]).dataset)
    monkeypatch.setenv("BIGAIN_DATA", str(tmp_path / "all"))
    config = compose_config([f"dataset={name}", "dataset.limit=20"]).dataset
    for _ in range(2):
        warn_of_variable(config)
        found = load_dataset(config)
    assert found.content_hash == usual.content_hash
    said = f"BIGAIN_DATA={tmp_path}/all has no file of fashion_mnist: the images that ship "
    assert [line.startswith(said) for line in caplog.messages] == [True][: name == "fashion_mnist"]


@pytest.mark.parametrize("key", ["dataset.root", "paths.data"])
def test_a_folder_that_is_named_for_it_stays_strict(key: str, tmp_path: Path) -> None:
    config = compose_config(["dataset.limit=20", f"{key}={tmp_path}/all"])
    with pytest.raises(UserError, match=r"all: no Fashion-MNIST there; expected the four IDX"):
        load_dataset(config.dataset)


@pytest.mark.parametrize("below", ["", "FashionMNIST/raw"])
def test_a_part_of_its_files_is_an_error(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "all" / below
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).write_bytes(b"")
    monkeypatch.setenv("BIGAIN_DATA", str(tmp_path / "all"))
    config = compose_config(["dataset.limit=20"]).dataset
    with pytest.raises(UserError, match=r"all: train-labels-idx1-ubyte is missing in .*; expected"):
        load_dataset(config)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is not a"):
        load_dataset(config)


def test_what_is_not_of_the_variable_needs_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config(["dataset.limit=20"]).dataset
    assert unused_variable(config) is None
    monkeypatch.setenv("BIGAIN_DATA", "")
    assert unused_variable(with_root(config)) is None
