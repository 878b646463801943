"""Token compression as tensor mathematics, on torch alone.

Every operator is a frozen object with `plan(metric, grid, draw) -> Reduction`; a reduction maps
(B, N, C) to (B, N', C) and back.  `docs/operators.md` has the equations and how to add one;
`bigain.apply` runs an operator inside a diffusers model.
"""

from bigain.operators.abm import ABM
from bigain.operators.base import Compression, Identity, KeyValueReducer, Operator, TokenReducer
from bigain.operators.bipartite import BipartiteMerge
from bigain.operators.cached import CachedAssignment
from bigain.operators.combination import ByStage
from bigain.operators.downsampling import IEKVD, AvgPool, KeyValueDownsampler, ToDo
from bigain.operators.lgtm import LGTM
from bigain.operators.merge import MergeReduction
from bigain.operators.random_key import RandomKey
from bigain.operators.reduction import UNCHANGED, Reduction, Unchanged
from bigain.operators.schedules import AlphaSchedule, ConstantAlpha, LinearAlpha
from bigain.operators.scores import SCORES, score_formula, score_map, token_score
from bigain.operators.selection import KVSelect, SelectReduction
from bigain.operators.sito import SiTo
from bigain.operators.tome import ToMe

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
    "CachedAssignment",
    "Compression",
    "ConstantAlpha",
    "Draw",
    "Identity",
    "KVSelect",
    "KeyValueDownsampler",
    "KeyValueReducer",
    "LinearAlpha",
    "MergeReduction",
    "Operator",
    "RandomKey",
    "Reduction",
    "SelectReduction",
    "SiTo",
    "ToDo",
    "ToMe",
    "TokenReducer",
    "Unchanged",
    "score_formula",
    "score_map",
    "token_score",
]
