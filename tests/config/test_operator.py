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
IE_KVD: dict[str, Any] = {
    "name": "ie_kvd",
    "factor": 2,
    "alpha": 0.9,
    "align": "reference",
    "scope": "self",
}
ALL: list[dict[str, Any]] = [
    {"name": "none"},
    TOME,
    LGTM,
    {"name": "todo", "factor": 2, "scope": "self"},
    {"name": "avg_pool", "factor": 2, "scope": "self"},
    IE_KVD,
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


def test_the_clamp_holds_for_both_mergers() -> None:
    with pytest.raises(ValidationError, match=r"0 to 0.75 = 1 - 1/4"):
        LGTMConfig.model_validate({**LGTM, "ratio": 0.8})


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
        (LGTM, "score", "laplacian"),
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
