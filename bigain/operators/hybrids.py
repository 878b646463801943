"""The paper's hybrids: L-GTM in one half of a U-Net, IE-KVD in the other (Tables 17 and 18).

Each function takes the settings of both operators and returns the `ByStage` of the two.
"""

from collections.abc import Mapping

from bigain.operators.base import ByStage
from bigain.operators.downsampling import IEKVD, AlphaSchedule
from bigain.operators.merge import LGTM

__all__ = ["ie_kvd_enc_lgtm_dec", "lgtm_enc_ie_kvd_dec"]

Alpha = float | AlphaSchedule | Mapping[str, float]


def lgtm_enc_ie_kvd_dec(
    *,
    ratio: float,
    factor: int,
    cell: tuple[int, int] = (2, 2),
    score: str = "laplacian_l1",
    alpha: Alpha = 0.9,
    align: str = "reference",
    skip_final_step: bool = False,
) -> ByStage:
    """L-GTM at the encoder's sites, IE-KVD at the decoder's.  Raises UserError as the two do."""
    merge = LGTM(ratio, cell, score)
    downsample = IEKVD(factor, alpha, align, skip_final_step=skip_final_step)
    return ByStage(encoder=merge, decoder=downsample)


def ie_kvd_enc_lgtm_dec(
    *,
    ratio: float,
    factor: int,
    cell: tuple[int, int] = (2, 2),
    score: str = "laplacian_l1",
    alpha: Alpha = 0.9,
    align: str = "reference",
    skip_final_step: bool = False,
) -> ByStage:
    """IE-KVD at the encoder's sites, L-GTM at the decoder's.  Raises UserError as the two do."""
    merge = LGTM(ratio, cell, score)
    downsample = IEKVD(factor, alpha, align, skip_final_step=skip_final_step)
    return ByStage(encoder=downsample, decoder=merge)
