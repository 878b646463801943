from decimal import Decimal
from pathlib import Path

import pytest

from bigain.config.paper import PaperKey, PaperValue, load_paper, normal_setting
from bigain.errors import UserError

PETS = (4, "sd20", "pets")
HEADER = "table,backbone,dataset,task,method,setting,metric,value,status,note\n"


def test_all_752_cells_with_their_status() -> None:
    values = load_paper()
    assert len(values) == 752
    counts = dict.fromkeys(("reported", "lost", "derived"), 0)
    for value in values.values():
        counts[value.status] += 1
    assert counts == {"reported": 715, "lost": 36, "derived": 1}


def test_a_value_is_kept_as_printed() -> None:
    values = load_paper()
    assert values[PaperKey(*PETS, "tome", "ratio=0.7", "acc1")] == PaperValue(
        "65.76", "reported", "", "classification"
    )
    dit = PaperKey(5, "dit_xl2_512", "imagenet100", "tome", "ratio=0.3", "acc1")
    assert values[dit].text == "75.3"


def test_the_differences_of_tables_2_to_5_follow_from_their_rows() -> None:
    """All 74 printed accuracy differences equal method minus rival, to the last digit."""
    values = load_paper()
    checked = 0
    for key, value in values.items():
        if value.task != "classification" or key.table not in (2, 3, 4, 5):
            continue
        setting, _, rival = key.setting.partition(";vs=")
        if rival:
            metric = key.metric.removeprefix("delta_")
            place = (key.table, key.backbone, key.dataset)
            own = Decimal(values[PaperKey(*place, key.method, setting, metric)].text)
            other = Decimal(values[PaperKey(*place, rival, setting, metric)].text)
            assert own - other == Decimal(value.text), key
            checked += 1
    assert checked == 74


def test_the_same_baseline_wherever_it_is_printed() -> None:
    values = load_paper()
    pets = {
        v.text
        for k, v in values.items()
        if k.method == "none" and k.dataset == "pets" and k.metric == "acc1" and k.setting == ""
    }
    assert pets == {"81.03"}


def test_a_second_value_for_a_cell_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    line = "4,sd20,pets,classification,tome,ratio=0.7,acc1,65.76,reported,\n"
    path.write_text(HEADER + line + line.replace("65.76", "66.00"))
    with pytest.raises(UserError, match=r"values.csv: line 3: a second value"):
        load_paper(path)


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "values.csv"
    path.write_text("table,value\n4,65.76\n")
    with pytest.raises(UserError, match=r"lacks the columns \['backbone', 'dataset'"):
        load_paper(path)


@pytest.mark.parametrize(
    ("parts", "normal"),
    [
        (("ratio=0.70", "scope=sa"), "ratio=0.7;scope=sa"),
        (("scope=sa", "ratio=0.7"), "ratio=0.7;scope=sa"),
        (("scope=sa;ratio=0.7",), "ratio=0.7;scope=sa"),
        (("alpha=1.0", "", "factor=2"), "alpha=1;factor=2"),
        (("factor=2;vs=todo",), "factor=2;vs=todo"),
        (("lost",), "lost"),
        (("",), ""),
        ((), ""),
    ],
)
def test_settings_are_equal_however_they_are_written(parts: tuple[str, ...], normal: str) -> None:
    assert normal_setting(*parts) == normal


def test_the_keys_of_the_paper_are_normal() -> None:
    assert all(normal_setting(key.setting) == key.setting for key in load_paper())


@pytest.mark.parametrize(("text", "number"), [("65.76", 65.76), ("", None), ("lost", None)])
def test_values_that_are_no_numbers(text: str, number: float | None) -> None:
    assert PaperValue(text, "reported", "", "classification").number == number
