import dataclasses

import pytest

from bigain.errors import UserError
from bigain.operators import IEKVD, LGTM, ByStage, Compression, Identity, Operator, ToMe


def test_each_stage_has_its_operator() -> None:
    both = ByStage(encoder=LGTM(0.5), decoder=IEKVD(2))
    assert both.for_stage("encoder") is both.encoder
    assert both.for_stage("decoder") is both.decoder
    assert isinstance(both, Compression)
    assert not isinstance(both, Operator)


@pytest.mark.parametrize("stage", ["mid", "transformer", ""])
def test_other_stages_have_none(stage: str) -> None:
    assert ByStage(LGTM(0.5), IEKVD(2)).for_stage(stage) is None


@pytest.mark.parametrize("stage", ["encoder", "mid", "decoder", "transformer"])
def test_an_operator_alone_serves_every_stage(stage: str) -> None:
    operator = ToMe(0.5)
    assert operator.for_stage(stage) is operator


@pytest.mark.parametrize("part", ["lgtm", LGTM, None, ByStage(Identity(), Identity())])
def test_its_parts_are_operators(part: Operator) -> None:
    with pytest.raises(UserError, match=r"^encoder=.*: must be an operator object") as caught:
        ByStage(part, Identity())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^decoder=.*: must be an operator object"):
        ByStage(Identity(), part)


def test_it_is_an_immutable_value() -> None:
    both = ByStage(LGTM(0.5), IEKVD(2))
    assert both == ByStage(LGTM(0.5), IEKVD(2)) != ByStage(IEKVD(2), LGTM(0.5))
    assert hash(both) == hash(dataclasses.replace(both))
    assert repr(both) == f"ByStage(encoder={both.encoder!r}, decoder={both.decoder!r})"
    with pytest.raises(dataclasses.FrozenInstanceError):
        both.encoder = ToMe(0.5)  # type: ignore[misc]
