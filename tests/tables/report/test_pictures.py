import base64
import re
from pathlib import Path

import pytest

from bigain.tables.report.pictures import figures_html, find_figures

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><text>5 &gt; 3</text></svg>'


def test_figures_are_found_by_number_and_the_smaller_file_serves(tmp_path: Path) -> None:
    for name in ("figure10.svg", "figure2_mini_unet.svg", "figure2_mini_dit.png", "figure3.png"):
        (tmp_path / name).write_bytes(SVG)
    (tmp_path / "figure3.svg").write_bytes(SVG * 2)
    for name in ("figure2.pdf", "other.svg", "figures.svg", "figure2.svg.tmp"):
        (tmp_path / name).write_bytes(SVG)
    assert [path.name for path in find_figures(tmp_path)] == [
        *("figure2_mini_dit.png", "figure2_mini_unet.svg", "figure3.png", "figure10.svg")
    ]


def test_a_figure_is_inside_the_page_with_its_caption(tmp_path: Path) -> None:
    (tmp_path / "figure2_mini_unet.svg").write_bytes(SVG)
    text = figures_html(tmp_path)
    caption = "Figure 2. Accuracy and Frechet distance against sparsity (mini unet)"
    assert f'alt="{caption}"' in text
    assert f"<figcaption>{caption}</figcaption>" in text
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert base64.b64decode(data) == SVG


@pytest.mark.parametrize(
    ("name", "caption"), [("figure_07-a&b.png", "Figure 7 (a&amp;b)"), ("figure9.png", "Figure 9")]
)
def test_an_unknown_figure_has_its_number(tmp_path: Path, name: str, caption: str) -> None:
    (tmp_path / name).write_bytes(b"png")
    assert f"<figcaption>{caption}</figcaption>" in figures_html(tmp_path)
    assert "data:image/png;base64," in figures_html(tmp_path)


def test_without_figures_there_is_a_sentence(tmp_path: Path) -> None:
    assert "No figure has been drawn" in figures_html(tmp_path / "figures")
    assert find_figures(tmp_path / "figures") == []
