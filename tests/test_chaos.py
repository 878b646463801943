"""`make chaos` finds lost, doubled and repeated work, and files that came out different."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def chaos() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chaos", ROOT / "scripts" / "chaos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "0123456789abcdef" / "journal-0of1.jsonl"
    path.parent.mkdir(parents=True)
    return path


def lines(*images: int) -> str:
    return "".join(f'{{"image_id": {image}}}\n' for image in images)


def work(journal: Path, *images: int) -> None:
    with (journal.parents[2] / "work.txt").open("a") as handle:
        handle.writelines(f"{image}\n" for image in images)


def test_the_image_in_flight_may_be_lost_once_and_evaluated_again(
    chaos: ModuleType, journal: Path
) -> None:
    ledger = chaos.Ledger(journal.parents[2])
    journal.write_text(lines(5, 3) + '{"image_id"')
    work(journal, 5, 3, 9)
    assert ledger.account(1) == 1
    journal.write_text(lines(5, 3, 9, 7))
    work(journal, 9, 7)
    assert ledger.account(0) == 0


@pytest.mark.parametrize(
    ("now", "given", "batch", "message"),
    [
        (lines(3), (), 1, "gone or was changed"),
        (lines(5, 3, 8, 8), (8,), 1, r"two records of images \[8\]"),
        (lines(5, 3, 8), (3, 8), 1, r"images \[3\] were evaluated again"),
        (lines(5, 3, 8), (8, 8), 1, r"images \[8\] were evaluated again"),
        (lines(5, 3), (8, 9), 1, r"images \[8, 9\] were evaluated in vain"),
        (lines(5, 3), (8,), 0, r"images \[8\] were evaluated in vain"),
    ],
)
def test_a_fault_after_a_restart_is_found(
    chaos: ModuleType, journal: Path, now: str, given: tuple[int, ...], batch: int, message: str
) -> None:
    ledger = chaos.Ledger(journal.parents[2])
    journal.write_text(lines(5, 3))
    work(journal, 5, 3)
    assert ledger.account(0) == 0
    journal.write_text(now)
    work(journal, *given)
    with pytest.raises(SystemExit, match=message):
        ledger.account(batch)


def test_files_that_are_other_or_missing_are_named(chaos: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "other"):
        images = tmp_path / name / "runs" / "a" / "images"
        images.mkdir(parents=True)
        (images / "000000.png").write_bytes(b"image")
        (images.parent / "samples.csv").write_bytes(b"rows")
        (images.parent / "manifest.json").write_bytes(name.encode())
    assert chaos.differences(tmp_path / "one", tmp_path / "other") == []
    (tmp_path / "other" / "runs" / "a" / "images" / "000000.png").write_bytes(b"Image")
    (tmp_path / "one" / "runs" / "a" / "samples.csv").unlink()
    assert chaos.differences(tmp_path / "one", tmp_path / "other") == [
        *("runs/a/images/000000.png", "runs/a/samples.csv"),
    ]
