import pytest
from pydantic import ValidationError

from bigain.tables.spec import (
    Block,
    Column,
    DatasetSpec,
    Delta,
    Footnote,
    PaperBlock,
    PaperColumns,
    ProfileSpec,
    Row,
)

TOME = ("pets", "tome", "acc1", "ratio=0.7")


def profile(**changes: object) -> ProfileSpec:
    fields = {
        "backbone": "sd20",
        "label": "SD-2.0",
        "datasets": {"pets": DatasetSpec(label="Pets", classes=37)},
        "blocks": (Block(dataset="pets", metric="acc1"),),
        "grids": {"default": (0.5,)},
    }
    return ProfileSpec.model_validate(fields | changes)


def test_unknown_keys_are_mistakes() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Row.model_validate({"id": "a", "method": "tome", "label": "A", "sets": []})


def test_nothing_can_be_changed() -> None:
    row = Row(id="a", method="tome", label="A")
    with pytest.raises(ValidationError, match="frozen"):
        row.method = "lgtm"  # type: ignore[misc]


def test_what_of_a_column_concerns_no_acceleration_too() -> None:
    column = Column(id="a", set=("operator.ratio=0.5", "dataset.limit=1000", "seed=1"))
    assert column.of_run == ("dataset.limit=1000", "seed=1")


@pytest.mark.parametrize(
    "ends",
    [
        {},
        {"row": "a"},
        {"row": "a", "versus_column": "b"},
        {"row": "a", "versus": "b", "column": "c", "versus_column": "d"},
    ],
)
def test_a_delta_of_anything_else_is_refused(ends: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="row and versus, or column and versus_column"):
        Delta(label="x", **ends)


def test_blocks_of_the_paper_by_their_names() -> None:
    block = PaperBlock(dataset="pets", metric="acc1", label="Pets")
    paper = PaperColumns(backbone="sd20", label="SD-2.0", blocks=(block,))
    assert paper.block("pets", "acc1") is block
    with pytest.raises(KeyError, match=r"pets\.fid"):
        paper.block("pets", "fid")


def test_a_block_measures_a_known_quantity() -> None:
    with pytest.raises(ValidationError, match=r"metric=acc2: allowed: acc1, "):
        Block(dataset="pets", metric="acc2")


def test_a_profile_names_its_datasets() -> None:
    assert profile().blocks[0].dataset == "pets"
    with pytest.raises(ValidationError, match=r"unknown datasets \['coco2017'\]"):
        profile(blocks=(Block(dataset="coco2017", metric="acc1"),))
    assert profile(blocks=(Block(metric="flops_g"),)), "FLOPs are of no dataset"


def test_a_profile_with_grids_has_a_default_one() -> None:
    with pytest.raises(ValidationError, match="no default grid"):
        profile(grids={"full": (0.5,)})
    assert profile(grids={}).grids == {}


def test_a_footnote_concerns_what_its_patterns_match() -> None:
    exact = Footnote(text="x", cells=(TOME,))
    assert exact.concerns(TOME)
    assert not exact.concerns(("pets", "tome", "acc1", "ratio=0.5"))
    wide = Footnote(text="x", cells=(("coco2017", "*", "map", "*"), ("pets", "*", "acc1", "*")))
    assert wide.concerns(TOME)
    assert not wide.concerns(("coco2017", "tome", "acc1", "ratio=0.7"))
    assert not Footnote(text="of the table").concerns(TOME)
