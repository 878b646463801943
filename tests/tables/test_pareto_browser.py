"""The page of `bigain pareto` in a real browser: it draws, and follows the reader's choice."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bigain.metrics import Metric
from bigain.runs.pareto import Group, Point
from bigain.tables.pareto_page import render_pareto

pytestmark = pytest.mark.slow

Visit = Callable[..., str]
VALUES = {"none": (4.0, 80.0), "tome": (2.0, 70.0), "lgtm": (2.5, 65.0), "todo": (3.0, 75.0)}


def group(backbone: str, size: int) -> Group:
    """ToMe dominates L-GTM in accuracy; the others are on the front."""
    points = [
        Point(
            name,
            f"{name} ratio=0.5",
            {"classification": name},
            {
                "flops_g": Metric.exact("flops_g", flops, "GFLOPs"),
                "acc1": Metric("acc1", right, 40, right - 2, right + 2, "percent"),
                "recall": Metric("recall", flops / 10, 40, 0.1, 0.5, "share"),
            },
            {"operator": {"name": name, "ratio": 0.5}, "backbone": {"sites": None}},
        )
        for name, (flops, right) in list(VALUES.items())[:size]
    ]
    return Group(backbone, "fashion_mnist", 0, {"classification": "40 images"}, points)


@pytest.fixture
def visit(program: Callable[..., str], tmp_path: Path) -> Visit:
    """The page as it is after its script ran at an address, and after `then`, a further script."""
    browser = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    page = tmp_path / "pareto.html"
    whole = render_pareto([group("mini_dit", 4), group("mini_unet", 2)], "mini")

    def dom(fragment: str = "", then: str = "") -> str:
        page.write_text(whole.replace("</body>", f"<script>{then}</script></body>"), "utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
        command += ["--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'browser'}"]
        command += ["--proxy-server=127.0.0.1:9", "--virtual-time-budget=2000"]
        command += ["--dump-dom", f"{page.as_uri()}{fragment}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return done.stdout

    return dom


def drawn(dom: str) -> dict[str, bool]:
    """Label -> whether it is dominated, of the points in the drawing."""
    found = re.findall(r'<g class="point( dominated)?"[^>]*aria-label="([^:"]*):', dom)
    return {label.split()[0]: bool(grey) for grey, label in found}


def test_at_first_the_first_group_is_drawn_with_its_front(visit: Visit) -> None:
    dom = visit()
    assert drawn(dom) == {"none": False, "tome": False, "lgtm": True, "todo": False}
    assert 'class="front"' in dom
    assert "3 of 4 points are not dominated" in dom
    assert len(re.findall(r'<section class="group"[^>]*hidden', dom)) == 1


def test_the_address_chooses_group_and_axes(visit: Visit) -> None:
    dom = visit("#group=1&x=acc1&y=recall")
    assert drawn(dom) == {"none": False, "tome": True}
    assert "Recall (more is better)" in dom


def test_the_menus_choose_and_the_address_follows(visit: Visit) -> None:
    choose = """
        const form = document.getElementById("choice");
        const field = form.elements.namedItem("backbone");
        field.value = "mini_unet";
        field.dispatchEvent(new Event("input", { bubbles: true }));
        document.title = location.hash;
    """
    dom = visit(then=choose)
    assert set(drawn(dom)) == {"none", "tome"}
    assert "<title>#group=1&amp;x=flops_g&amp;y=acc1</title>" in dom


def test_a_point_tells_its_values_n_settings_and_run(visit: Visit) -> None:
    point = 'document.querySelector("#plot .dominated").dispatchEvent(new Event("focus"))'
    tip = visit(then=point).partition('<div id="tip"')[2].partition("</div>")[0]
    for text in (
        "lgtm ratio=0.5",
        "65.00 [63.00, 67.00], n=40",
        "<td>2.5</td>",
        "<td>ratio=0.5</td>",
    ):
        assert text in tip
    assert "run, classification" in tip
