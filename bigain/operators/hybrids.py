"""The paper's hybrids: L-GTM in one half of a U-Net, IE-KVD in the other (Tables 17 and 18).

Each function takes the settings of both operators and returns the `ByStage` of the two.
"""

from collections.abc import Mapping
from typing import Any, Required, TypedDict, Unpack

from bigain.operators.base import ByStage
from bigain.operators.downsampling import IEKVD, AlphaSchedule
from bigain.operators.merge import LGTM

__all__ = ["ie_kvd_enc_lgtm_dec", "lgtm_enc_ie_kvd_dec"]


class _OfLGTM(TypedDict, total=False):
    ratio: Required[float]
    cell: tuple[int, int]
    score: str
    destinations: str
    protect_ratio: float
    padding: str
    average: str


class _OfBoth(_OfLGTM, total=False):
    factor: Required[int]
    alpha: float | AlphaSchedule | Mapping[str, float]
    align: str
    skip_final_step: bool


def lgtm_enc_ie_kvd_dec(**settings: Unpack[_OfBoth]) -> ByStage:
    """L-GTM at the encoder's sites, IE-KVD at the decoder's.  Raises UserError as the two do."""
    merge, downsample = _parts(settings)
    return ByStage(encoder=merge, decoder=downsample)


def ie_kvd_enc_lgtm_dec(**settings: Unpack[_OfBoth]) -> ByStage:
    """IE-KVD at the encoder's sites, L-GTM at the decoder's.  Raises UserError as the two do."""
    merge, downsample = _parts(settings)
    return ByStage(encoder=downsample, decoder=merge)


def _parts(settings: Mapping[str, Any]) -> tuple[LGTM, IEKVD]:
    """The two operators; a key that neither has is a TypeError of the second."""
    of_merge = {key: value for key, value in settings.items() if key in _OfLGTM.__annotations__}
    of_keys = {key: value for key, value in settings.items() if key not in of_merge}
    return LGTM(**of_merge), IEKVD(**of_keys)
