from typing import get_args

import pytest

from bigain.config import CustomConfig, OperatorConfig
from bigain.engine import build_operator as builder
from bigain.engine.build_operator import build_operator
from bigain.launch.compose import compose_config
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    ConstantAlpha,
    Identity,
    KVSelect,
    LinearAlpha,
    SiTo,
    ToDo,
    ToMe,
)

LATE = IEKVD(3, alpha=ConstantAlpha(0.5), align="window", skip_final_step=True)
HYBRID = "operator.ratio=0.6 operator.score=l1_norm operator.factor=3 operator.alpha=0.5"
HYBRID += " operator.align=window operator.skip_final_step=true"
OPERATORS = [
    ("none", Identity()),
    ("tome operator.ratio=0.3", ToMe(0.3)),
    ("tome operator.ratio=0.9 operator.cell=[4,4]", ToMe(0.9, cell=(4, 4))),
    ("tome operator.ratio=0.3 operator.random=false", ToMe(0.3, random=False)),
    ("lgtm operator.ratio=0.7", LGTM(0.7)),
    (
        "lgtm operator.score=cosine_neighbors operator.cell=[2,4]",
        LGTM(0.5, cell=(2, 4), score="cosine_neighbors"),
    ),
    ("cached operator.score=l2_norm", CachedAssignment(0.5, score="l2_norm")),
    ("abm operator.aggregate=sum", ABM(0.5, aggregate="sum")),
    ("abm operator.score=dft_amplitude operator.cell=[1,2]", ABM(0.5, (1, 2), "dft_amplitude")),
    ("sito operator.noise_alpha=0 operator.sim_beta=2", SiTo(0.5, sim_beta=2, noise_alpha=0)),
    ("todo operator.factor=3 operator.skip_final_step=true", ToDo(3, skip_final_step=True)),
    ("avg_pool operator.factor=4", AvgPool(4)),
    ("ie_kvd operator.alpha=0.5", IEKVD(2, alpha=ConstantAlpha(0.5))),
    (
        "ie_kvd operator.align=window 'operator.alpha={start: 0.8, end: 1.2}'",
        IEKVD(2, alpha=LinearAlpha(start=0.8, end=1.2), align="window"),
    ),
    ("kv_select operator.strategy=high_frequency", KVSelect(0.75, "high_frequency")),
    ("kv_select operator.score=l1_norm operator.sparsity=0.5", KVSelect(0.5, score="l1_norm")),
    (f"lgtm_enc_ie_kvd_dec {HYBRID}", ByStage(LGTM(0.6, score="l1_norm"), LATE)),
    (f"ie_kvd_enc_lgtm_dec {HYBRID}", ByStage(LATE, LGTM(0.6, score="l1_norm"))),
]


@pytest.mark.parametrize(("settings", "operator"), OPERATORS, ids=lambda x: str(x)[:40])
def test_settings_become_the_operator_they_name(settings: str, operator: object) -> None:
    spaced = settings.replace("{start: ", "{start:").replace(", end: ", ",end:").replace("'", "")
    name, *rest = spaced.split()
    overrides = [f"operator={name}", "backbone=mini_unet", *rest]
    assert build_operator(compose_config(overrides).operator) == operator


def test_every_operator_of_the_configuration_can_be_built() -> None:
    covered = {settings.partition(" ")[0] for settings, _ in OPERATORS}
    models = set(get_args(get_args(OperatorConfig)[0]))
    names = {get_args(model.model_fields["name"].annotation)[0] for model in models}
    assert covered == names - {"custom"}
    assert set(builder._OPERATORS) == models


def test_somebody_elses_operator_builds_itself() -> None:
    config = CustomConfig(
        name="custom", target="bigain.operators.ToMe", arguments={"ratio": 0.5}, scope="self"
    )
    assert build_operator(config) == ToMe(0.5)


def test_ie_kvd_takes_the_alpha_of_its_backbone() -> None:
    unet = compose_config(["backbone=mini_unet", "operator=ie_kvd"])
    dit = compose_config(["backbone=mini_dit", "operator=ie_kvd"])
    assert build_operator(unet.operator) == IEKVD(2, alpha=ConstantAlpha(0.9))
    assert build_operator(dit.operator) == IEKVD(2, alpha=ConstantAlpha(0.0))
