"""All datasets of `configs/dataset`: what their classes declare, their settings, their loading."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from bigain.config import DatasetConfig
from bigain.config.dataset import datasets_with
from bigain.data import fashion_mnist
from bigain.data.base import SELECTIONS, load_dataset, load_reference
from bigain.data.fashion_mnist import SLICE_SIZE
from bigain.data.files import PublishedFiles
from bigain.data.pets import Pets
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.locations import CONFIGS
from bigain.testing.datasets import TINY, write_tiny

ROOT = Path(__file__).parents[2]
SHIPPED = ["fashion_mnist", "fashion_mosaic"]
FACTS = {  # classes, split, images, label space, generates
    "fashion_mnist": (10, "test", 10_000, "fashion", True),
    "fashion_mosaic": (10, "mosaics", 5000, "fashion", False),
    "pets": (37, "test", 3669, "open", True),
    "imagenet100": (100, "val", 5000, "imagenet", True),
    "imagenet1k": (1000, "val", 50_000, "imagenet", True),
    "coco2017": (80, "val2017", 5000, "open", True),
}


def settings(name: str, **changes: object) -> DatasetConfig:
    file = CONFIGS / "dataset" / f"{name}.yaml"
    plain: Any = OmegaConf.to_container(OmegaConf.load(file))
    return DatasetConfig.model_validate({**plain, "limit": None, "root": None, **changes})


def refusal(name: str, **changes: object) -> dict[str, Any]:
    with pytest.raises(ValidationError) as caught:
        settings(name, **changes)
    return dict(caught.value.errors()[0])


# What is known without the data.


def test_the_facts_are_those_of_every_file_in_the_configuration() -> None:
    names = {path.stem for path in (CONFIGS / "dataset").glob("*.yaml")}
    assert names == {*FACTS, "folder"}  # whose facts are those of the user's files
    for name, expected in FACTS.items():
        f = settings(name).facts
        assert (f.num_classes, f.split, f.split_size, f.label_space, f.generates) == expected


@pytest.mark.parametrize("name", TINY)
def test_the_facts_agree_with_the_classes(name: str) -> None:
    facts = settings(name).kind
    assert issubclass(facts, PublishedFiles)
    classes = facts.classes()
    assert facts.num_classes == len(classes.names) == len(classes.prompts)
    assert (facts.label_space == "imagenet") == (classes.condition_ids is not None)


def test_datasets_are_found_by_their_label_space() -> None:
    assert datasets_with("fashion") == SHIPPED
    assert datasets_with("imagenet") == ["imagenet100", "imagenet1k"]
    assert datasets_with("imagenet", "open") == ["coco2017", "imagenet100", "imagenet1k", "pets"]


def test_settings_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from bigain.launch.compose import compose_config\n"
        "from bigain.data.base import load_dataset\n"
        f"for name in {sorted(FACTS)}:\n"
        "    config = compose_config(['task=efficiency', f'dataset={name}', 'dataset.limit=3'])\n"
        "    if name.startswith('fashion'):\n"
        "        assert len(load_dataset(config.dataset)) == 3\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# Settings.


@pytest.mark.parametrize("name", FACTS)
def test_the_limit_goes_up_to_the_size_of_the_split(name: str) -> None:
    size = FACTS[name][2]
    for limit in (None, 1, size):
        assert settings(name, limit=limit).limit == limit
    assert settings(name).num_images == size
    assert settings(name, limit=7).num_images == 7
    for wrong in (0, -1, size + 1):
        context = refusal(name, limit=wrong)["ctx"]
        assert (context["key"], context["value"]) == ("dataset.limit", wrong)
        assert f"1 to {size}," in context["allowed"]
    for no_integer in (1.5, "3", True):
        assert refusal(name, limit=no_integer)["loc"][0] == "limit"


def test_the_root_is_a_folder_with_a_name() -> None:
    assert settings("pets", root="data").root == Path.cwd() / "data"
    assert refusal("pets", root="")["loc"][0] == "root"
    context = refusal("fashion_mosaic", root="data")["ctx"]
    assert (context["key"], context["value"]) == ("dataset.root", Path.cwd() / "data")
    assert "null" in context["allowed"]


def test_what_is_no_dataset_is_refused() -> None:
    for wrong in ("bigain.data.nowhere.Pets", "bigain.data.pets.Dogs", "bigain.data.files.Entry"):
        context = refusal("pets", _target_=wrong)["ctx"]
        assert (context["key"], context["value"]) == ("dataset._target_", wrong)
    assert refusal("pets", _target_="Pets")["loc"] == ("_target_",)
    assert refusal("pets", subset="2k")["loc"] == ("subset",)


def test_a_class_without_its_facts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    text = "from bigain.config import DatasetFacts\nclass Half(DatasetFacts):\n    split = 'a'\n"
    (tmp_path / "half_a_dataset.py").write_text(text)
    allowed = refusal("pets", _target_="half_a_dataset.Half")["ctx"]["allowed"]
    assert "num_classes, split_size, label_space" in allowed


# Loading.


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_needs_no_root(name: str) -> None:
    assert len(load_dataset(settings(name, limit=7))) == 7


@pytest.mark.parametrize("name", TINY)
def test_the_settings_reach_the_dataset(name: str, tmp_path: Path) -> None:
    write_tiny(name, tmp_path)
    dataset = load_dataset(settings(name, limit=7, root=tmp_path))
    assert len(dataset) == 7
    assert dataset.place.startswith(f"in {tmp_path}")
    with pytest.raises(UserError, match=r"dataset\.root="):
        load_dataset(settings(name, limit=7, root=tmp_path / "nowhere"))


# References.


def test_the_split_of_fashion_mnist_is_what_ships_whatever_the_limit() -> None:
    few = settings("fashion_mnist", limit=5)
    assert len(load_reference(few, "split")) == SLICE_SIZE
    assert len(load_reference(few, "images")) == 5


def test_pets_may_be_compared_with_all_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny("pets", tmp_path)
    config = settings("pets", limit=37, root=tmp_path)
    files = sorted((tmp_path / "oxford-iiit-pet" / "images").glob("*.jpg"))
    monkeypatch.setattr(Pets, "all_size", len(files))
    everything = load_reference(config, "all")
    assert len(everything) == len(files) >= 37
    assert everything.image_ids == list(range(len(files)))
    with pytest.raises(UserError, match=r"^task\.reference=split: means all 3669 .* lists 37; all"):
        load_reference(config, "split")


@pytest.mark.parametrize("name", sorted(TINY))
def test_an_incomplete_reference_names_its_own_setting(tmp_path: Path, name: str) -> None:
    """Not `dataset.limit`, whose value is right: the images of the run are there."""
    write_tiny(name, tmp_path)
    with pytest.raises(UserError, match=r"allowed: task\.reference=images") as caught:
        load_reference(settings(name, limit=2, root=tmp_path), "split")
    assert str(caught.value).startswith("task.reference=split: ")
    assert "dataset.limit" not in str(caught.value)
    assert len(load_reference(settings(name, limit=2, root=tmp_path), "images")) == 2


def test_every_selection_of_a_dataset_can_be_configured() -> None:
    for name in sorted(set(FACTS) - {"fashion_mosaic"}):
        backbone = "mini_unet" if name == "fashion_mnist" else "sd20"
        command = ["task=generation", f"dataset={name}", f"backbone={backbone}"]
        for which in SELECTIONS:
            if which in settings(name).facts.references:
                compose_config([*command, f"task.reference={which}"])
            else:
                with pytest.raises(UserError, match=r"task\.reference=all: allowed: split or im"):
                    compose_config([*command, f"task.reference={which}"])


# An index.


def test_an_index_restricts_and_orders_any_dataset(tmp_path: Path) -> None:
    index = tmp_path / "index.txt"
    for name in sorted(FACTS):
        if name in TINY:
            write_tiny(name, tmp_path)
        root = tmp_path if name in TINY else None
        few = load_dataset(settings(name, limit=7, root=root))
        wanted = [few.image_ids[position] for position in (5, 0, 3)]
        index.write_text("\n".join(map(str, wanted)))
        chosen = load_dataset(settings(name, root=root, index=index))
        assert chosen.image_ids == wanted, name
        assert [chosen[i].labels for i in range(3)] == [few[i].labels for i in (5, 0, 3)]
        assert load_dataset(settings(name, root=root, index=index, limit=2)).image_ids == wanted[:2]
        if name != "fashion_mosaic":
            split = load_reference(settings(name, root=root, index=index, limit=2), "split")
            assert split.image_ids == wanted
        assert settings(name, root=root, index=index).fingerprint
        assert settings(name, root=root).fingerprint is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            b"4896\n10000\n",
            "10000 is none of the 1000 images of dataset=fashion_mnist here; allowed:",
        ),
        (b"4896\nten\n", "ten is none of the 1000 images"),
        (b"4896\n1\n\n4896\n", "line 4 (4896) repeats line 1; allowed:"),
        (b"\n", "is empty; allowed:"),
        (b"\xff\xfe", "cannot be read (no UTF-8); allowed:"),
    ],
)
def test_mistakes_in_an_index_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, reason: str
) -> None:
    monkeypatch.setattr(fashion_mnist, "find_root", lambda _: None)
    index = tmp_path / "index.txt"
    index.write_bytes(text)
    with pytest.raises(UserError) as caught:
        load_dataset(compose_config([f"dataset.index={index}"]).dataset)
    assert str(caught.value).startswith(f"dataset.index={index}: ")
    assert reason in str(caught.value)


def test_an_image_that_is_not_here_may_be_in_the_rest_of_the_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "find_root", lambda _: None)
    index = tmp_path / "index.txt"
    index.write_text("5\n")
    with pytest.raises(UserError, match=r"of the 1000 .* all 10000 images .* set dataset.root"):
        load_dataset(settings("fashion_mnist", index=index))
    write_tiny("pets", tmp_path)
    index.write_text("5000000\n")
    with pytest.raises(UserError, match=r"5000000 is .*; for all 3669 images of the split, copy"):
        load_dataset(settings("pets", root=tmp_path, index=index))
    with pytest.raises(UserError, match=r"none of the 5000 images of [^;]*; allowed: [^;]*$"):
        load_dataset(settings("fashion_mosaic", index=index))


def test_a_limit_goes_up_to_the_lines_of_the_index(tmp_path: Path) -> None:
    index = tmp_path / "index.txt"
    index.write_text("4896\n3\n")
    assert settings("fashion_mnist", index=index).num_images == 2
    context = refusal("fashion_mnist", index=index, limit=3)["ctx"]
    assert (context["key"], context["value"]) == ("dataset.limit", 3)
    assert "1 to 2, the first N of dataset.index" in context["allowed"]
