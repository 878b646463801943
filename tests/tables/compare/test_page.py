"""The page of `bigain compare`: its numbers, its texts, and what it loads."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.metrics import image_errors, paired_accuracy, paired_difference, relative_rise
from bigain.runs.compare import compare_all
from bigain.runs.pairing import FinishedRun
from bigain.tables.compare_page import check_number, render_comparison, settings
from bigain.tables.compare_pictures import dataset_pictures

Make = Callable[..., FinishedRun]

DRAWING = b"\x89PNG"


def page_of(runs: Sequence[FinishedRun]) -> str:
    pictures = None if runs[0].is_generation else dataset_pictures(runs)
    drawings = [DRAWING] * (len(runs) - 1)
    return render_comparison(runs, compare_all(runs), drawings, pictures)


def numbers(page: str) -> dict[tuple[str, str], list[float]]:
    """(run, metric) -> the numbers in its line of the paired differences."""
    lines = re.findall(r'<tr data-run="(\w+)" data-metric="(\w+)">(.*?)</tr>', page)
    return {
        (run, metric): [float(value) for value in re.findall(r'data-value="([^"]+)"', line)]
        for run, metric, line in lines
    }


def test_differences_are_those_of_the_records(classify: Make) -> None:
    a = classify(wrong={1: -0.1, 2: -0.5, 3: 0.0}, name="tome")
    b = classify(wrong={3: 0.0, 5: -0.2}, name="none")
    left, right = (run.samples.set_index("image_id") for run in (a, b))
    accuracy = paired_accuracy(left["correct"], right["correct"])
    rise = relative_rise(image_errors(a.samples), image_errors(b.samples))
    page = page_of([a, b])
    assert numbers(page) == {
        (a.run_id, "acc1"): pytest.approx([100 * accuracy.mean, accuracy.p]),
        (a.run_id, "eps_error_rise"): pytest.approx([100 * rise.mean, rise.p]),
    }
    interval = f"{100 * accuracy.mean:+.2f} [{100 * accuracy.ci_low:+.2f}, "
    assert interval.replace("-", "−") in page


def test_p_values_of_several_runs_are_corrected(classify: Make) -> None:
    wrong = [dict.fromkeys(range(n), 0.0) for n in (9, 12)]
    runs = [classify(wrong=w, name="tome", ratio=r) for w, r in zip(wrong, (0.5, 0.7), strict=True)]
    runs.append(classify(name="none"))
    found = numbers(page_of(runs))
    first, second = (found[run.run_id, "acc1"] for run in runs[:2])
    assert second[1] < first[1], "more errors"
    assert second[2] == pytest.approx(2 * second[1])
    assert first[2] == pytest.approx(first[1])


def test_without_an_image_of_all_runs_none_is_said_to_be_alike(classify: Make) -> None:
    runs = [classify(name="tome", ratio=ratio) for ratio in (0.5, 0.7)]
    halves = [runs[0].samples.iloc[:9], runs[1].samples.iloc[9:]]
    runs = [replace(run, samples=half) for run, half in zip(runs, halves, strict=True)]
    runs.append(classify(name="none"))
    page = page_of(runs)
    assert "All runs have 0 images in common" in page
    assert "the same class for each image" not in page
    assert "the same class for each image" in page_of(runs[1:])


def test_metrics_are_those_of_the_run(classify: Make) -> None:
    a, b = classify(wrong={1: -0.1}, name="tome"), classify(name="none")
    page = page_of([a, b])
    (line,) = re.findall(r'<tr><th scope="row">acc1</th>(.*?)</tr>', page)
    values = re.findall(r'<td class="text">([\d.]+) <small>\[([\d.]+), ([\d.]+)\]', line)
    found = [run.archive.metrics(run.run_id)["acc1"] for run in (a, b)]
    expected = [(each.value, each.ci_low, each.ci_high) for each in found]
    assert values == [tuple(f"{number:.2f}" for number in of) for of in expected]
    assert line.count("n = 20") == 2


def test_an_image_has_the_prediction_and_margin_of_each_run(classify: Make) -> None:
    a = classify(wrong={4: -0.25}, name="tome")
    b = classify(name="none")
    (card,) = re.findall(r'<li class="card">(.*?)</li>', page_of([a, b]), re.DOTALL)
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", card)).split()
    label = int(a.samples["label"][4])
    names = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker"]
    names += ["bag", "ankle boot"]
    expected = f"{names[label]} {a.samples['image_id'][4]} A ✗ {names[(label + 1) % 10]} −0.250 "
    assert " ".join(words) == f"{expected}B ✓ {names[label]} +0.0140"
    assert card.count('src="data:image/png;base64,') == 1


def test_only_settings_that_differ_stand_in_the_first_table(classify: Make) -> None:
    a, b = classify(name="tome"), classify(name="none")
    found = {each.key: each.values for each in settings([a, b]) if each.differs}
    assert found["operator.name"] == ("tome", "none")
    assert found["operator.ratio"] == ("0.7", "—")
    assert not [key for key in found if not key.startswith("operator.")]
    assert not [each.key for each in settings([a, b]) if "paths" in each.key]


def test_a_setting_at_its_neutral_value_is_one_that_is_not_there(classify: Make) -> None:
    a = classify(name="tome", ratio=0.5, draws="paired")
    b = classify(name="tome", ratio=0.7)
    assert {each.key for each in settings([a, b]) if each.differs} == {"operator.ratio"}


def test_the_page_loads_nothing(classify: Make, generate: Make, tmp_path: Path) -> None:
    a, b = classify(wrong={4: -0.25}, name="tome"), classify(name="none")
    generated = [generate({0: 10, 1: 90, 2: 3, 3: 4}, name=name) for name in ("tome", "none")]
    for page in (page_of([a, b]), page_of(generated)):
        addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
        assert addresses
        assert all(address.startswith(("data:image/", "#")) for address in addresses)
        assert not re.search(r"https?://|<script|@import|url\(", page)
        assert str(tmp_path) not in page
    assert page_of([a, b]) == page_of([a, b])


def test_names_are_text(generate: Make) -> None:
    runs = [generate({0: 10, 1: 90}, name=name) for name in ("tome", "none")]
    page = page_of(runs)
    assert "bag <b>" not in page
    assert "bag <b>" in unescape(page)


def test_generated_images_stand_side_by_side(generate: Make) -> None:
    a = generate({i: 10 + 5 * i for i in range(8)}, name="tome")
    b = generate({i: 90 + i for i in range(8)}, name="none")
    page = page_of([a, b])
    values = [run.samples.set_index("image_id")["frechet_value"] for run in (a, b)]
    difference = paired_difference(*values)
    key = (a.run_id, "frechet_mini")
    assert numbers(page) == {key: pytest.approx([difference.mean, difference.p])}
    cards = re.findall(r'<li class="card">(.*?)</li>', page, re.DOTALL)
    assert [card.count("data:image/png") for card in cards] == [2] * 8
    assert "no-images" not in page


def test_a_page_has_a_letter_for_each_run() -> None:
    check_number(26)
    with pytest.raises(UserError, match=r"^--html: 27 runs; allowed: at most 26"):
        check_number(27)
