import itertools
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bigain.figures.style import OPERATORS, publication, save

OKABE_ITO = {
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
}


def picture() -> Figure:
    with publication():
        figure = Figure(figsize=(2, 1))
        axis = figure.subplots()
        axis.plot([0, 1], [1, 0], label="line")
        axis.set_title("title")
        figure.legend()
    return figure


def test_every_operator_has_a_colour_of_okabe_and_ito_and_a_marker_of_its_own() -> None:
    colours = [look.colour for look in OPERATORS.values()]
    markers = [look.marker for look in OPERATORS.values()]
    assert set(colours) <= OKABE_ITO
    assert len(set(colours)) == len(set(markers)) == len(OPERATORS)


def test_colours_differ_for_readers_without_red_or_green_cones() -> None:
    """By Vienot's 1999 projections onto what protanopes and deuteranopes see."""
    protan = ((0.1124, 0.8876, 0), (0.1124, 0.8876, 0), (0.0040, -0.0040, 1))
    deutan = ((0.2928, 0.7072, 0), (0.2928, 0.7072, 0), (-0.0223, 0.0223, 1))
    for matrix in (protan, deutan):
        seen = [
            [
                sum(m * c**2.2 for m, c in zip(row, to_rgb(look.colour), strict=True))
                for row in matrix
            ]
            for look in OPERATORS.values()
        ]
        for a, b in itertools.combinations(seen, 2):
            assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) > 0.005


def test_the_same_figure_gives_the_same_bytes_for_any_date_and_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = save(picture(), tmp_path / "a" / "figure9")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": "mine", "axes.facecolor": "red"}):
        second = save(picture(), tmp_path / "b" / "figure9")
        assert mpl.rcParams["font.size"] == 30
    assert [path.name for path in first] == ["figure9.svg", "figure9.pdf", "figure9.png"]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
        assert b"Date" not in a.read_bytes()
        assert b"Software" not in a.read_bytes()
    assert len(list((tmp_path / "a").iterdir())) == 3, "no temporary file stays"
