"""`bigain analysis bands` from the command line."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from bigain.cli import bands
from bigain.cli.main import main
from bigain.figures.bands import PLACES, draw_bands
from bigain.locations import CONFIGS
from bigain.metrics.margins import Estimate

SMALL = ["backbone=mini_dit", "task.trial_list=[2]", "task.keep_list=[1]", "dataset.limit=2"]
OPERATORS = ["operator=tome,lgtm", "operator.ratio=0.7"]
Values = dict[tuple[str, ...], float]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "mini" / "bands.csv").open() as handle:
        return list(csv.DictReader(handle))


def values_of(folder: Path) -> Values:
    rows = rows_of(folder)
    keys = ("operator", "timestep", "quantity", "band")
    assert tuple(rows[0]) == bands.COLUMNS
    assert {row["n"] for row in rows} == {"2"}
    return {tuple(row[key] for key in keys): float(row["value"]) for row in rows}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    assert main(["analysis", "bands", *SMALL, *OPERATORS, f"paths.results={folder}"]) == 0
    return folder


def test_the_files_and_nothing_else_are_written(measured: Path) -> None:
    names = {str(path.relative_to(measured)) for path in measured.rglob("*") if path.is_file()}
    figures = {f"mini/figures/bands.{kind}" for kind in ("svg", "pdf", "png")}
    assert names == {"mini/bands.csv", *figures}


def test_bands_sum_to_the_errors_of_runs(measured: Path) -> None:
    """Those of `errors.npz`, which the classifier makes in its own batches."""
    place = f"paths.results={measured / 'own'}"
    found = values_of(measured)
    errors = {}
    for operator in (["operator=none"], ["operator=tome", "operator.ratio=0.7"]):
        assert main([*SMALL, *operator, place]) == 0
        (folder,) = (p for p in (measured / "own" / "runs").iterdir() if p.name not in errors)
        with np.load(folder / "errors.npz") as content:
            errors[folder.name] = content["errors"]
        samples = (folder / "samples.csv").read_text().splitlines()
    column = samples[0].split(",").index("label")
    labels = [int(line.split(",")[column]) for line in samples[1:]]
    plain, merged = (each[range(2), :, labels].astype(float) for each in errors.values())
    title = "tome ratio=0.7"
    rise = merged.mean() / plain.mean() - 1
    assert found[title, "all", "rise", "all"] == pytest.approx(rise, rel=1e-5)
    late = merged[:, 1].mean() / plain[:, 1].mean() - 1
    assert found[title, "750", "rise", "all"] == pytest.approx(late, rel=1e-5)
    parts = [found[title, "all", "rise", band] for band in ("low", "mid", "high")]
    assert sum(parts) == pytest.approx(rise, rel=1e-5)
    assert found[title, "all", "change", "all"] > 0
    assert {value for key, value in found.items() if key[0] == "none" and key[2] == "rise"} == {0}


def test_the_batch_size_changes_nothing(measured: Path, tmp_path: Path) -> None:
    words = [*SMALL, *OPERATORS, "batch_size=3", f"paths.results={tmp_path}"]
    assert main(["analysis", "bands", *words]) == 0
    found, other = values_of(measured), values_of(tmp_path)
    assert found.keys() == other.keys()
    for key, value in found.items():
        assert other[key] == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_the_operators_of_the_page_are_those_without_arguments() -> None:
    configs = bands._configs([])
    titles = [(each.backbone.name, each.operator.title) for each in configs]
    assert len(set(titles)) == len(titles) == 10
    assert {each.dataset.limit for each in configs} == {100}
    assert [each.operator.name for each in bands._configs(["operator=sito"])] == ["sito", "sito"]


def test_the_committed_file_is_what_the_page_says() -> None:
    """Each band and `all` of the tables in docs/metrics.md; bands sum to `all`."""
    rows = [row for row in rows_of(CONFIGS.parent / "results") if row["timestep"] == "all"]
    found = {
        tuple(row[key] for key in ("backbone", "operator", "quantity", "band")): row for row in rows
    }
    text = (CONFIGS.parent / "docs" / "metrics.md").read_text(encoding="utf-8")
    titles = {"none": "margin of the baseline", "tome": "ToMe", "lgtm": "L-GTM", "abm": "ABM"}
    titles |= {"todo": "ToDo", "ie_kvd": "IE-KVD"}
    for backbone, head in {"mini_dit": "| mini DiT |", "mini_unet": "| mini U-Net |"}.items():
        table = text.partition(head)[2].partition("\n\n")[0].splitlines()
        for operator in {row["operator"] for row in rows if row["backbone"] == backbone}:
            quantity = "margin" if operator == "none" else "rise"
            own = [found[backbone, operator, quantity, band] for band in PLACES]
            values = [float(row["value"]) for row in own]
            assert sum(values[:3]) == pytest.approx(values[3], rel=1e-6)
            (line,) = (each for each in table if titles[operator.split()[0]] in each)
            for row, cell in zip(own, line.split("|")[2:6], strict=True):
                printed = re.findall(r"-?[\d.]+", cell)
                for key, word in zip(("value", "ci_low", "ci_high"), printed, strict=True):
                    half = 0.501 * 10.0 ** -len(word.partition(".")[2])
                    assert float(word) == pytest.approx(100 * float(row[key]), abs=half)


def test_operators_of_one_name_have_looks_of_their_own() -> None:
    """Unless they are in no row together: then a setting is another on another backbone."""
    keys = [(q, b) for q in ("error", "rise", "change", "margin_change") for b in PLACES]
    rows = {"a": ["tome 1", "tome 2", "abm", "ie_kvd 1"], "b": ["tome 2", "ie_kvd 2"]}
    one = Estimate(0.1, 0.0, 0.2)
    measured = {
        name: {(title, *key): one for title in ("none", *titles) for key in keys}
        for name, titles in rows.items()
    }
    figure = draw_bands(measured)
    first, second = (
        {line.get_label(): line.get_color() for line in axis.lines if line.get_marker() != "None"}
        for axis in (figure.axes[0], figure.axes[3])
    )
    assert list(first) == rows["a"]
    assert len(set(first.values())) == 4
    assert second == {"tome 2": first["tome 2"], "ie_kvd 2": first["ie_kvd 1"]}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [*rows["a"], "ie_kvd 2"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["abcd"], "analysis bands abcd: allowed: key=value"),
        (["-m"], "analysis bands -m: allowed: key=value"),
        (["task.loss=l1"], "task.loss=l1: allowed: l2"),
        (["task.allocation=racing"], "task.allocation=racing: allowed: staged"),
        (["operator=tome", "operator.draws=per_forward"], "operator.draws=per_forward: allowed"),
        (["operator=lgtm", "operator.plan=shared"], "operator.plan=shared: allowed"),
        (["task.trial_list=[1,5]", "task.keep_list=[5,1]"], "task.trial_list=[1, 5]: allowed"),
        (["compile=true"], "compile=true: allowed: false"),
        (["shard.count=2"], "shard.count=2: allowed: 1"),
        (["operator=tome", "operator.ratio=0.9"], "operator.ratio=0.9"),
        (["task=generation"], "task=generation: allowed: classification"),
        (["dataset=fashion_mosaic"], "dataset=fashion_mosaic: allowed"),
        (["operatr=tome"], "operatr"),
        (["operator=tome", "dataset.limit=2,3"], "analysis bands: mini_dit tome ratio=0.5, seed 0"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analysis", "bands", *words, f"paths.results={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1
    assert not (tmp_path / "mini").exists()
