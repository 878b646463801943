from typing import Any

import pytest
from pydantic import ValidationError

from bigain.config import RunConfig, format_validation_error
from bigain.config.messages import all_keys, did_you_mean, unknown_key

TOME = {"name": "tome", "ratio": 0.5, "cell": [2, 2], "random": True, "scope": "self"}
IE_KVD = {"name": "ie_kvd", "factor": 2, "alpha": "x", "align": "window", "scope": "self"}
IE_KVD |= {"skip_final_step": False}

HYBRIDS = "lgtm_enc_ie_kvd_dec|ie_kvd_enc_lgtm_dec"


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
    plain["operator"] = {**TOME, "cell": [2, 0]}
    plain["backbone"]["sites"]["levels"] = [0, -1]
    told = line(plain)
    assert "operator.cell=0: allowed: two integers" in told
    assert "backbone.sites.levels=-1: allowed: distinct integers" in told


def test_a_value_that_fits_neither_of_two_types_is_told_once(plain: dict[str, Any]) -> None:
    plain["operator"] = IE_KVD
    assert line(plain) == (
        "operator.alpha=x: allowed: a number (0 average, 1 nearest, beyond: extrapolation) "
        "or {start: a, end: b}"
    )


def test_two_mistakes_share_the_line(plain: dict[str, Any]) -> None:
    plain["seed"], plain["threads"] = "x", 0
    assert line(plain).split("; ") == [
        "seed=x: allowed: an integer from 0 to 2**32 - 1",
        "threads=0: allowed: null (torch's choice) or an integer >= 1",
    ]


def test_a_missing_group_is_called_missing(plain: dict[str, Any]) -> None:
    del plain["operator"]
    expected = "operator is missing: allowed: none, tome, lgtm, abm, cached, todo, avg_pool, "
    expected += "ie_kvd, sito, kv_select, lgtm_enc_ie_kvd_dec, ie_kvd_enc_lgtm_dec or custom"
    assert line(plain) == expected


def test_an_unknown_operator_names_the_operators(plain: dict[str, Any]) -> None:
    plain["operator"] = {"name": "tomee"}
    assert line(plain).startswith("operator=tomee: allowed: none, tome, lgtm")


def test_a_misspelt_setting_of_a_dataset_is_recognised(plain: dict[str, Any]) -> None:
    plain["dataset"]["limt"] = 3
    assert line(plain) == (
        "dataset.limt=3: no such key; allowed: dataset.limit, "
        "dataset.root; did you mean dataset.limit?"
    )


def test_a_misspelt_setting_is_recognised(plain: dict[str, Any]) -> None:
    plain["operator"] = {**TOME, "ratoi": 0.7}
    assert line(plain, "+operator.ratoi=0.7") == (
        "+operator.ratoi=0.7: no such key of operator=tome; allowed: operator.ratio, "
        "operator.cell, operator.random, operator.scope; did you mean operator.ratio?"
    )


def test_a_setting_of_another_operator_is_sent_there(plain: dict[str, Any]) -> None:
    plain["operator"] = {**TOME, "factor": 2}
    told = line(plain)
    assert told.startswith("operator.factor=2: no such key of operator=tome; allowed: operator.")
    assert told.endswith(f"; operator.factor belongs to operator=todo|avg_pool|ie_kvd|{HYBRIDS}")
    assert "did you mean" not in told


def test_no_acceleration_has_nothing_to_set(plain: dict[str, Any]) -> None:
    plain["operator"] = {"name": "none", "ratoi": 0.5}
    assert line(plain) == (
        "operator.ratoi=0.5: no such key of operator=none; allowed: no settings; "
        "did you mean operator.ratio?; operator.ratio belongs to "
        f"operator=tome|lgtm|abm|cached|sito|{HYBRIDS}"
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
        ("oprator", {"ratio": 0.7}, "oprator.ratio=0.7", "operator.ratio"),
        ("ratio", 0.7, "ratio=0.7", "operator.ratio"),
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
    assert {"seed", "operator", "operator.ratio", "backbone.sites.levels"} <= set(keys)
    assert "operator.alpha.start" in keys


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
