"""Figures of the documents that a script prints, and where the measured files were made."""

import csv
import datetime
import re
from pathlib import Path

import pytest
import race_rules
import saved_flops
import timing

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "results" / "benchmarks").glob("*.csv"))


def lines_of(name: str) -> list[str]:
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8").splitlines()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_measured_file_says_at_which_commit_when_and_where(path: Path) -> None:
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert tuple(rows[0])[-len(timing.CONDITIONS) :] == timing.CONDITIONS
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{12}\+?", row["commit"])
        assert datetime.datetime.fromisoformat(row["made"]).tzinfo is not None
        assert all(row[name] for name in timing.CONDITIONS)


def test_every_measured_file_is_named_in_a_document() -> None:
    """So that none is left behind when its document goes."""
    pages = [ROOT / "results" / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "".join(path.read_text("utf-8") for path in pages)
    assert len(FILES) > 10
    assert [path.name for path in FILES if path.name not in text] == []


def test_races_over_recorded_errors_are_those_of_the_document(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert race_rules.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + len(race_rules.RULES)
    assert set(printed) <= set(lines_of("racing"))


def test_kept_keys_and_values_are_those_of_the_document() -> None:
    total = saved_flops.forward("sd20")
    found = list(saved_flops.kept("sd20"))
    assert [own for own, _ in found[:2]] == 2 * [2 * 2 * 77 * 1024 * (5 * 320 + 5 * 640 + 6 * 1280)]
    row = next(line for line in lines_of("efficiency") if line.startswith("| `sd20`, "))
    shares = [tuple(map(float, each)) for each in re.findall(r"([\d.]+) % with ([\d.]+) GB", row)]
    assert shares == [(round(100 * own / total, 2), round(size / 1e9, 2)) for own, size in found]


def test_what_is_computed_once_for_all_classes_is_that_of_the_document() -> None:
    parts = saved_flops.shared("sd20")
    giga = [f"{count / 1e9:.2f} G" for count in parts.values()]
    assert giga == ["0.09 G", "15.10 G", "0.84 G", "24.83 G", "0.84 G"]
    text = " ".join(lines_of("efficiency"))
    assert [each for each in giga if f"({each})" not in text] == []
    assert f"{sum(parts.values()) / 1e9:.1f} G of 804.26 G" in text
    assert saved_flops.shared("sdxl") == {}
