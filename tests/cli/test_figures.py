from importlib import import_module
from pathlib import Path

import pytest

from bigain.cli import figures
from bigain.cli import main as cli
from bigain.figures.request import FigureRequest


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, FigureRequest]]:
    """What was asked of each figure, in order; nothing is drawn."""
    seen: list[tuple[str, FigureRequest]] = []

    def producer(number: str) -> object:
        def produce(request: FigureRequest) -> list[str]:
            seen.append((number, request))
            return [f"drew {number}"]

        return produce

    monkeypatch.setattr(figures, "_producer", producer)
    return seen


def test_all_figures_by_default_into_the_results_of_the_profile(
    drawn: list[tuple[str, FigureRequest]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["figures", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr() == ("".join(f"drew {n}\n" for n in "23456"), "")
    assert [number for number, _ in drawn] == list("23456")
    request = drawn[0][1]
    assert (request.profile, request.backbone, request.extra) == ("mini", None, ())
    assert (request.results, request.folder) == (tmp_path, tmp_path / "mini" / "figures")


def test_some_figures_with_settings(drawn: list[tuple[str, FigureRequest]], tmp_path: Path) -> None:
    words = ["5", "seed=1", "2", "--profile", "paper", "--backbone", "sd20"]
    words += [f"paths.results={tmp_path}", "backbone.path=x", "--output", str(tmp_path / "here")]
    assert cli.main(["figures", *words]) == 0
    assert [number for number, _ in drawn] == ["5", "2"]
    request = drawn[0][1]
    assert (request.profile, request.backbone) == ("paper", "sd20")
    assert request.extra == ("seed=1", "backbone.path=x")
    assert (request.results, request.folder) == (tmp_path, tmp_path / "here")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["7"], "figure 7: allowed: 2, 3, 4, 5, 6"),
        (["one"], "figure one: allowed: 2, 3, 4, 5, 6"),
        (["--profile", "big"], "--profile=big: allowed: mini, paper"),
        (["--bakcbone", "sd20"], "did you mean --backbone?"),
        (["backbone=sd20"], "backbone=sd20: the figures set backbone themselves"),
        (["+dataset=pets"], "+dataset=pets: the figures set dataset themselves"),
        (["operator.ratio=0.5"], "operator.ratio=0.5: the figures set operator.ratio themselves"),
        (["seed=x"], "seed=x"),
        (["2", "--backbone", "sd20"], "--backbone=sd20: allowed: mini_unet, mini_dit"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["figures", *words, "--output", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert line in err
    assert list(tmp_path.iterdir()) == []


def test_the_papers_images_without_data_are_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["6", "--profile", "paper", "--results", str(tmp_path), f"paths.data={tmp_path}"]
    assert cli.main(["figures", *words]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pets" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--results", "{}"], ["paths.results={}"]])
def test_results_that_are_not_there_are_one_line_and_not_made(
    drawn: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    missing = tmp_path / "none"
    assert cli.main(["figures", *(word.format(missing) for word in words)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), drawn) == ("", 1, [])
    assert f"paths.results={missing}: does not exist" in err
    assert list(tmp_path.iterdir()) == []


def test_every_figure_has_its_function() -> None:
    assert list(figures.FIGURES) == ["2", "3", "4", "5", "6"]
    for module, name in figures.FIGURES.values():
        assert callable(getattr(import_module(module), name))
