from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.paper import PaperKey, load_paper
from bigain.tables.planner import setting_name
from bigain.tables.quantities import QUANTITIES
from bigain.tables.spec import TableSpec, choose, load_spec, table_numbers

NUMBERS = (2, 3, 4, 5)


def write(folder: Path, text: str) -> Path:
    (folder / "table04.yaml").write_text(text)
    return folder


def original() -> str:
    return (CONFIGS / "table" / "table04.yaml").read_text(encoding="utf-8")


def test_these_tables_are_here() -> None:
    assert tuple(table_numbers()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_the_number_is_the_one_in_the_file_name(number: int) -> None:
    assert load_spec(number).number == number


@pytest.mark.parametrize(
    ("number", "axis", "methods", "backbone", "paper"),
    [
        (2, "factor", ["avg_pool", "todo", "ie_kvd"], "mini_unet", "sd20"),
        (3, "factor", ["avg_pool", "todo", "ie_kvd"], "mini_dit", "dit_xl2_512"),
        (4, "ratio", ["tome", "lgtm"], "mini_unet", "sd20"),
        (5, "ratio", ["tome", "lgtm"], "mini_dit", "dit_xl2_512"),
    ],
)
def test_rows_and_backbones(
    number: int, axis: str, methods: list[str], backbone: str, paper: str
) -> None:
    spec = load_spec(number)
    assert spec.axis == axis
    assert [row.method for row in spec.rows_of("default")] == methods
    assert spec.profile("mini").backbone == backbone
    assert spec.profile("paper").backbone == spec.paper.backbone == paper


@pytest.mark.parametrize("number", NUMBERS)
def test_grids(number: int) -> None:
    spec = load_spec(number)
    merging = spec.axis == "ratio"
    assert spec.columns("mini", "default") == ((0.3, 0.5, 0.7) if merging else (2, 3, 4))
    full = (
        tuple(r / 10 for r in range(1, 8)) if merging else tuple(range(2, 9 if number == 2 else 6))
    )
    assert spec.columns("mini", "full") == spec.columns("paper", "default") == full
    assert set(spec.columns("mini", "default")) < set(full)


@pytest.mark.parametrize("number", NUMBERS)
def test_the_paper_has_a_value_for_every_cell_of_its_grid(number: int) -> None:
    spec, values = load_spec(number), load_paper()
    for block in spec.paper.blocks:
        place = (number, spec.paper.backbone, block.dataset, spec.task)
        assert PaperKey(*place, "none", "", block.metric) in values
        for column in spec.columns("paper", "default"):
            setting = setting_name(spec.axis, column)
            for row in spec.rows_of("default"):
                assert PaperKey(*place, row.method, setting, block.metric) in values
            for delta in spec.deltas:
                key = PaperKey(
                    *place, delta.row, f"{setting};vs={delta.versus}", f"delta_{block.metric}"
                )
                assert key in values


@pytest.mark.parametrize("number", NUMBERS)
def test_no_value_of_the_paper_is_left_out(number: int) -> None:
    spec = load_spec(number)
    blocks = {(block.dataset, block.metric) for block in spec.paper.blocks}
    settings = {setting_name(spec.axis, c) for c in spec.columns("paper", "default")} | {""}
    for key in load_paper():
        if (key.table, key.task) == (number, spec.task):
            assert (key.dataset, key.metric.removeprefix("delta_")) in blocks
            assert key.setting.partition(";")[0] in settings


@pytest.mark.parametrize("number", NUMBERS)
def test_every_footnote_meets_a_cell(number: int) -> None:
    spec = load_spec(number)
    cells = [(k.dataset, k.method, k.metric, k.setting) for k in load_paper() if k.table == number]
    for note in spec.footnotes:
        for pattern in note.cells:
            single = note.model_copy(update={"cells": (pattern,)})
            assert any(single.concerns(cell) for cell in cells), pattern


@pytest.mark.parametrize("number", NUMBERS)
def test_every_block_can_be_printed_and_named(number: int) -> None:
    spec = load_spec(number)
    for profile in spec.profiles.values():
        for block in profile.blocks:
            assert block.metric in QUANTITIES
            if block.beside is not None:
                assert spec.paper.block(*block.beside).label


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
    assert not note.cells


def test_alpha_is_the_papers_on_the_unet_and_zero_on_the_dit() -> None:
    assert load_spec(2).profile("mini").settings == {"ie_kvd": ("operator.alpha=0.9",)}
    dit = load_spec(3)
    assert dit.profile("mini").settings["ie_kvd"] == ("operator.alpha=0.0",)
    assert any("the two rows coincide" in " ".join(n.split()) for n in dit.profile("mini").notes)


def test_the_full_grid_of_table_3_sweeps_alpha() -> None:
    spec = load_spec(3)
    more = set(spec.rows_of("full")) - set(spec.rows_of("default"))
    assert {row.id for row in more} == {"ie_kvd_0.5", "ie_kvd_0.9"}
    assert not any(row.in_paper for row in more)


@pytest.mark.parametrize(
    ("number", "message"),
    [(44, r"table=44: allowed: 2, 3, 4, 5 \(did you mean 4\?\)"), (9, "allowed: 2, 3, 4, 5$")],
)
def test_an_unknown_table(number: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_spec(number)


def test_unknown_names_list_what_is_allowed() -> None:
    spec = load_spec(4)
    with pytest.raises(UserError, match=r"profile=papr: allowed: mini, paper \(did you mean paper"):
        spec.profile("papr")
    with pytest.raises(UserError, match=r"grid=all: allowed: default, full$"):
        spec.columns("mini", "all")
    assert choose("grid", "full", ["default", "full"]) == "full"


def test_a_row_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, original().replace("versus: tome", "versus: tomato"))
    with pytest.raises(
        UserError, match=r"table04.yaml: not a table spec.*no such rows: \['tomato'\]"
    ):
        load_spec(4, folder)


def test_a_dataset_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        original().replace(
            "- {dataset: fashion_mnist, metric: margin_mean",
            "- {dataset: mnist, metric: margin_mean",
        ),
    )
    with pytest.raises(UserError, match=r"unknown datasets \['mnist'\]"):
        load_spec(4, folder)


@pytest.mark.parametrize("text", ["number: [", "number: 4\ntitel: x", "- 1\n"])
def test_a_broken_file_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as raised:
        load_spec(4, write(tmp_path, text))
    assert "not a table specification" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_specification_cannot_be_changed() -> None:
    spec: TableSpec = load_spec(4)
    with pytest.raises(ValueError, match="frozen"):
        spec.number = 5  # type: ignore[misc]
