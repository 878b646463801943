"""Figures of the documents that a script prints, and where the measured files were made."""

import csv
import datetime
import re
import shutil
import statistics
from collections import defaultdict
from pathlib import Path

import page
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


def test_the_page_is_that_of_the_measured_files(tmp_path: Path) -> None:
    assert set(page.SECTIONS) <= {path.stem for path in FILES}
    for path in FILES:
        shutil.copy(path, tmp_path)
    page.write_page(tmp_path)
    made, committed = tmp_path / "README.md", FILES[0].parent / "README.md"
    assert made.read_text("utf-8") == committed.read_text("utf-8")


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


def measured(name: str) -> list[dict[str, str]]:
    path = ROOT / "results" / "benchmarks" / f"{name}.csv"
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def times_as_fast(name: str, other: str = "plain loop") -> dict[tuple[str, str], list[float]]:
    """(backbone, variant) -> its speed over that of another, round by round of each process."""
    seconds: dict[tuple[str, str], dict[tuple[str, str], float]] = defaultdict(dict)
    for row in measured(name):
        if int(row["process"]) >= 0:  # the others chose the sizes of batches
            turn = row["process"], row["round"]
            assert turn not in seconds[row["backbone"], row["variant"]]
            seconds[row["backbone"], row["variant"]][turn] = float(row["seconds"])
    found = {}
    for (backbone, variant), own in seconds.items():
        theirs = seconds.get((backbone, other), {})
        found[backbone, variant] = [theirs[turn] / own[turn] for turn in own if turn in theirs]
    return found


def spread_of(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})"


def table_after(name: str, header: str) -> list[list[str]]:
    """The cells of the one table with this header."""
    lines = lines_of(name)
    assert lines.count(header) == 1
    start = lines.index(header) + 2
    end = next(n for n in range(start, len(lines)) if not lines[n].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]


MINI = ("mini_unet", "mini_dit")
VARIANTS = {
    "ours": "ours",
    "ours, linear layers by MKL": "linear layers by MKL",
    "ours, freed memory not kept": "memory not kept",
    "plain loop, freed memory kept": "plain loop, memory kept",
    "`compile=true`": "compile",
    "`compile=true`, linear layers by MKL": "compile, linear layers by MKL",
    "`dtype=bfloat16`": "bfloat16",
    "`compile=true dtype=bfloat16`": "compile + bfloat16",
}
"""A row of the document -> its variant in the file."""


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("engine", "| | mini U-Net | mini DiT |"),
        ("engine_xeon", "| times the plain loop | U-Net | DiT |"),
    ],
)
def test_the_engine_s_speeds_are_those_of_its_file(name: str, header: str) -> None:
    found, rows = times_as_fast(name), table_after("hardware", header)
    compared = 0
    for label, *cells in rows:
        if label.startswith("Xeon without bf16"):  # of an older commit, which the page names
            continue
        variant = VARIANTS[label.removeprefix("Xeon with AMX: ")]
        assert cells == [spread_of(found[backbone, variant]) for backbone in MINI], label
        compared += 1
    assert compared >= 4


def test_speeds_beside_other_variants_are_those_of_the_file() -> None:
    kept = times_as_fast("engine", "plain loop, memory kept")
    six = [
        f"{statistics.median(kept[backbone, variant]):.2f}"
        for variant in ("ours", "compile", "compile + bfloat16")
        for backbone in MINI
    ]
    text = " ".join("\n".join(lines_of("hardware")).split())
    sentence = text.partition("Beside the loop that keeps freed memory")[2].partition(" No gain")[0]
    assert re.findall(r"\d\.\d\d", sentence) == six
    plain = times_as_fast("engine")
    four = [
        f"{statistics.median(plain[backbone, variant]):.3f}"
        for backbone in MINI
        for variant in ("one image a time", "ours")
    ]
    sentence = text.partition("the row `one image a time`")[2].partition(" on the DiT.")[0]
    assert re.findall(r"\d\.\d{3}", sentence) == four
    rows = table_after(
        "efficiency", "| channels_last over the same without it | mini U-Net | mini DiT |"
    )
    for (_, *cells), (other, variant) in zip(
        rows, {"ours": "channels_last", "compile": "compile + channels_last"}.items(), strict=True
    ):
        found = times_as_fast("engine", other)
        assert cells == [spread_of(found[backbone, variant]) for backbone in MINI]


def test_decisions_in_bfloat16_are_those_of_their_file() -> None:
    rows = {row["backbone"]: row for row in measured("precision")}
    unet, dit = (rows[each]["equal_predictions"] for each in MINI)
    assert {row["images"] for row in rows.values()} == {"500"}
    text = " ".join("\n".join(lines_of("hardware")).split())
    assert f"predicts {unet} of the first 500 test images" in text
    assert f"on the U-Net, and {dit} on the DiT ([precision.csv]" in text


def test_races_are_those_of_their_file() -> None:
    header = next(line for line in lines_of("racing") if line.startswith("| backbone, z |"))
    shown = [cells for cells in table_after("racing", header) if "published" not in cells[0]]
    rows = {(row["backbone"], float(row["z"])): row for row in measured("racing")}
    names = {"mini U-Net": "mini_unet", "mini DiT": "mini_dit"}
    seen = set()
    for first, *cells in shown:
        name, z = first.split(", ")
        row = rows[names[name], float(z)]
        seen.add((names[name], float(z)))
        columns = (
            *("evaluations", "evaluations_p10", "evaluations_p90", "share", "rounds", "acc1"),
            *("staged_acc1", "difference", "ci_low", "ci_high", "gained", "lost"),
            *("same_decision", "same_low", "same_high", "spent"),
        )
        expected = [float(row[column]) for column in columns]
        expected[3] *= 100
        text = re.sub(r"(\d)-(\d)", r"\1 \2", " ".join(cells))
        numbers = re.findall(r"[-+]?\d+(?:\.\d+)?", text)
        assert len(numbers) == len(expected)
        for number, value in zip(numbers, expected, strict=True):
            half = 0.5 * 10 ** -len(number.partition(".")[2])
            assert abs(float(number) - value) <= half + 1e-9, (first, number, value)
    assert seen == set(rows)


def test_speeds_at_full_size_are_those_of_their_file() -> None:
    text, found = " ".join(lines_of("efficiency")), times_as_fast("full_size")
    shown = [("sd20", "ours"), ("dit_xl2_512", "ours"), ("sd20", "no sharing")]
    for key in shown:
        assert spread_of(found[key]).replace("-", " to ") in text, key
    own = [row for row in measured("full_size") if (row["backbone"], row["variant"]) == shown[0]]
    seconds = statistics.median(float(row["seconds"]) for row in own)
    assert {row["classes"] for row in own} == {"3"}
    assert f"({seconds:.1f} s for three, commit {own[0]['commit'][:7]}" in text
    assert f"about {seconds / 3:.0f} s per forward of one image" in text
