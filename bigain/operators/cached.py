"""Cached assignment merge: L-GTM whose map is made once per stage of the model and forward.

The map of the first site of a stage serves the stage's other sites of the same grid (in SD-2.0 2
encoder and 3 decoder sites need 2 maps).  What is merged is each site's own tensor, afresh; nothing
outlives the forward, so no map crosses timesteps.
"""

from dataclasses import dataclass
from typing import ClassVar

from bigain.operators.lgtm import LGTM

__all__ = ["CachedAssignment"]


@dataclass(frozen=True)
class CachedAssignment(LGTM):
    """L-GTM with one map per stage; settings as L-GTM's.

    Raises:
        UserError: ratio or cell out of range, or unknown score.

    """

    shared_in_stage: ClassVar[bool] = True
