import pytest

from bigain.cli.flops_sweep import DEFAULT, Setting, published_flops, sweep
from bigain.config.architectures import ARCHITECTURES
from bigain.launch.compose import compose_configs
from bigain.runs.identity import run_id

OPERATORS = {"none", "tome", "lgtm", "cached", "abm", "sito", "todo", "avg_pool", "ie_kvd"}
OPERATORS |= {"kv_select"}
HYBRIDS = {"lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"}


@pytest.mark.parametrize("backbone", ARCHITECTURES)
def test_every_row_is_a_run_of_its_own_that_is_allowed(backbone: str) -> None:
    rows = sweep(backbone)
    configs = compose_configs([row.overrides(backbone) for row in rows])
    assert len({run_id(config) for config in configs}) == len(rows)
    assert rows[0] == Setting("none")
    is_unet = ARCHITECTURES[backbone].blocks is None
    assert {row.operator for row in rows} == OPERATORS | (HYBRIDS if is_unet else set())


@pytest.mark.parametrize(
    ("backbone", "blocks"),
    [("sd20", {DEFAULT}), ("mini_dit", {DEFAULT}), ("dit_xl2_512", {DEFAULT, "first12"})],
)
def test_first_twelve_blocks_where_they_are_not_the_default(
    backbone: str, blocks: set[str]
) -> None:
    assert {row.blocks for row in sweep(backbone)} == blocks


def test_overrides_are_those_of_the_command_line() -> None:
    row = Setting("lgtm_enc_ie_kvd_dec", "factor=2;ratio=0.7")
    common = ["backbone=sd20", "task=efficiency"]
    chosen = ["operator=lgtm_enc_ie_kvd_dec", "operator.factor=2", "operator.ratio=0.7"]
    assert row.overrides("sd20") == [*common, *chosen]
    last = Setting("none", blocks="first12").overrides("dit_xl2_512")[-1]
    assert last == "backbone.sites.blocks=first12"


def test_published_figures_have_a_row_each() -> None:
    printed = published_flops("sd20")
    assert printed["none", ""] == 804.26
    assert printed["abm", "ratio=0.7"] == 695.08
    assert printed["sito", "ratio=0.7"] == 748.49
    assert printed["todo", "factor=2"] == printed["ie_kvd", "factor=2"] == 717.44
    rows = {(row.operator, row.setting) for row in sweep("sd20")}
    assert set(printed) <= rows
    assert len(printed) == 10
    assert published_flops("dit_xl2_512") == {}
