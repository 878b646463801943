"""The local dashboard in a real browser, without network: it lists, compares and tells the numbers.

The pictures of docs/tracking.md are made by these tests, in the folder that PICTURES names:

    PICTURES=docs/images make test-slow ARGS=tests/tracking/test_dashboard_page.py
"""

import csv
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from bigain.runs.archive import Archive
from bigain.runs.files import read_csv
from bigain.tracking.pictures import hardest_images
from bigain.tracking.view import View
from tests.tracking.chromium import Chromium

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUNS = ("1a2b9bce185c7456", "db8ff76f3eadc01e", "ebfe236c608d6e69")
"""Committed runs: ToDo, ToMe and L-GTM on the small U-Net."""

CELLS = (
    "[...document.querySelectorAll('{}')].map(row => [...row.cells].map(c => c.innerText.trim()))"
)
TABLES = (
    "[...document.querySelectorAll('table')].map(table => [...table.tBodies[0].rows]"
    ".map(row => [...row.cells].map(c => c.innerText.trim())))"
)
CLICK = (
    "[...document.querySelectorAll('label')].find(e => e.innerText.trim() === '{}')"
    ".querySelector('input').click()"
)
CURVES = (("none", ""), ("tome", ""), ("lgtm", "laplacian_l1"), ("abm", "laplacian_l1"))
"""Operators of the curves, with their scores."""

LEGEND = "[...document.querySelectorAll('.legend-label')].map(e => e.innerText.trim())"
INKED = """[...document.querySelectorAll('.plot-container canvas')].map(canvas => {
    const plot = canvas.closest('.plot-container');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4) colours.add(data.slice(at, at + 3).join());
    return [plot.dataset.metric, colours.size];
})"""


@contextmanager
def served(results: Path, *runs: str) -> Iterator[Iterator[str]]:
    """The lines that `bigain dashboard` prints about these committed runs, while it serves them."""
    (results / "mini").symlink_to(ROOT / "results" / "mini")
    command = [sys.executable, "-m", "bigain", "dashboard", *runs, "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TRACKIO_DIR", None)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as serving:
        assert serving.stdout is not None
        yield iter(serving.stdout.readline, "")
        serving.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the local page with `RUNS`, without what follows the host and port."""
    with served(tmp_path_factory.mktemp("results"), *RUNS) as lines:
        yield next(line for line in lines if line.startswith("http")).partition("?")[0].rstrip("/")


@pytest.fixture
def browser(program: Callable[..., str], tmp_path: Path) -> Iterator[Chromium]:
    name = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    with Chromium(name, tmp_path / "profile", (1200, 1250)) as opened:
        yield opened


@pytest.fixture
def names() -> dict[str, str]:
    """Run id -> the name of the run on the page."""
    archive = Archive(ROOT / "results", "mini")
    manifests = {run: archive.manifest(run) for run in RUNS}
    return {
        run: f"{View.of(run, manifest['config']).name} {run[:8]}"
        for run, manifest in manifests.items()
        if manifest is not None
    }


@pytest.fixture
def expected() -> dict[str, dict[str, list[float]]]:
    """Run id -> metric -> value, interval and n, as runs.csv has them."""
    found: dict[str, dict[str, list[float]]] = {run: {} for run in RUNS}
    with (ROOT / "results" / "mini" / "runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["run_id"] in found:
                numbers = [float(row[key]) for key in ("value", "ci_low", "ci_high", "n")]
                found[row["run_id"]][row["metric"]] = numbers
    return found


def take(browser: Chromium, name: str, tmp_path: Path, height: int = 10_000) -> None:
    """Take a picture for the docs, in PICTURES; and see that it is none of an empty page."""
    from PIL import Image  # noqa: PLC0415 -- most tests need no pictures

    path = Path(os.environ.get("PICTURES") or tmp_path) / f"dashboard_{name}.png"
    browser.picture(path)
    with Image.open(path) as picture:
        upper = picture.crop((0, 0, picture.width, min(height, picture.height)))
        small: Any = upper.convert("RGB").quantize(256)
    small.save(path, optimize=True)
    assert len(small.getcolors()) > 20
    assert path.stat().st_size < 150_000


def test_the_runs_are_listed(
    address: str,
    browser: Chromium,
    names: dict[str, str],
    expected: dict[str, dict[str, list[float]]],
) -> None:
    browser.open(f"{address}/runs?project=bigain")
    browser.wait("document.querySelectorAll('tbody tr').length === 3")
    rows = browser.value(CELLS.format("tbody tr"))
    listed = {row[2]: float(row[4]) for row in rows}
    assert listed == {names[run]: expected[run]["acc1"][3] for run in RUNS}


def test_two_runs_are_compared(
    address: str, browser: Chromium, names: dict[str, str], tmp_path: Path
) -> None:
    _, tome, lgtm = RUNS
    metrics = ("acc1", "eps_error_rise", "flops_g", "margin_mean", "margin_variance")
    asked = {"project": "bigain", "runs": f"{names[tome]},{names[lgtm]}", "smoothing": "0"}
    query = urlencode({**asked, "metrics": ",".join((*metrics, "running_acc1"))})
    browser.open(f"{address}/?{query}")
    browser.wait("document.querySelectorAll('.legend-label').length === 12")
    # What is out of sight is not drawn.
    browser.wait("document.querySelectorAll('.plot-container canvas').length === 6")
    colours = dict(browser.value(INKED))
    assert set(colours) == {*metrics, "running_acc1"}
    assert min(colours.values()) > 10
    take(browser, "metrics", tmp_path)
    browser.value(CLICK.format("Show run comparer"))
    browser.wait("document.querySelector('.comparer-table')")
    browser.value(CLICK.format("Diff only"))
    browser.wait("![...document.querySelectorAll('td')].some(e => e.title === 'batch_size')")
    heads = browser.value("[...document.querySelectorAll('th')].map(e => e.innerText.trim())")
    assert set(heads[1:]) == {names[tome], names[lgtm]}
    rows = {row[0]: row[1:] for row in browser.value(CELLS.format(".comparer-table tbody tr"))}
    at = heads.index(names[tome]) - 1
    assert rows["operator.name"][at] == "tome"
    assert rows["operator.name"][1 - at] == "lgtm"
    assert "backbone.name" not in rows
    take(browser, "compare", tmp_path)


def test_the_numbers_are_those_of_the_csv(
    address: str,
    browser: Chromium,
    names: dict[str, str],
    expected: dict[str, dict[str, list[float]]],
    tmp_path: Path,
) -> None:
    run = RUNS[1]
    browser.open(f"{address}/media?{urlencode({'project': 'bigain', 'runs': names[run]})}")
    browser.wait("document.querySelectorAll('table').length === 2")
    (hardest,), (table,) = (
        [rows for rows in browser.value(TABLES) if ("acc1" in [row[0] for row in rows]) == has]
        for has in (False, True)
    )
    records = read_csv(Archive(ROOT / "results", "mini").samples_path(run))
    assert [int(row[0]) for row in hardest] == [row[0] for row in hardest_images(records)]
    shown = {row[0]: [float(cell) for cell in row[1:5]] for row in table}
    flops, *_ = shown.pop("flops_g")
    assert shown == expected[run]
    assert math.isclose(flops, 0.288908352)
    browser.wait("[...document.images].length && [...document.images].every(e => e.naturalWidth)")
    take(browser, "tables", tmp_path)


def test_nothing_is_asked_of_another_machine(address: str, browser: Chromium) -> None:
    browser.open(f"{address}/?project=bigain")
    browser.wait("document.querySelectorAll('.plot-container canvas').length > 3")
    asked = browser.value("performance.getEntriesByType('resource').map(each => each.name)")
    assert {urlsplit(each).hostname for each in asked} == {"127.0.0.1"}
    assert len(asked) > 5


def test_accuracy_is_drawn_against_ratio(browser: Chromium, tmp_path: Path) -> None:
    """The address that the verb prints; the baseline, and up to two ratios of three operators."""
    asked, runs = ("mini_unet", "fashion_mnist", "classification"), set()
    with (ROOT / "results" / "mini" / "runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = tuple(row[key] for key in ("backbone", "dataset", "task"))
            operator = (row["operator"], row["score"])
            if (place, row["n"]) == (asked, "400") and operator in CURVES:
                runs |= {row["run_id"]} if row["scope"] in ("", "self") else set()
    assert len(runs) == 6
    with served(tmp_path, *sorted(runs)) as lines:
        question = "Accuracy against ratio: "
        browser.open(next(line for line in lines if line.startswith(question))[len(question) :])
        browser.wait("document.querySelectorAll('.legend-label').length === 3")
        browser.wait("document.querySelectorAll('.plot-container canvas').length === 1")
        ((metric, colours),) = browser.value(INKED)
        assert (metric, colours > 10) == ("acc1", True)
        names = browser.value(LEGEND)
        assert {name.rpartition(" ")[0] for name in names} == {
            "mini_unet fashion_mnist tome n=400",
            "mini_unet fashion_mnist lgtm score=laplacian_l1 n=400",
            "mini_unet fashion_mnist abm score=laplacian_l1 n=400",
        }
        take(browser, "curves", tmp_path, height=540)
