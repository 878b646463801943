"""Two operators in one model: one at the encoder's sites, another at the decoder's (Table 17).

Nothing is computed here: each site is served by the operator of its stage, as if it were alone.
"""

from dataclasses import dataclass

from bigain.errors import UserError
from bigain.operators.base import Compression, Operator

__all__ = ["ByStage"]


@dataclass(frozen=True)
class ByStage(Compression):
    """One operator per stage of a U-Net.

    Args:
        encoder: acts at the sites of the down blocks.
        decoder: acts at the sites of the up blocks.

    Raises:
        UserError: a part is no operator.

    """

    encoder: Operator
    decoder: Operator

    def __post_init__(self) -> None:
        for stage in ("encoder", "decoder"):
            part = getattr(self, stage)
            if not isinstance(part, Operator):
                raise UserError(f"{stage}={part!r}: must be an operator object, e.g. ToMe(0.5)")

    def for_stage(self, stage: str) -> Operator | None:
        """`encoder` or `decoder`; None in the middle of a U-Net and in models without stages."""
        return {"encoder": self.encoder, "decoder": self.decoder}.get(stage)
