"""Images of the user's own; every mistake is one line that names the key, and what is allowed."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from bigain.config import DatasetConfig
from bigain.data.base import load_dataset, load_reference
from bigain.data.fashion_mnist import FashionMNIST
from bigain.data.folder import Folder, path_id
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.launch.plan import plan_runs
from bigain.runs.identity import describing_columns, family_id, resolved, run_id
from bigain.runs.joint import JointRow, JointRun

LABELS = "file,class\na/1.png,cat\na/2.png,dog\nb/1.png,cat\n"


def save(path: Path, level: int = 100, size: tuple[int, int] = (5, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Three cats and two big_dogs, a folder a class."""
    root = tmp_path / "animals"
    for number, name in enumerate(("cat/1", "cat/2", "cat/3", "big_dog/1", "big_dog/2")):
        save(root / f"{name}.png", 40 * number)
    return root


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for name in ("a/1", "a/2", "b/1"):
        save(tmp_path / "flat" / f"{name}.png")
    return tmp_path / "flat"


def settings(root: Path, **changes: object) -> DatasetConfig:
    plain = {"name": "folder", "_target_": "bigain.data.folder.Folder", "limit": None}
    return DatasetConfig.model_validate({**plain, "root": root, **changes})


def refusal(root: Path, **changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        settings(root, **changes)
    (error,) = caught.value.errors()
    return str(error["msg"])


def composed(root: Path, *more: str) -> Any:
    return compose_config(["dataset=folder", f"dataset.root={root}", "backbone=sd20", *more])


# What is found.


def test_one_folder_a_class_gives_sorted_names_and_the_usual_prompt(animals: Path) -> None:
    found = Folder(None, animals)
    assert found.class_names == ("big_dog", "cat")
    assert found.prompts == ("a photo of a big dog.", "a photo of a cat.")
    assert found.condition_ids is None
    assert sorted(found[i].label or 0 for i in range(5)) == [0, 0, 1, 1, 1]
    assert {found[i].label for i in range(2)} == {0, 1}, "the order is class-balanced"
    facts = settings(animals).facts
    assert (facts.num_classes, facts.split_size, facts.generates) == (2, 5, True)


def test_ids_come_from_paths_so_other_images_and_places_do_not_change_them(
    animals: Path, tmp_path: Path
) -> None:
    before = Folder(None, animals)
    pixels = {s.image_id: int(s.image[0, 0, 0]) for s in (before[i] for i in range(5))}
    assert pixels[path_id("cat/2.png")] == 40
    assert path_id("cat/2.png") == 0x707CB11F307C, "the first 48 bits of sha256('cat/2.png')"
    save(animals / "ant" / "1.png")
    after = Folder(None, animals)
    assert set(before.image_ids) < set(after.image_ids)
    moved = animals.rename(tmp_path / "moved")
    assert Folder(None, moved).image_ids == after.image_ids
    assert Folder(3, moved).image_ids == after.image_ids[:3]


def test_hidden_files_and_notes_do_not_count_beside_the_class_folders_or_inside(
    animals: Path,
) -> None:
    before = Folder(None, animals)
    save(animals / "cat" / "._1.png")
    save(animals / ".cache" / "1.png")
    for place in (animals, animals / "cat"):
        for name in ("prompts.csv", "README.md", "index.TXT"):
            write(place / name, "notes of the user")
    after = Folder(None, animals)
    assert (after.image_ids, after.content_hash) == (before.image_ids, before.content_hash)


def test_a_list_of_labels_says_which_images_there_are(flat: Path, tmp_path: Path) -> None:
    save(flat / "not listed.png")
    labels = write(tmp_path / "labels.csv", LABELS)
    found = Folder(None, flat, labels)
    named = {s.image_id: found.class_names[s.label or 0] for s in (found[i] for i in range(3))}
    assert named == {
        path_id("a/1.png"): "cat",
        path_id("a/2.png"): "dog",
        path_id("b/1.png"): "cat",
    }
    without_header = write(tmp_path / "bare.csv", LABELS.partition("\n")[2])
    assert Folder(None, flat, without_header).content_hash == found.content_hash


def test_further_classes_make_images_of_several_labels(flat: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.csv", "a/1.png,cat,dog\na/2.png,dog\nb/1.png,\n")
    found = Folder(None, flat, labels)
    by_id = {sample.image_id: sample for sample in (found[i] for i in range(3))}
    assert all(sample.label is None for sample in by_id.values())
    assert by_id[path_id("a/1.png")].labels == (0, 1)
    assert by_id[path_id("a/2.png")].labels == (1,)
    assert by_id[path_id("b/1.png")].labels == ()
    assert not settings(flat, labels=labels).facts.generates


def test_prompts_give_the_classes_their_order_and_their_indices(
    animals: Path, tmp_path: Path
) -> None:
    text = 'class,prompt,index\ncat,"a cat, asleep",281\nfox,a fox,277\nbig_dog,a big dog,207\n'
    prompts = write(tmp_path / "prompts.csv", text)
    found = Folder(None, animals, None, prompts)
    assert found.class_names == ("cat", "fox", "big_dog")
    assert found.prompts == ("a cat, asleep", "a fox", "a big dog")
    assert found.condition_ids == (281, 277, 207)
    assert {found[i].label for i in range(5)} == {0, 2}
    more = [f"dataset.prompts={prompts}", "backbone=dit_xl2_512"]
    assert composed(animals, *more).dataset.label_spaces == ("open", "imagenet")
    with pytest.raises(UserError, match=r"a class index of ImageNet for each class"):
        composed(animals, "backbone=dit_xl2_512")


def test_the_ten_garments_by_name_have_the_order_of_fashion_mnist(tmp_path: Path) -> None:
    for name in FashionMNIST.class_names:
        save(tmp_path / "own" / name.replace(" ", "_").upper() / "1.png")
    config = compose_config(["dataset=folder", f"dataset.root={tmp_path / 'own'}"])
    found = load_dataset(config.dataset)
    assert found.class_names[-1] == "ANKLE_BOOT"
    assert found.class_names[0] == "T-SHIRT"
    assert config.dataset.label_spaces == ("open", "fashion")
    save(tmp_path / "own" / "hat" / "1.png")
    with pytest.raises(UserError, match=r"the ten of Fashion-MNIST by name"):
        compose_config(["dataset=folder", f"dataset.root={tmp_path / 'own'}"])


# What it is called.


def test_the_run_id_follows_the_content_and_not_the_place(animals: Path, tmp_path: Path) -> None:
    first = composed(animals)
    moved = animals.rename(tmp_path / "moved")
    second = composed(moved)
    assert run_id(second) == run_id(first)
    assert family_id(composed(moved, "dataset.limit=2")) == family_id(first)
    prompts = write(tmp_path / "p.csv", "cat,a cat\nbig_dog,a dog\n")
    again = write(tmp_path / "q.csv", "class,prompt\n cat, a cat\nbig_dog,a dog\n\n")
    with_prompts = run_id(composed(moved, f"dataset.prompts={prompts}"))
    assert with_prompts == run_id(composed(moved, f"dataset.prompts={again}"))
    assert with_prompts != run_id(first)
    save(moved / "cat" / "2.png", size=(50, 40))
    replaced = run_id(composed(moved))
    save(moved / "cat" / "4.png")
    assert len({run_id(first), with_prompts, replaced, run_id(composed(moved))}) == 4


def test_two_folders_have_two_names_in_every_table(animals: Path, tmp_path: Path) -> None:
    save(tmp_path / "other" / "cat" / "1.png")
    save(tmp_path / "other" / "dog" / "1.png")
    configs = [composed(animals), composed(tmp_path / "other")]
    names = [describing_columns(config)["dataset"] for config in configs]
    assert names == [f"folder:{config.dataset.fingerprint}" for config in configs]
    runs = [JointRun("0" * 16, resolved(config), 2, {}, {}) for config in configs]
    assert [JointRow(run).dataset for run in runs] == names
    assert runs[0].place != runs[1].place
    assert runs[0].group != runs[1].group


def test_an_index_counts_in_the_run_id_by_its_images(animals: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "one.txt", "cat/1.png\ncat/3.png\n")
    same = write(tmp_path / "same.txt", "\ncat/1.png\n  cat/3.png\n")
    other = write(tmp_path / "other.txt", "cat/3.png\ncat/1.png\n")
    ids = [run_id(composed(animals, f"dataset.index={path}")) for path in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert run_id(composed(animals)) not in ids
    by_id = write(tmp_path / "ids.txt", f"cat/1.png\n{path_id('cat/3.png')}\n")
    assert run_id(composed(animals, f"dataset.index={by_id}")) == ids[0], "files and ids are alike"


def test_a_run_does_not_start_with_images_that_changed_since_it_was_planned(
    animals: Path,
) -> None:
    config = settings(animals)
    save(animals / "cat" / "4.png")
    with pytest.raises(UserError, match=r"changed since the run was planned"):
        load_dataset(config)
    plain = config.model_dump(mode="json")
    assert plain["fingerprint"]
    with pytest.raises(ValidationError, match=rf"dataset\.fingerprint={plain['fingerprint']}: all"):
        DatasetConfig.model_validate(plain)


# Which images.


def test_an_index_chooses_and_orders_by_file_or_id(animals: Path, tmp_path: Path) -> None:
    text = f"cat/3.png\n{path_id('big_dog/1.png')}\ncat/1.png\n"
    index = write(tmp_path / "index.txt", text)
    chosen = load_dataset(settings(animals, index=index))
    expected = [path_id(f"{name}.png") for name in ("cat/3", "big_dog/1", "cat/1")]
    assert chosen.image_ids == expected
    assert load_dataset(settings(animals, index=index, limit=2)).image_ids == expected[:2]
    assert chosen.class_names == ("big_dog", "cat")
    with_limit = settings(animals, index=index, limit=2)
    assert load_reference(with_limit, "split").image_ids == expected
    assert load_reference(with_limit, "images").image_ids == expected[:2]


def test_all_images_are_taken_unless_a_limit_is_set(animals: Path, tmp_path: Path) -> None:
    assert composed(animals).dataset.num_images == 5
    assert composed(animals, "dataset.limit=2").dataset.num_images == 2
    index = write(tmp_path / "index.txt", "cat/3.png\n")
    assert composed(animals, f"dataset.index={index}").dataset.num_images == 1
    assert load_reference(composed(animals, "dataset.limit=2").dataset, "split").image_ids == (
        Folder(None, animals).image_ids
    )


# Mistakes.


def test_mistakes_in_the_folder_are_one_line(animals: Path, tmp_path: Path) -> None:
    assert "is no folder; allowed:" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no class folder; allowed:" in refusal(tmp_path / "empty")
    context = refusal(animals, limit=6)
    assert context.startswith("dataset.limit=6: allowed: null (all) or an integer from 1 to 5")
    (animals / "fox").mkdir()
    assert "fox holds no image; allowed:" in refusal(animals)
    write(animals / "fox" / "notes.txt", "")
    assert "fox holds no image; allowed:" in refusal(animals)
    for other in ("fox/1.gif", "1.gif", "labels.json"):
        write(animals / other, "")
        assert f"{other} is no image; allowed: images (bmp, jpg" in refusal(animals)
        (animals / other).unlink()
    save(animals / "fox" / "1.png")
    save(animals / "stray.png")
    assert "stray.png is in no class folder; allowed: one folder a class" in refusal(animals)


def test_a_link_to_a_folder_above_is_one_line_and_one_to_elsewhere_is_followed(
    animals: Path, tmp_path: Path
) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    (animals / "fox").symlink_to(tmp_path / "elsewhere")
    assert Folder(None, animals).class_names == ("big_dog", "cat", "fox")
    for place, target in (
        ("cat/loop", animals / "cat"),
        ("cat/up", animals),
        ("up", tmp_path),
        ("fox/cat", animals),
    ):
        (animals / place).symlink_to(target)
        assert f"{animals / place} is a link to a folder above it, {target};" in refusal(animals)
        (animals / place).unlink()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{LABELS}c/1.png,dog\n", "line 5: c/1.png is missing; allowed:"),
        (f"{LABELS}./a/1.png,dog\n", "line 5: ./a/1.png is listed twice; allowed:"),
        (f"{LABELS}../x.png,dog\n", "line 5: ../x.png is not below dataset.root; allowed:"),
        (f"{LABELS}a/1.txt,dog\n", "line 5: a/1.txt is no image; allowed: bmp"),
        ("a/1.png,cat,cat\n", "line 1: a/1.png has a class twice; allowed:"),
        (",cat\n", "line 1: names no file"),
        ("a/1.png\n", "no image has a class; allowed:"),
        ("file,class\n", "is empty; allowed:"),
        (f'{LABELS}\nb/1.png,"dog\nc/1.png,cat\n', "line 6: a quote is not closed, or text"),
        ('a/1.png,"cat\nb/1.png,cat"\n', "line 1: a quote is not closed, or text"),
        ('a/1.png,cat\na/2.png,"dog" 1\n', "line 2: a quote is not closed, or text follows it;"),
        ("a/1.png;cat\na/2.png;dog\n", "line 1: has semicolons between its cells; allowed:"),
        ("file\tclass\na/1.png\tcat\n", "line 1: has tabs between its cells; allowed:"),
        ("filename,label\na/1.png,cat\n", "line 1: filename is neither an image (bmp, jpg"),
        ("File,Class\na/1.png,cat\n", "nor the header; allowed: a header file,class or none"),
        ("class,file\ncat,a/1.png\n", "line 1: class is neither an image (bmp, jpg"),
    ],
)
def test_mistakes_in_the_labels_are_one_line(
    flat: Path, tmp_path: Path, text: str, reason: str
) -> None:
    labels = write(tmp_path / "labels.csv", text)
    line = refusal(flat, labels=labels)
    assert line.startswith(f"dataset.labels={labels}: ")
    assert reason in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cat,a cat\n", "class big_dog has no prompt; allowed:"),
        ("cat;a cat\nbig_dog;b\n", "line 1: has semicolons between its cells; allowed:"),
        ("cat,a\nbig_dog\tb\n", "line 2: has tabs between its cells; allowed:"),
        ("Class,Prompt\ncat,a cat\nbig_dog,b\n", "line 1: class Class with prompt Prompt looks"),
        ("prompt,class\na cat,cat\n", "looks like a header; allowed: class,prompt or none"),
        ('cat,"a cat\nbig_dog,b\n', "line 1: a quote is not closed, or text follows it;"),
        ("cat,a cat\nbig_dog,\n", "line 2: class big_dog has no prompt; allowed:"),
        ("cat,a cat\ncat,a dog\n", "line 2: class cat is listed twice; allowed:"),
        (
            "cat,a pet\nbig_dog,a pet\n",
            "two classes have the prompts `a pet` and `a pet`; allowed:",
        ),
        ("cat,a pet\nbig_dog,A  PET\n", "two classes have the prompts `a pet` and `A  PET`;"),
        ("cat,a\nCat,b\nbig_dog,c\n", "two classes have the names `cat` and `Cat`;"),
        ("cat,a cat,1000\nbig_dog,b,2\n", "class cat has 1000 after its prompt; allowed: a class"),
        ("cat,a cat, asleep\nbig_dog,b\n", "class cat has asleep after its prompt; allowed:"),
        ("cat,a cat,7\nbig_dog,b\n", "class big_dog has no class index; allowed:"),
        ("cat,a cat,7\nbig_dog,b,7\n", "two classes have the class indices `7` and `7`;"),
    ],
)
def test_mistakes_in_the_prompts_are_one_line(
    animals: Path, tmp_path: Path, text: str, reason: str
) -> None:
    prompts = write(tmp_path / "prompts.csv", text)
    line = refusal(animals, prompts=prompts)
    assert line.startswith(f"dataset.prompts={prompts}: ")
    assert reason in line


def test_names_that_a_text_encoder_sees_alike_are_refused(animals: Path, tmp_path: Path) -> None:
    save(animals / "Cat" / "1.png")
    line = refusal(animals)
    assert line.startswith(f"dataset.root={animals}: two classes have the names `Cat` and `cat`;")
    labels = write(tmp_path / "labels.csv", "cat/1.png,big  dog\ncat/2.png,Big dog\n")
    line = refusal(animals, labels=labels)
    assert line.startswith(f"dataset.labels={labels}: two classes have the names `Big dog` and")


def test_one_class_is_enough_to_generate_and_not_to_classify(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "own" / "images" / f"{number}.png")
    with pytest.raises(UserError, match=r"at least two classes .*; here are 3 images of images$"):
        composed(tmp_path / "own")
    config = composed(tmp_path / "own", "task=generation", "task.extractor=inception")
    assert config.dataset.num_images == 3


def test_a_run_needs_a_folder_and_only_a_folder_has_labels(flat: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.root=null: allowed: a folder, because"):
        plan_runs(["dataset=folder", "backbone=sd20"])
    for key in ("labels", "prompts"):
        with pytest.raises(UserError, match=rf"dataset\.{key}=x\.csv: allowed: null, because"):
            compose_config([f"+dataset.{key}=x.csv"])
    assert compose_config(["task=efficiency", "dataset=folder"]).dataset.root is None


def test_a_damaged_image_is_found_when_it_is_read(animals: Path) -> None:
    (animals / "cat" / "2.png").write_bytes(b"nothing")
    config = settings(animals)
    assert len(load_dataset(config)) == 5


def test_images_of_several_labels_are_not_generated(flat: Path, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.csv", "a/1.png,cat,dog\na/2.png,dog\n")
    with pytest.raises(UserError, match=r"dataset=folder: allowed: a dataset whose images have"):
        compose_config(
            [
                *("dataset=folder", f"dataset.root={flat}", f"dataset.labels={labels}"),
                *("backbone=sd20", "task=generation"),
            ]
        )
