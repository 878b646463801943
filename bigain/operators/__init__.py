"""Token compression as tensor mathematics, on torch alone.

Every operator is an immutable object with `plan(metric, grid, draw) -> Reduction`; a reduction maps
(B, N, C) to (B, N', C) and back.  `docs/operators.md` has the equations and shows how to add an
operator; `bigain.apply` runs one inside a diffusers model.
"""

from bigain.operators.abm import ABM
from bigain.operators.base import (
    UNCHANGED,
    ByStage,
    Compression,
    Identity,
    KeyValueReducer,
    Operator,
    Reduction,
    TokenReducer,
    Unchanged,
)
from bigain.operators.by_timestep import ByTimestep, Calibrated
from bigain.operators.downsampling import (
    IEKVD,
    AlphaSchedule,
    AvgPool,
    ConstantAlpha,
    KeyValueDownsampler,
    LinearAlpha,
    ToDo,
)
from bigain.operators.masks import DiPGO, MaskTable
from bigain.operators.merge import LGTM, BipartiteMerge, CachedAssignment, ToMe
from bigain.operators.merge_reduction import MergeReduction, NormedMergeReduction
from bigain.operators.random_key import Groups, RandomKey
from bigain.operators.scores import SCORES, score_formula, score_map, token_score
from bigain.operators.selection import KVSelect, SelectReduction
from bigain.operators.shared_plan import SharedPlan
from bigain.operators.sito import SiTo
from bigain.operators.stage_weights import MosaicDiff, StageWeights
from bigain.operators.toma import MapReduction, ToMA

# Their names before version 0.2.
Acceleration = Compression
Draw = RandomKey

__all__ = [
    "ABM",
    "IEKVD",
    "LGTM",
    "SCORES",
    "UNCHANGED",
    "Acceleration",
    "AlphaSchedule",
    "AvgPool",
    "BipartiteMerge",
    "ByStage",
    "ByTimestep",
    "CachedAssignment",
    "Calibrated",
    "Compression",
    "ConstantAlpha",
    "DiPGO",
    "Draw",
    "Groups",
    "Identity",
    "KVSelect",
    "KeyValueDownsampler",
    "KeyValueReducer",
    "LinearAlpha",
    "MapReduction",
    "MaskTable",
    "MergeReduction",
    "MosaicDiff",
    "NormedMergeReduction",
    "Operator",
    "RandomKey",
    "Reduction",
    "SelectReduction",
    "SharedPlan",
    "SiTo",
    "StageWeights",
    "ToDo",
    "ToMA",
    "ToMe",
    "TokenReducer",
    "Unchanged",
    "score_formula",
    "score_map",
    "token_score",
]
