from typing import Any

import pytest

from bigain.errors import UserError
from bigain.launch.compose import compose_config


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("backbone=mini_dit operator=lgtm operator.scope=self+cross", "operator.scope=self+cross: "
         "allowed: self or self+mlp, because backbone=mini_dit has no cross-attention"),
        ("backbone=mini_dit operator=tome operator.scope=sa+ca", "operator.scope=self+cross"),
        ("backbone=mini_dit operator=lgtm_enc_ie_kvd_dec", "operator=lgtm_enc_ie_kvd_dec: allowed: "
         "on a backbone with encoder and decoder (mini_unet, sd20, sd15, sdxl), because "
         "backbone=mini_dit has neither"),
        ("backbone=mini_dit operator=ie_kvd_enc_lgtm_dec", "operator=ie_kvd_enc_lgtm_dec: allowed"),
        ("backbone=mini_unet operator=lgtm_enc_ie_kvd_dec backbone.sites.stages=[encoder,mid]",
         "backbone.sites.stages=[encoder,mid]: allowed: encoder, decoder, because operator="),
        ("backbone=mini_unet operator=abm operator.cell=[2,17] operator.ratio=0.1",
         "operator.cell=[2, 17]: allowed: sides of at most 16"),
        ("backbone=mini_unet operator=todo operator.factor=8 backbone.sites.levels=[0,1]",
         "operator.factor=8: allowed: an integer from 1 to 7, below the 8x8 tokens"),
        ("backbone=mini_unet operator=kv_select operator.sparsity=0.999",
         "operator.sparsity=0.999: allowed: at most 0.996"),
    ],
)  # fmt: skip
def test_an_operator_without_a_place_is_one_line(overrides: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_config(overrides.split())
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        "backbone=mini_dit operator=lgtm operator.scope=self+mlp",
        "backbone=mini_unet operator=tome operator.scope=self+cross+mlp",
        "backbone=mini_unet operator=lgtm_enc_ie_kvd_dec",
        "backbone=mini_unet operator=abm operator.cell=[16,16]",
        "backbone=mini_unet operator=todo operator.factor=15",
        "backbone=mini_unet operator=kv_select operator.sparsity=0.99",
        "backbone=mini_unet operator=todo operator.factor=8 backbone.sites.blocks=[0] "
        "backbone.sites.levels=[0,1]",
    ],
)
def test_what_has_a_place_composes(overrides: str) -> None:
    config: Any = compose_config(overrides.split())
    assert config.operator.name in overrides
