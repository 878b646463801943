import csv
import io
import json
from typing import Any

import pytest

from bigain.cli import flops
from bigain.cli.flops import COLUMNS, DEFAULT, SweepCase, flops_rows, main, published_flops, sweep
from bigain.config.architectures import ARCHITECTURES
from bigain.errors import UserError
from bigain.launch.compose import compose_configs
from bigain.runs.identity import run_id

FEW = [
    SweepCase("none"),
    SweepCase("lgtm", "ratio=0.7"),
    SweepCase("abm", "ratio=0.7"),
    SweepCase("tome", "ratio=0.3"),
]
OPERATORS = {"none", "tome", "lgtm", "cached", "abm", "sito", "todo", "avg_pool", "ie_kvd"}
OPERATORS |= {"kv_select", "toma"}
HYBRIDS = {"lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"}


@pytest.fixture(scope="module")
def sd20_rows() -> list[dict[str, Any]]:
    """The rows of four cases, counted once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flops, "sweep", lambda _: FEW)
        return flops_rows("sd20")


def test_rows_hold_what_is_counted_and_what_is_printed(sd20_rows: list[dict[str, Any]]) -> None:
    none, lgtm, abm, tome = sd20_rows
    assert all(tuple(row) == COLUMNS for row in sd20_rows)
    assert all(row["counted_g"] == row["closed_form_g"] for row in sd20_rows)
    assert none["saved_percent"] == 0
    assert abm["published_g"] == 695.08
    assert round(abm["difference_g"], 2) == -0.12
    assert round(lgtm["difference_g"], 2) == 0
    assert (tome["published_g"], tome["difference_g"]) == (None, None)
    assert round(lgtm["saved_percent"], 2) == 12.34


def test_rows_are_printed_in_three_formats(
    sd20_rows: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(flops, "flops_rows", lambda _: sd20_rows)
    assert main([]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("abm"))
    numbers = ["694.9645", "694.9645", "13.59", "695.08", "-0.12"]
    assert line.split() == ["abm", "ratio=0.7", "default", *numbers]
    assert "Tables 7, 11 and 18" in text
    assert main(["--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| operator")
    assert main(["--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["operator"] for row in rows] == ["none", "lgtm", "abm", "tome"]
    assert json.loads(rows[0]["counted_g"]) == 804.25746432
    assert rows[3]["published_g"] == ""


def test_counting_a_mini_backbone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every ninth case: the baseline and seven operators."""
    monkeypatch.setattr(flops, "sweep", lambda backbone: sweep(backbone)[::9])
    rows = flops_rows("mini_unet")
    assert len({row["operator"] for row in rows}) == len(rows) == 8
    assert all(row["counted_g"] == row["closed_form_g"] for row in rows)
    monkeypatch.setattr(flops, "sweep", lambda _: FEW[:2])
    main(["--backbone", "mini_dit"])
    assert "Published" not in capsys.readouterr().out


def test_an_unknown_backbone_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--backbone=sd3: allowed: .*mini_unet"):
        main(["--backbone", "sd3"])


@pytest.mark.parametrize(
    ("backbone", "count", "blocks"),
    [
        ("sd20", 1 + 6 * 7 + 3 * 7 + 1 + 2, {DEFAULT}),
        ("mini_dit", 1 + 6 * 7 + 3 * 7 + 1, {DEFAULT}),
        ("dit_xl2_512", 1 + 2 * (6 * 7 + 3 * 7 + 1), {DEFAULT, "first12"}),
    ],
)
def test_every_case_is_a_run_of_its_own_that_is_allowed(
    backbone: str, count: int, blocks: set[str]
) -> None:
    cases = sweep(backbone)
    configs = compose_configs([case.overrides(backbone) for case in cases])
    assert len({run_id(config) for config in configs}) == len(cases) == count
    assert cases[0] == SweepCase("none")
    is_unet = ARCHITECTURES[backbone].blocks is None
    assert {case.operator for case in cases} == OPERATORS | (HYBRIDS if is_unet else set())
    assert {case.blocks for case in cases} == blocks


@pytest.mark.parametrize("backbone", ARCHITECTURES)
def test_every_backbone_has_a_sweep(backbone: str) -> None:
    cases = sweep(backbone)
    assert len(set(cases)) == len(cases)


def test_overrides_are_those_of_the_command_line() -> None:
    case = SweepCase("lgtm_enc_ie_kvd_dec", "factor=2;ratio=0.7")
    common = ["backbone=sd20", "task=efficiency"]
    chosen = ["operator=lgtm_enc_ie_kvd_dec", "operator.factor=2", "operator.ratio=0.7"]
    assert case.overrides("sd20") == [*common, *chosen]
    last = SweepCase("none", blocks="first12").overrides("dit_xl2_512")[-1]
    assert last == "backbone.sites.blocks=first12"


def test_published_figures_have_a_case_each() -> None:
    printed = published_flops("sd20")
    assert printed["none", ""] == 804.26
    assert printed["abm", "ratio=0.7"] == 695.08
    assert printed["sito", "ratio=0.7"] == 748.49
    assert printed["todo", "factor=2"] == printed["ie_kvd", "factor=2"] == 717.44
    assert set(printed) <= {(case.operator, case.setting) for case in sweep("sd20")}
    assert len(printed) == 10
    assert published_flops("dit_xl2_512") == {}
