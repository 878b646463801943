import csv
import io
import json

import pytest

from bigain.cli import flops
from bigain.cli.flops import COLUMNS, flops_rows, main
from bigain.cli.flops_sweep import Setting
from bigain.errors import UserError

FEW = [
    Setting("none"),
    Setting("lgtm", "ratio=0.7"),
    Setting("abm", "ratio=0.7"),
    Setting("tome", "ratio=0.3"),
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "sweep", lambda _: FEW)


@pytest.mark.usefixtures("few")
def test_rows_hold_what_is_counted_and_what_is_printed() -> None:
    rows = {(row["operator"], row["setting"]): row for row in flops_rows("sd20")}
    assert all(tuple(row) == COLUMNS for row in rows.values())
    assert all(row["counted_g"] == row["closed_form_g"] for row in rows.values())
    abm, lgtm, tome = (rows[s.operator, s.setting] for s in (FEW[2], FEW[1], FEW[3]))
    assert abm["published_g"] == 695.08
    assert round(abm["difference_g"], 2) == -0.12
    assert round(lgtm["difference_g"], 2) == 0
    assert (tome["published_g"], tome["difference_g"]) == (None, None)
    assert round(lgtm["saved_percent"], 2) == 12.34


@pytest.mark.usefixtures("few")
def test_text_and_markdown_say_what_the_columns_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("abm"))
    assert line.split() == [
        "abm",
        "ratio=0.7",
        "default",
        "694.9645",
        "694.9645",
        "13.59",
        "695.08",
        "-0.12",
    ]
    assert "Tables 7, 11 and 18" in text
    assert main(["--format", "markdown"]) == 0
    assert capsys.readouterr().out.startswith("| operator")


@pytest.mark.usefixtures("few")
def test_csv_has_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["operator"] for row in rows] == ["none", "lgtm", "abm", "tome"]
    assert json.loads(rows[0]["counted_g"]) == 804.25746432
    assert rows[3]["published_g"] == ""


def test_the_whole_sweep_of_a_mini_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--backbone", "mini_unet", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 1 + 5 * 7 + 3 * 7 + 1 + 2
    assert all(row["counted_g"] == row["closed_form_g"] for row in rows)
    main(["--backbone", "mini_dit"])
    assert "Published" not in capsys.readouterr().out


def test_an_unknown_backbone_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^--backbone=sd3: allowed: .*mini_unet"):
        main(["--backbone", "sd3"])
