import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from bigain.config.paper import PaperKey, load_paper, normal_setting
from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.document import Document
from bigain.tables.layout import lay_out
from bigain.tables.planner import NONE
from bigain.tables.render import load_spec, load_table, table_numbers
from bigain.tables.sources import Sources
from bigain.tables.spec import Column, Delta, TableSpec, choose, setting_name
from bigain.tables.static import StaticSpec

STATIC = (9, 10, 13)
NUMBERS = tuple(number for number in range(1, 19) if number not in STATIC)
GRIDS = tuple(product(NUMBERS, ("mini", "paper"), ("default", "full")))
PAPER = load_paper()


def write(folder: Path, text: str, number: int = 4) -> Path:
    (folder / f"table{number:02d}.yaml").write_text(text)
    return folder


def original() -> str:
    return (CONFIGS / "table" / "table04.yaml").read_text(encoding="utf-8")


def grids_of(spec: TableSpec, profile: str) -> list[str]:
    return list(spec.profile(profile).grids) or ["default", "full"]


def test_all_18_tables_and_our_own_are_here() -> None:
    assert table_numbers() == list(range(1, 20))


@pytest.mark.parametrize("number", range(1, 20))
def test_every_table_is_read_as_what_it_is(number: int) -> None:
    spec = load_table(number)
    assert isinstance(spec, StaticSpec if number in STATIC else TableSpec)
    assert spec.number == number
    assert set(spec.profiles) == {"mini", "paper"}


@pytest.mark.parametrize(
    ("number", "axis", "methods", "backbone", "paper"),
    [
        (2, "factor", ["avg_pool", "todo", "ie_kvd"], "mini_unet", "sd20"),
        (3, "factor", ["avg_pool", "todo", "ie_kvd"], "mini_dit", "dit_xl2_512"),
        (4, "ratio", ["tome", "lgtm"], "mini_unet", "sd20"),
        (5, "ratio", ["tome", "lgtm"], "mini_dit", "dit_xl2_512"),
        (7, "ratio", ["lgtm", "cached", "abm"], "mini_unet", "sd20"),
        (11, None, ["none", "sito", "tome", "lgtm", "cached", "abm"], "mini_unet", "sd20"),
        (14, None, ["none", "tome", "lgtm", "todo", "ie_kvd"], "mini_unet", "sd20"),
    ],
)
def test_rows_and_backbones(
    number: int, axis: str | None, methods: list[str], backbone: str, paper: str
) -> None:
    spec = load_spec(number)
    assert spec.axis == axis
    assert [row.method for row in spec.rows_of("mini", "default")] == methods
    assert spec.profile("mini").backbone == backbone
    assert spec.profile("paper").backbone == spec.paper.backbone == paper


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_grids(number: int) -> None:
    spec = load_spec(number)
    merging = spec.axis == "ratio"
    small = (0.3, 0.5, 0.7) if merging else (2, 3, 4)
    whole = [r / 10 for r in range(1, 8)] if merging else range(2, 9 if number == 2 else 6)
    names = [setting_name(str(spec.axis), value) for value in whole]
    assert [c.id for c in spec.columns("mini", "full")] == names
    assert [c.id for c in spec.columns("paper", "default")] == names
    mini = [setting_name(str(spec.axis), value) for value in small]
    assert [c.id for c in spec.columns("mini", "default")] == mini
    assert set(mini) < set(names)


def test_a_table_without_grids_has_one_column() -> None:
    assert load_spec(1).columns("mini", "default") == (Column(),)
    assert load_spec(1).columns("mini", "full") == (Column(),)


def expected_cells(spec: TableSpec) -> set[tuple[PaperKey, str]]:
    """What the paper's own profile asks of the paper, and whether as a value or as a difference."""
    keys = set()
    profile = spec.profile("paper")
    for block in (block for block in profile.blocks if block.beside):
        dataset, metric = block.beside or ("", "")
        for column in spec.columns("paper", "default"):
            if block.columns is not None and column.id not in {
                each if isinstance(each, str) else spec.column_at(each).id for each in block.columns
            }:
                continue
            for row in spec.rows_of("paper", "default"):
                setting = normal_setting(column.setting, row.setting)
                setting = block.settings.get(setting, setting)
                if row.in_paper and row.method != NONE:
                    key = (spec.number, spec.paper.backbone, dataset, row.method, setting, metric)
                    keys.add((PaperKey(*key), row.id))
    return keys


NOT_PRINTED = {
    # One number per row, that of ratio 0.7.
    7: {("flops_g", f"ratio={r / 10:g}") for r in range(1, 7)},
}
"""Cells of the grid that the paper leaves empty."""


@pytest.mark.parametrize("number", NUMBERS)
def test_the_paper_has_a_value_for_every_cell_of_its_grid(number: int) -> None:
    empty = {(key.metric, key.setting) for key, _ in expected_cells(load_spec(number))
             if key not in PAPER}  # fmt: skip
    assert empty == NOT_PRINTED.get(number, set())


def texts(document: Document) -> Counter[str]:
    """How often each text of the paper stands in a document, without its sign."""
    lines = (line for panel in document.panels for line in panel.lines if line.kind == "paper")
    return Counter(cell.text.lstrip("+−") for line in lines for cell in line.cells)


def said_once(key: PaperKey) -> bool:
    """Table 7 repeats each row's FLOPs under all four datasets; they are shown once."""
    return key.table == 7 and key.metric == "flops_g" and key.dataset != "pets"


@pytest.mark.parametrize("number", NUMBERS)
def test_every_value_of_the_paper_is_shown_in_the_papers_profile(
    number: int, as_printed: Callable[[int], Sources]
) -> None:
    """As often as the paper has it, at least: the baseline stands beside every row."""
    printed = {k: v for k, v in PAPER.items() if k.table == number and v.status != "derived"}
    own = {key: value.text for key, value in printed.items()}
    assert own
    wanted = Counter(text.lstrip("+-") or "lost" for key, text in own.items() if not said_once(key))
    assert wanted - texts(lay_out(as_printed(number))) == Counter()
    for key in filter(said_once, own):
        assert own[key] == own[replace(key, dataset="pets")]


@pytest.mark.parametrize("number", STATIC)
def test_tables_without_runs_have_values_of_the_paper(number: int) -> None:
    """Those of Tables 9 and 13 are lost; test_static looks for those of Table 10."""
    texts = {value.text for key, value in PAPER.items() if key.table == number}
    assert (texts == {""}) == (number in (9, 13))


@pytest.mark.parametrize("number", NUMBERS)
def test_every_footnote_meets_a_cell(number: int) -> None:
    cells = [(k.dataset, k.method, k.metric, k.setting) for k in PAPER if k.table == number]
    spec = load_spec(number)
    for note in spec.footnotes:
        for pattern in note.cells:
            single = note.model_copy(update={"cells": (pattern,)})
            assert any(single.concerns(cell) for cell in cells), pattern


@pytest.mark.parametrize("number", NUMBERS)
def test_every_footnote_is_printed_in_the_papers_profile(
    number: int, as_printed: Callable[[int], Sources]
) -> None:
    document = lay_out(as_printed(number))
    about_cells = [note.text for note in load_spec(number).footnotes if note.cells]
    assert [text for _, text in document.footnotes] == about_cells
    assert {note.text for note in load_spec(number).footnotes} - set(about_cells) <= set(
        document.notes
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_fid_stands_beside_fid_and_percents_beside_percents(number: int) -> None:
    beside = {
        "frechet_mini": {"fid"},
        "map_image": {"map"},
        "flops_saved_percent": {"flops_reduction_pct"},
        "acceleration_percent": {"acceleration_pct"},
        "acc1_drop": {"delta_acc1_drop"},
    }
    for profile in load_spec(number).profiles.values():
        for block in (block for block in profile.blocks if block.beside):
            assert block.beside is not None
            assert block.beside[1] in beside.get(block.metric, {block.metric})


@pytest.mark.parametrize(("number", "profile"), sorted({pair[:2] for pair in GRIDS}))
def test_named_columns_exist(number: int, profile: str) -> None:
    spec = load_spec(number)
    for grid in grids_of(spec, profile):
        ids = [column.id for column in spec.columns(profile, grid)]
        assert len(set(ids)) == len(ids)
        for delta in spec.deltas:
            assert {delta.column, delta.versus_column} - {None} <= set(ids)


def test_comparisons_need_their_rows() -> None:
    spec = load_spec(3)
    assert [delta.label for delta in spec.deltas_of("mini", "default")] == ["IE-KVD minus ToDo"]
    more = spec.model_copy(
        update={"deltas": (Delta(label="x", row="ie_kvd_0.5", versus="todo"), *spec.deltas)}
    )
    assert [delta.label for delta in more.deltas_of("mini", "full")] == ["x", "IE-KVD minus ToDo"]
    assert [delta.label for delta in more.deltas_of("mini", "default")] == ["IE-KVD minus ToDo"]


def test_doubtful_digits_of_table_2_are_marked() -> None:
    (doubtful, *_) = load_spec(2).footnotes
    assert "3,669" in doubtful.text
    assert doubtful.concerns(("pets", "avg_pool", "acc1", "factor=4"))
    assert doubtful.concerns(("pets", "todo", "acc1", "factor=8"))
    assert not doubtful.concerns(("pets", "todo", "acc1", "factor=4"))
    assert not doubtful.concerns(("coco2017", "avg_pool", "acc1", "factor=4"))


def test_table_5_says_what_its_generation_half_repeats() -> None:
    (note,) = load_spec(5).footnotes
    assert "Table 4" in note.text
    assert note.concerns(("imagenet100", "tome", "fid", "ratio=0.1"))
    assert note.concerns(("imagenet100", "lgtm", "delta_fid", "ratio=0.1;vs=tome"))
    assert not note.concerns(("imagenet100", "tome", "acc1", "ratio=0.1"))
    blocks = load_spec(5).profile("mini").blocks
    assert all(block.beside != ("imagenet100", "fid") for block in blocks)


def test_the_full_grid_of_table_3_sweeps_alpha() -> None:
    spec = load_spec(3)
    more = set(spec.rows_of("mini", "full")) - set(spec.rows_of("mini", "default"))
    assert {row.id for row in more} == {"ie_kvd_0.5", "ie_kvd_0.9"}
    assert not any(row.in_paper for row in more)


@pytest.mark.parametrize("number", [4, 5])
def test_the_rule_as_released_is_a_row_of_the_paper_profile_alone(number: int) -> None:
    spec = load_spec(number)
    more = set(spec.rows_of("paper", "default")) - set(spec.rows_of("mini", "default"))
    assert [row.set for row in more] == [("operator.destinations=as_released",)]
    assert not any(row.in_paper for row in more)
    compared = [(each.row, each.versus) for each in spec.deltas_of("paper", "default")]
    assert compared == [("lgtm", "tome"), ("lgtm_released", "tome"), ("lgtm_released", "lgtm")]
    assert len(spec.deltas_of("mini", "full")) == 1


@pytest.mark.parametrize("text", ["44", "0", "four", "20"])
def test_an_unknown_table(text: str) -> None:
    allowed = ", ".join(map(str, range(1, 20)))
    with pytest.raises(UserError, match=rf"table={text}: allowed: {allowed}"):
        choose("table", text, map(str, table_numbers()))
    if text.isdigit():
        with pytest.raises(UserError, match=rf"table={text}: allowed: {allowed}"):
            load_spec(int(text))


def test_a_table_without_runs_is_no_table_with_runs() -> None:
    with pytest.raises(UserError, match=r"table09.yaml: not a table specification"):
        load_spec(9)


def test_unknown_names_list_what_is_allowed() -> None:
    spec = load_spec(4)
    with pytest.raises(UserError, match=r"profile=papr: allowed: mini, paper \(did you mean paper"):
        spec.profile("papr")
    with pytest.raises(UserError, match=r"grid=all: allowed: default, full$"):
        spec.columns("mini", "all")
    with pytest.raises(UserError, match=r"grid=all: allowed: default, full$"):
        load_spec(1).columns("mini", "all")
    assert choose("grid", "full", ["default", "full"]) == "full"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("versus: tome", "versus: tomato"), r"no such rows \['tomato'\]"),
        (("{id: lgtm", "{id: tome"), "or a row twice"),
        (("dataset: fashion_mnist, metric: best_margin", "dataset: mnist, metric: best_margin"),
         r"unknown datasets \['mnist'\]"),
        (("beside: [pets, acc1]}", "beside: [pats, acc1]}"), r"pats\.acc1"),
        (("axis: ratio", "axis: ration"), "axis"),
        (("title:", "titel:"), "titel"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_in_one_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    folder = write(tmp_path, original().replace(*change))
    with pytest.raises(UserError, match=f"table04.yaml: not a table spec.*{message}") as raised:
        load_spec(4, folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["number: [", "number: 4\ntitel: x", "- 1\n", "${nowhere}\n", ""])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as raised:
        load_spec(4, write(tmp_path, text))
    assert "not a table specification" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_of_settings() -> None:
    assert [setting_name("ratio", 0.3), setting_name("factor", 2)] == ["ratio=0.3", "factor=2"]
    assert setting_name("alpha", "lost") == "alpha=lost"


def test_labels_name_no_machine() -> None:
    for number in range(1, 20):
        text = (CONFIGS / "table" / f"table{number:02d}.yaml").read_text(encoding="utf-8")
        assert re.search(rf"^number: {number}$", text, re.MULTILINE)
