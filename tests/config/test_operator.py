from typing import Any, get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from bigain.config.base import SETTING_COLUMNS
from bigain.config.operator import (
    AlphaSchedule,
    IEKVDConfig,
    LGTMConfig,
    NoneConfig,
    OperatorConfig,
    OperatorSettings,
    ToMeConfig,
)
from bigain.operators.scores import SCORES

ADAPTER: TypeAdapter[OperatorSettings] = TypeAdapter(OperatorConfig)
TOME: dict[str, Any] = {
    "name": "tome",
    "ratio": 0.5,
    "cell": [2, 2],
    "random": True,
    "scope": "self",
}
LGTM = {key: TOME[key] for key in ("ratio", "cell", "scope")}
LGTM |= {"name": "lgtm", "score": "laplacian_l1"}
ABM = {**LGTM, "name": "abm", "aggregate": "max"}
SITO = {key: TOME[key] for key in ("ratio", "cell", "scope")}
SITO |= {"name": "sito", "sim_beta": 1.0, "noise_alpha": 0.1}
NEAREST: dict[str, Any] = {"name": "todo", "factor": 2, "skip_final_step": False, "scope": "self"}
KV_SELECT: dict[str, Any] = {
    "name": "kv_select",
    "sparsity": 0.75,
    "strategy": "low_frequency",
    "score": "laplacian_l1",
    "scope": "self",
}
IE_KVD: dict[str, Any] = {
    "name": "ie_kvd",
    "factor": 2,
    "skip_final_step": False,
    "alpha": 0.9,
    "align": "reference",
    "scope": "self",
}
HYBRIDS = [
    {**LGTM, **IE_KVD, "name": name} for name in ("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec")
]
CUSTOM: dict[str, Any] = {
    "name": "custom",
    "target": "bigain.operators.merge.ToMe",
    "arguments": {"ratio": 0.5, "cell": [4, 4]},
    "scope": "self",
}
ALL: list[dict[str, Any]] = [
    {"name": "none"},
    TOME,
    LGTM,
    ABM,
    {**LGTM, "name": "cached"},
    SITO,
    NEAREST,
    {**NEAREST, "name": "avg_pool"},
    IE_KVD,
    KV_SELECT,
    *HYBRIDS,
    CUSTOM,
]


def test_every_operator_of_the_union_is_tested_here() -> None:
    union = get_args(get_args(OperatorConfig)[0])
    names = {get_args(model.model_fields["name"].annotation)[0] for model in union}
    assert names == {plain["name"] for plain in ALL}


@pytest.mark.parametrize("plain", ALL, ids=lambda plain: plain["name"])
def test_the_name_chooses_the_model(plain: dict[str, Any]) -> None:
    config = ADAPTER.validate_python(plain)
    assert type(config).model_fields.keys() == plain.keys()


@pytest.mark.parametrize("plain", ALL, ids=lambda plain: plain["name"])
def test_no_setting_has_a_default(plain: dict[str, Any]) -> None:
    """Defaults live in configs/ alone."""
    for key in plain.keys() - {"name"}:
        with pytest.raises(ValidationError, match="missing"):
            ADAPTER.validate_python({name: plain[name] for name in plain if name != key})


@pytest.mark.parametrize("plain", ALL, ids=lambda plain: plain["name"])
def test_settings_fill_the_columns(plain: dict[str, Any]) -> None:
    settings = ADAPTER.validate_python(plain).settings()
    assert tuple(settings) == SETTING_COLUMNS
    assert settings == {key: plain.get(key) for key in SETTING_COLUMNS}


def test_a_schedule_is_one_cell_of_a_table() -> None:
    config = IEKVDConfig.model_validate({**IE_KVD, "alpha": {"start": 0.8, "end": 1.2}})
    assert config.alpha == AlphaSchedule(start=0.8, end=1.2)
    assert config.settings()["alpha"] == "0.8->1.2"


def test_no_acceleration_has_no_settings() -> None:
    assert set(NoneConfig(name="none").settings().values()) == {None}


@pytest.mark.parametrize(
    ("cell", "ratio"), [([2, 2], 0.75), ([4, 4], 0.9375), ([1, 2], 0.5), ([1, 1], 0.0)]
)
def test_the_ratio_goes_up_to_all_but_the_destinations(cell: list[int], ratio: float) -> None:
    assert ToMeConfig.model_validate({**TOME, "cell": cell, "ratio": ratio}).ratio == ratio
    with pytest.raises(ValidationError, match=rf"operator.ratio=.*allowed: 0 to {ratio:g}"):
        ToMeConfig.model_validate({**TOME, "cell": cell, "ratio": ratio + 1e-6})


@pytest.mark.parametrize("plain", [LGTM, ABM, SITO, *HYBRIDS], ids=lambda plain: plain["name"])
def test_the_clamp_holds_for_all_that_remove_tokens(plain: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"0 to 0.75 = 1 - 1/4"):
        ADAPTER.validate_python({**plain, "ratio": 0.8})


def test_a_tile_of_one_token_cannot_be_pooled() -> None:
    with pytest.raises(ValidationError, match=r"operator.cell=\[1, 1\]: allowed: .* two tokens"):
        ADAPTER.validate_python({**ABM, "cell": [1, 1], "ratio": 0})


@pytest.mark.parametrize(
    ("papers", "ours"), [("sa", "self"), ("sa+ca", "self+cross"), ("sa+ca+mlp", "self+cross+mlp")]
)
def test_scopes_may_be_in_the_words_of_the_papers_table(papers: str, ours: str) -> None:
    assert ADAPTER.validate_python({**TOME, "scope": papers}).scope == ours  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("plain", "key", "value"),
    [
        (TOME, "ratio", -0.1),
        (TOME, "ratio", 1),
        (TOME, "ratio", "abc"),
        (TOME, "ratio", None),
        (TOME, "cell", [2]),
        (TOME, "cell", [2, 0]),
        (TOME, "cell", [2, 2, 2]),
        (TOME, "cell", 2),
        (TOME, "random", 1),
        (TOME, "scope", "cross"),
        (TOME, "scope", "mlp+self"),
        (TOME, "scope", 1),
        (LGTM, "score", "laplacian"),
        (ABM, "aggregate", "median"),
        (SITO, "noise_alpha", float("inf")),
        (SITO, "sim_beta", "1"),
        (NEAREST, "scope", "self+mlp"),
        (NEAREST, "skip_final_step", 0),
        (KV_SELECT, "sparsity", 1.0),
        (KV_SELECT, "sparsity", -0.1),
        (KV_SELECT, "strategy", "mid_frequency"),
        (HYBRIDS[0], "scope", "self+cross"),
        (IE_KVD, "factor", 0),
        (IE_KVD, "factor", 2.0),
        (IE_KVD, "alpha", "half"),
        (IE_KVD, "alpha", {"start": 0.8}),
        (IE_KVD, "alpha", {"start": 0.8, "end": 1.2, "middle": 1}),
        (IE_KVD, "align", "left"),
    ],
)
def test_wrong_values_are_refused(plain: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python({**plain, key: value})
    assert {error["loc"][1] for error in caught.value.errors()} == {key}


def test_a_setting_of_another_operator_is_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        ADAPTER.validate_python({**TOME, "factor": 2})


@pytest.mark.parametrize("alpha", [-0.5, 0, 1, 1.2])
def test_alpha_is_not_clamped(alpha: float) -> None:
    assert IEKVDConfig.model_validate({**IE_KVD, "alpha": alpha}).alpha == alpha


def test_the_scores_are_those_that_are_implemented() -> None:
    assert set(get_args(LGTMConfig.model_fields["score"].annotation)) == set(SCORES)
