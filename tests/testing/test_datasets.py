import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from bigain.data.base import Dataset
from bigain.data.coco import Coco
from bigain.data.files import PublishedFiles
from bigain.data.imagenet import ImageNet1K, ImageNet100
from bigain.data.images import UnreadableImage
from bigain.data.pets import Pets
from bigain.testing.datasets import ODDITIES, TINY, TRUNCATED, write_tiny

LOADERS: dict[str, type[PublishedFiles]] = {
    "pets": Pets,
    "imagenet1k": ImageNet1K,
    "imagenet100": ImageNet100,
    "coco2017": Coco,
}


def unreadable(dataset: Dataset) -> list[int]:
    found = []
    for position in range(len(dataset)):
        try:
            assert dataset[position].image.shape[2] == 3
        except UnreadableImage:
            found.append(position)
    return found


def test_there_is_one_of_every_layout() -> None:
    assert set(TINY) == set(LOADERS)


@pytest.mark.parametrize("name", TINY)
def test_it_is_read_as_the_real_one_with_one_broken_image(name: str, tmp_path: Path) -> None:
    count = write_tiny(name, tmp_path)
    dataset = LOADERS[name](count, tmp_path)
    assert len(dataset) == count > TRUNCATED
    assert unreadable(dataset) == [TRUNCATED]


@pytest.mark.parametrize("name", TINY)
def test_the_oddities_come_first_in_the_order(name: str, tmp_path: Path) -> None:
    dataset = LOADERS[name](write_tiny(name, tmp_path), tmp_path)
    files = [dataset.folder / entry.file for entry in dataset.entries]
    kinds = []
    for path in files[:6]:
        with Image.open(path) as image:
            kinds.append((image.format, image.mode))
    assert kinds[:4] == [("PNG", "RGBA"), ("JPEG", "L"), ("JPEG", "CMYK"), ("JPEG", "RGB")]
    assert kinds[4:] == [("JPEG", "RGB")] * 2, "the header of the cut one is whole"
    assert dataset[3].image.shape == (2, 3, 3)
    assert set(ODDITIES) == set(range(5))
    assert all(path.suffix in (".jpg", ".JPEG") for path in files)


def test_writing_twice_gives_the_same_dataset(tmp_path: Path) -> None:
    hashes = []
    for place in ("a", "a", "b"):
        write_tiny("pets", tmp_path / place)
        hashes.append(Pets(37, tmp_path / place).content_hash)
    assert len(set(hashes)) == 1


def test_classes_look_different(tmp_path: Path) -> None:
    write_tiny("imagenet100", tmp_path)
    dataset = ImageNet100(20, tmp_path)
    colours = {tuple(dataset[i].image.mean(axis=(0, 1)).round(-1)) for i in range(5, 20)}
    assert len(colours) > 10


def test_the_script_writes_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Path(__file__).parents[2] / "scripts" / "make_tiny_datasets.py"
    monkeypatch.setattr(
        sys, "argv", [str(script), str(tmp_path), "--dataset=pets", "--dataset=coco2017"]
    )
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == ["pets", "coco2017"]
    assert "use dataset.limit=37 or less" in told[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco", "oxford-iiit-pet"]
    assert len(Coco(12, tmp_path)) == 12
