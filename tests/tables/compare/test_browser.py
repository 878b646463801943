"""The page in a real browser: nothing is wider than it, on any screen, and images are drawn."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.figures.paired_scores import draw_scores, png_of
from bigain.runs.compare import compare_all
from bigain.runs.pairing import FinishedRun
from bigain.tables.compare_page import render_comparison
from bigain.tables.compare_pictures import dataset_pictures

pytestmark = pytest.mark.slow

TELL = (
    "const broken = [...document.images].filter((each) => !each.naturalWidth).length;"
    "document.title = `${document.documentElement.scrollWidth} ${innerWidth} ${broken}`;"
)


@pytest.mark.parametrize("width", [500, 1200])
def test_all_of_it_fits_and_every_image_is_drawn(
    width: int,
    classify: Callable[..., FinishedRun],
    program: Callable[..., str],
    tmp_path: Path,
) -> None:
    browser = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    runs = [
        classify(wrong=dict.fromkeys(range(n), 0.0), name="tome", ratio=ratio)
        for n, ratio in ((5, 0.3), (9, 0.7))
    ]
    runs.append(classify(name="none"))
    drawings = [png_of(draw_scores(run, runs[-1], ("A", "B"))) for run in runs[:-1]]
    whole = render_comparison(runs, compare_all(runs), drawings, dataset_pictures(runs))
    assert "<script" not in whole
    page = tmp_path / "page.html"
    allowed = whole.replace(
        "default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';"
    )
    page.write_text(allowed.replace("</body>", f"<script>{TELL}</script></body>"), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--proxy-server=127.0.0.1:9"]
    command += [f"--window-size={width},900", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (found,) = re.findall(r"<title>(\d+) (\d+) (\d+)</title>", done.stdout)
    content, inner, broken = map(int, found)
    assert content <= inner
    assert broken == 0
