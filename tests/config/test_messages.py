from typing import Any

import pytest
from pydantic import ValidationError

from bigain.config import RunConfig, format_validation_error
from bigain.config.messages import all_keys, did_you_mean, unknown_key


def line(plain: dict[str, Any], *typed: str) -> str:
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(plain)
    by_key = {text.lstrip("+").partition("=")[0]: text for text in typed}
    told = format_validation_error(caught.value, by_key, ["experiment"])
    assert "\n" not in told
    return told


def test_a_wrong_value_names_key_value_and_what_is_allowed(plain: dict[str, Any]) -> None:
    plain["seed"] = -1
    assert line(plain) == "seed=-1: allowed: an integer from 0 to 2**32 - 1"


def test_the_user_reads_what_was_typed(plain: dict[str, Any]) -> None:
    plain["batch_size"] = "lots"
    assert line(plain, "++batch_size='lots'").startswith("++batch_size='lots': allowed: an integer")


def test_tags_of_unions_and_positions_in_lists_are_not_part_of_the_key(
    plain: dict[str, Any],
) -> None:
    plain["backbone"]["sites"]["levels"] = [0, -1]
    told = line(plain)
    assert "backbone.sites.levels=-1: allowed: distinct integers" in told


def test_two_mistakes_share_the_line(plain: dict[str, Any]) -> None:
    plain["seed"], plain["threads"] = "x", 0
    assert line(plain).split("; ") == [
        "seed=x: allowed: an integer from 0 to 2**32 - 1",
        "threads=0: allowed: null (1 on a mini backbone, else by the cores) or an integer >= 1",
    ]


def test_a_missing_group_is_called_missing(plain: dict[str, Any]) -> None:
    del plain["operator"]
    assert line(plain).startswith("operator is missing: allowed: an option of configs/operator")


def test_a_misspelt_setting_of_a_dataset_is_recognised(plain: dict[str, Any]) -> None:
    plain["dataset"]["limt"] = 3
    assert line(plain) == (
        "dataset.limt=3: no such key; allowed: dataset.limit, dataset.root, dataset.index, "
        "dataset.labels, dataset.prompts, dataset.fingerprint; did you mean dataset.limit?"
    )


def test_a_nested_key_of_a_plain_group_is_recognised(plain: dict[str, Any]) -> None:
    plain["backbone"]["sites"]["levls"] = [0]
    told = line(plain)
    assert told.startswith("backbone.sites.levls=[0]: no such key; allowed: backbone.sites.stages,")
    assert told.endswith("did you mean backbone.sites.levels?")


@pytest.mark.parametrize(
    ("key", "value", "typed", "suggested"),
    [
        ("oprator", "tome", "oprator=tome", "operator"),
        ("limit", 20, "limit=20", "dataset.limit"),
        ("experimnt", "x", "experimnt=x", "experiment"),
    ],
)
def test_a_misspelt_group_is_recognised(
    plain: dict[str, Any], key: str, value: object, typed: str, suggested: str
) -> None:
    told = line({**plain, key: value}, typed)
    assert told.startswith(f"{typed}: no such key; allowed: profile, backbone, dataset, operator")
    assert told.endswith(f"; did you mean {suggested}?")


def test_a_long_value_is_cut(plain: dict[str, Any]) -> None:
    told = line({**plain, "zzz": {"a": "b" * 500}})
    assert "..." in told
    assert len(told) < 300


def test_a_combination_is_told_in_its_own_words(plain: dict[str, Any]) -> None:
    plain["shard"] = {"index": 2, "count": 2}
    expected = "shard.index=2: allowed: an integer from 0 to 1, because shard.count=2"
    assert line(plain) == expected


def test_all_keys_are_dotted_and_unique() -> None:
    keys = all_keys()
    assert len(keys) == len(set(keys))
    assert {"seed", "operator", "backbone.sites.levels"} <= set(keys)


@pytest.mark.parametrize(
    ("word", "candidates", "expected"),
    [
        ("statsu", ["status", "table"], "; did you mean status?"),
        ("zzzzzz", ["status", "table"], ""),
        ("limit", ["seed", "dataset.limit"], "; did you mean dataset.limit?"),
        ("limt", ["seed", "dataset.limit"], "; did you mean dataset.limit?"),
        ("same", ["same"], ""),
        ("a.b", [], ""),
    ],
)
def test_near_matches(word: str, candidates: list[str], expected: str) -> None:
    assert did_you_mean(word, candidates) == expected


def test_an_unknown_key_lists_what_there_is() -> None:
    assert unknown_key("x=1", "x", ["seed"], []) == "x=1: no such key; allowed: seed"
    assert unknown_key("x=1", "x", [], []) == "x=1: no such key; allowed: no settings"
