"""Table 19, all operators at matched FLOPs: rows with settings by backbone and column."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from bigain.config import RunConfig
from bigain.engine.build_operator import build_operator
from bigain.locations import CONFIGS
from bigain.tables.document import DASH, Document, Panel
from bigain.tables.layout import lay_out
from bigain.tables.planner import Plan, pending
from bigain.tables.quantities import format_difference
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources
from bigain.tables.spec import Row
from bigain.tables.tidy import render_csv
from bigain.tasks.flops import count_flops

MakePlan = Callable[..., Plan]
MakeSources = Callable[..., Sources]
HYBRIDS = {"lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"}
CALIBRATED = {"dip_go", "mosaic_diff"}  # they only classify
TARGETS = {
    ("mini_unet", "low"): 10.5,
    ("mini_unet", "high"): 12.3,
    ("mini_dit", "low"): 13.6,
    ("mini_dit", "high"): 18.4,
}


@pytest.fixture(scope="module")
def document(make_sources: MakeSources) -> Document:
    return lay_out(make_sources(19))


def test_a_row_has_cells_where_its_levels_are_and_nowhere_else() -> None:
    row = Row(
        id="a",
        method="tome",
        label="A",
        set=("x=1",),
        levels={"b": {"low": ("operator.ratio=0.5",)}},
    )
    assert row.overrides("b", "low") == ("x=1", "operator.ratio=0.5")
    assert row.settings("b", "low") == "ratio=0.5"
    for place in (("b", "high"), ("c", "low")):
        assert row.overrides(*place) is None
        assert row.settings(*place) == ""
    plain = row.model_copy(update={"levels": None})
    assert plain.overrides("b", "high") == ("x=1",)
    assert plain.settings("b", "low") == ""


def test_every_operator_is_in_it() -> None:
    spec = load_spec(19)
    names = {path.stem for path in (CONFIGS / "operator").glob("*.yaml")}
    assert {row.method for row in spec.rows_of("mini", "default")} == names
    rivals = {row.id: row.set for row in spec.rows if row.set}
    assert rivals == {
        "tome_mlerp": ("operator.average=mlerp",),
        "retom": ("operator.destinations=representative",),
    }


def test_its_runs(make_plan: MakePlan) -> None:
    plan = make_plan(19)
    found = Counter((cell.place.backbone, cell.place.work, cell.place.device) for cell in plan.runs)
    for backbone, (first, second) in {"mini_unet": (14, 11), "mini_dit": (12, 10)}.items():
        both = first + second + 1 + len(CALIBRATED)
        assert found[backbone, "classification", ""] == found[backbone, "flops", ""] == both
        assert found[backbone, "generation", ""] == found[backbone, "time", ""] == first + 1
        assert found[backbone, "time", "cuda"] == first + 1
    settings = {
        (cell.row, cell.place.backbone, cell.column): run.config.operator.settings()
        for cell, run in plan.runs.items()
    }
    assert settings["toma", "mini_unet", "high"]["ratio"] == 0.8
    assert settings["ie_kvd", "mini_dit", "high"]["factor"] == 5
    assert ("sito", "mini_unet", "high") not in settings


def test_runs_on_a_gpu_are_left_to_their_own_commands(make_plan: MakePlan) -> None:
    plan = make_plan(19)
    asked = [run for run in plan.distinct() if run.on_request]
    assert {run.config.device for run in asked} == {"cuda"}
    assert not {run.run_id for run in asked} & {run.run_id for run in plan.pending()}
    assert all("device=cuda" in run.command for run in asked)
    assert {run.run_id for run in asked} <= {run.run_id for run in plan.missing()}
    forced = [replace(run, config=run.config.model_copy(update={"force": True})) for run in asked]
    assert pending(forced) == []


def test_a_rectangle_for_each_backbone_and_level(document: Document) -> None:
    titles = [panel.title for panel in document.panels]
    assert titles == [
        f"`{backbone}`: {level} FLOPs saved"
        for backbone in ("mini_unet", "mini_dit")
        for level in ("few", "many")
    ]
    assert not document.findings
    assert "the paper used" not in document.summary
    assert not [line for panel in document.panels for line in panel.lines if line.kind == "paper"]
    first, second, third, _ = document.panels
    assert len(rows(first)) == 1 + 14 + len(CALIBRATED)
    assert len(rows(third)) == 1 + 12 + len(CALIBRATED)
    assert "ToMA, ratio 0.8" in rows(second)
    assert any("Frechet" in column for column in first.columns)
    assert not any("Frechet" in column for column in second.columns)
    assert "L-GTM in encoder + IE-KVD in decoder, ratio 0.7, factor 2" in rows(first)


def rows(panel: Panel) -> dict[str, list[str]]:
    return {
        line.label: [cell.text for cell in line.cells]
        for line in panel.lines
        if not line.label.startswith("·") and not is_pair(line.label)
    }


def is_pair(label: str) -> bool:
    return " minus " in label and not label.startswith("·")


def test_marks_compare_operators_of_one_rectangle(document: Document) -> None:
    for panel in document.panels:
        column = next(i for i, head in enumerate(panel.columns) if head.startswith("FLOPs saved"))
        marked = [line.cells[column].rank for line in panel.lines if line.cells[column].rank]
        assert "best" in marked


def test_what_an_operator_cannot_do_is_empty_and_has_no_run(
    document: Document, make_plan: MakePlan
) -> None:
    works = {cell.place.work for cell in make_plan(19).runs if cell.row == "structured_by_t"}
    assert works == {"classification", "flops"}
    first = document.panels[0]
    cells = dict(
        zip(
            first.columns,
            rows(first)["Weights by stage, after MosaicDiff, target 0.1"],
            strict=True,
        )
    )
    assert [bool(text) for head, text in cells.items() if "accuracy" in head] == [True]
    for other in ("Frechet", "Class agreement", "Time", "Speed-up"):
        assert {text for head, text in cells.items() if head.startswith(other)} == {""}


def test_pairs_of_rows_end_a_rectangle(make_sources: MakeSources) -> None:
    sources = make_sources(19)
    panel = lay_out(sources).panels[0]
    lines = {line.label: line.cells for line in panel.lines if is_pair(line.label)}
    assert list(lines) == [delta.label for delta in sources.plan.deltas]
    keys = {
        (cell.row, cell.column): cell
        for cell in sources.plan.runs
        if cell.place.dataset
        and cell.place.backbone == "mini_unet"
        and cell.place.work == "classification"
    }
    found = sources.difference(keys["toma", "low"], keys["tome", "low"], "acc1")
    assert found is not None
    column = next(i for i, head in enumerate(panel.columns) if "accuracy" in head)
    assert lines["ToMA minus ToMe"][column].text == format_difference(found.metric)


def test_what_did_not_run_is_an_em_dash(make_sources: MakeSources) -> None:
    def on_cpu(config: RunConfig) -> bool:
        return config.device != "cuda"

    shown = lay_out(make_sources(19, on_cpu))
    first = shown.panels[0]
    gpu = next(i for i, head in enumerate(first.columns) if "on a GPU" in head)
    cells = {label: texts[gpu] for label, texts in rows(first).items() if label != "Baseline"}
    assert {text for label, text in cells.items() if "after" not in label} == {DASH}
    assert all("device=cuda" in command for command in shown.commands)
    assert shown.command == "python -m bigain table 19 --profile mini dataset.limit=30"


def test_the_csv_names_settings_and_devices(make_sources: MakeSources) -> None:
    lines = render_csv(make_sources(19)).splitlines()
    assert any(",toma,toma,,ratio=0.8,acc1," in line for line in lines)
    assert any(",time cuda,tome,tome,,ratio=0.5,speedup," in line for line in lines)


def test_operators_save_what_the_table_says(make_plan: MakePlan) -> None:
    """Counted without weights: those of each kind that are farthest from their targets."""
    farthest = {"abm", "toma", "ie_kvd", *HYBRIDS}
    for cell, run in make_plan(19).runs.items():
        if cell.place.work == "flops" and cell.row in farthest:
            count = count_flops(cell.place.backbone, build_operator(run.config.operator))
            saved = 100 * count.saved / count.baseline
            target = TARGETS[cell.place.backbone, cell.column]
            assert abs(saved - target) <= 1.6, (cell, saved)
