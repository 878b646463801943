from collections.abc import Sequence

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.config.paper import PaperValues, load_paper
from bigain.engine.build import build_dataset
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.operators.scores import SCORES, score_formula
from bigain.tables.document import DASH, Document
from bigain.tables.planner import Compose
from bigain.tables.render import load_table
from bigain.tables.static import StaticSpec, lay_out_static

PAPER = load_paper()


def laid_out(
    number: int, compose: Compose, profile: str = "mini", paper: PaperValues = PAPER
) -> Document:
    spec = load_table(number)
    assert isinstance(spec, StaticSpec)
    return lay_out_static(spec, profile, paper, compose)


def rows(document: Document) -> dict[str, tuple[str, ...]]:
    (panel,) = document.panels
    assert {len(line.cells) for line in panel.lines} == {len(panel.columns)}
    return {line.label: tuple(cell.text for cell in line.cells) for line in panel.lines}


def with_extra(compose: Compose, *extra: str) -> Compose:
    def composed(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        return compose([[*command, *extra] for command in commands])

    return composed


def test_datasets_are_counted_from_their_images(compose: Compose) -> None:
    found = rows(laid_out(9, with_extra(compose, "dataset.limit=120")))
    dataset = build_dataset(compose_config(["dataset=fashion_mnist", "dataset.limit=120"]).dataset)
    labels = [label for i in range(len(dataset)) for label in dataset[i].labels]
    counts = np.bincount(labels, minlength=10)
    low, high = counts.min(), counts.max()
    per_class = str(low) if low == high else f"{low} to {high}"
    assert found["Fashion-MNIST (`fashion_mnist`)"] == ("120", "10", per_class, "1", "28 x 28")


def test_the_default_is_what_a_run_reads_by_default(compose: Compose) -> None:
    own = rows(laid_out(9, compose))["Fashion-MNIST (`fashion_mnist`)"]
    assert own[0] == str(compose_config([]).dataset.num_images)


def test_values_that_the_paper_lost_say_so(compose: Compose) -> None:
    found = rows(laid_out(9, with_extra(compose, "dataset.limit=10")))
    lost = [label for label, cells in found.items() if set(cells) == {"lost"}]
    assert len(lost) == len([key for key in PAPER if key.table == 9]) == 4


def test_data_that_is_not_here_is_a_dash_with_a_way_to_get_it(
    compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise UserError("no such folder")

    monkeypatch.setattr("bigain.engine.build.build_dataset", refuse)
    document = laid_out(9, compose, "paper")
    assert rows(document)["Oxford-IIIT Pets (`pets`)"] == (DASH,) * 5
    assert "python -m bigain doctor profile=paper backbone=sd20 dataset=pets" in document.commands
    assert document.command == "python -m bigain doctor"


def test_the_protocol_is_the_configurations(compose: Compose) -> None:
    found = rows(laid_out(10, compose))
    assert found["Fashion-MNIST (`fashion_mnist`)"] == ("2", "[5, 20]", "[5, 1]", "125")
    assert found["ImageNet-1K (`imagenet1k`)"] == ("3", "[5, 20, 100]", "[50, 10, 1]", "6,750")


def test_another_configuration_is_another_protocol(compose: Compose) -> None:
    other = with_extra(compose, "task.trial_list=[2,4]", "task.keep_list=[3,1]")
    found = rows(laid_out(10, other))
    assert found["Fashion-MNIST (`fashion_mnist`)"] == ("2", "[2, 4]", "[3, 1]", "26")


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_the_papers_protocol_stands_below_ours(compose: Compose, profile: str) -> None:
    """All of its values, and where they differ from ours there is no hiding it."""
    document = laid_out(10, compose, profile)
    (panel,) = document.panels
    papers = [tuple(c.text for c in line.cells) for line in panel.lines if line.kind == "paper"]
    assert papers == [
        ("2", "[5, 20]", "[5, 1]", ""),
        ("2", "[5, 20]", "[5, 1]", ""),
        ("3", "[5, 20, 100]", "[50, 10, 1]", ""),
        ("2", "[5, 20]", "[5, 1]", ""),
    ]
    printed = [value.text for key, value in PAPER.items() if key.table == 10]
    listed = [n for line in papers for cell in line for n in cell.strip("[]").split(", ") if n]
    assert sorted(printed) == sorted(listed)


def test_formulas_are_those_of_the_docstrings(compose: Compose) -> None:
    found = rows(laid_out(13, compose))
    printed = [key.setting for key in PAPER if key.table == 13]
    assert [f"score={name}" for name in found] == printed
    assert set(found) <= set(SCORES)
    for name, (formula, what) in found.items():
        docstring = " ".join(str(SCORES[name].__doc__).split())
        assert formula == score_formula(name)
        assert formula in docstring
        assert docstring.startswith(what)


def test_a_paper_without_the_rows_prints_none(compose: Compose) -> None:
    document = laid_out(10, compose, paper={})
    assert not [line for line in document.panels[0].lines if line.kind == "paper"]
